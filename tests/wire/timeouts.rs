//! Peers that say nothing.

use shardcast::proto::frame::Opcode;

use crate::support::{RawClient, close_reason, masked, on_every_driver_alone};

#[test]
fn a_peer_that_answers_no_ping_is_closed_with_1008() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--ping-interval", "100ms", "--pong-timeout", "300ms"]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        assert_eq!(client.read_frame().opcode, Opcode::Ping);
        assert_eq!(client.expect_close(1008), "no pong received");
    });
}

#[test]
fn a_peer_that_is_no_longer_there_is_forgotten() {
    on_every_driver_alone(|bed| {
        let flags = ["--ping-interval", "100ms", "--pong-timeout", "300ms"];
        let server = bed.server(&[&flags[..], &["--close-timeout", "100ms"]].concat());
        // Held open, but it neither reads nor writes.
        let silent = RawClient::open(server.address(), "/ws/raw");
        server.wait_for_clients(0);
        drop(silent);
    });
}

#[test]
fn a_peer_that_answers_pings_stays() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--ping-interval", "50ms", "--pong-timeout", "5s"]);
        let mut client = RawClient::open(server.address(), "/ws/pubsub");
        assert_eq!(client.hear()["type"], "connected");
        for _ in 0..10 {
            let ping = client.read_frame();
            assert_eq!(ping.opcode, Opcode::Ping);
            client.send(&masked(true, Opcode::Pong, &ping.payload));
        }
    });
}

#[test]
fn pings_go_on_without_a_pong_timeout() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--ping-interval", "50ms", "--pong-timeout", "0s"]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        for _ in 0..5 {
            assert_eq!(client.read_frame().opcode, Opcode::Ping);
        }
    });
}

#[test]
fn a_peer_that_does_not_read_the_end_of_its_connection_does_not_keep_it() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--close-timeout", "100ms"]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(b"\xff\xff");
        let answer = client.read_frame();
        close_reason(&answer, 1002);
        // Our side stays open; the server closes its own all the same, and
        // then takes nothing more.
        client.expect_end();
        server.wait_for_clients(0);
    });
}
