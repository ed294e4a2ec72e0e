//! The close handshake, begun by the client.

use shardcast::proto::frame::Opcode;

use crate::support::{RawClient, masked, on_every_driver_alone, raw_client::close, text};

#[test]
fn a_close_frame_is_answered_with_its_code_and_the_server_closes() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        for code in [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4000, 4999] {
            let mut client = RawClient::open(server.address(), "/ws/raw");
            client.send(&close(code, "goodbye"));
            client.expect_close(code);
        }
    });
}

#[test]
fn a_close_frame_without_a_code_is_answered_with_one_without() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&masked(true, Opcode::Close, b""));
        let answer = client.read_frame();
        assert_eq!((answer.opcode, answer.payload.len()), (Opcode::Close, 0));
        client.expect_end();
    });
}

#[test]
fn what_was_said_before_the_close_frame_is_answered_and_what_follows_is_not() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&[text("before"), close(1000, ""), text("after")].concat());
        assert_eq!(client.read_frame().payload, b"before");
        client.expect_close(1000);
    });
}

#[test]
fn a_close_frame_within_a_fragmented_message_is_answered() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&[masked(false, Opcode::Text, b"half"), close(1000, "")].concat());
        client.expect_close(1000);
    });
}

#[test]
fn a_client_that_goes_without_a_word_is_forgotten() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let stays = RawClient::open_pubsub(server.address());
        let mut goes = RawClient::open_pubsub(server.address());
        goes.subscribe("chat");
        server.wait_for_clients(2);
        drop(goes);
        server.wait_for_clients(1);
        assert_eq!(server.health()["rooms"], 0);
        drop(stays);
        server.wait_for_clients(0);
    });
}

#[test]
fn a_client_that_only_closes_its_sending_side_is_let_go() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.shut_down();
        client.expect_end();
        server.wait_for_clients(0);
    });
}
