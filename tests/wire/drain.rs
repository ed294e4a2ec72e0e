//! The graceful end: everybody gets what is waiting and then 1001, and nobody
//! can hold the server.

use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::json;
use shardcast::proto::frame::Opcode;

use crate::support::{
    Client, RawClient, close_reason, on_every_driver, raw_client::close, request,
};

#[test]
fn each_signal_closes_every_client_with_1001_and_ends_with_code_0() {
    on_every_driver(|bed| {
        for signal in [Signal::TERM, Signal::INT] {
            let mut server = bed.server(&[]);
            let mut clients: Vec<_> = (0..8).map(|_| Client::connect(server.address())).collect();
            server.signal(signal);
            for client in &mut clients {
                assert_eq!(client.expect_close(1001), "server is shutting down");
            }
            assert_eq!(server.exit_status().code(), Some(0), "{signal:?}");
            assert!(TcpStream::connect(server.address()).is_err(), "something listens still");
        }
    });
}

#[test]
fn a_server_without_clients_ends_at_once() {
    on_every_driver(|bed| {
        let mut server = bed.server(&[]);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_status().code(), Some(0));
    });
}

#[test]
fn what_was_published_before_the_signal_is_delivered_before_the_close() {
    const COUNT: u64 = 3000;
    on_every_driver(|bed| {
        let mut server = bed.server(&["--queue-bytes", "16777216", "--drain-timeout", "20s"]);
        let mut readers: Vec<_> =
            (0..8).map(|_| RawClient::connect_narrow(server.address()).greeted()).collect();
        for reader in &mut readers {
            reader.subscribe("chat");
        }
        let mut publisher = Client::connect(server.address());
        publisher.subscribe("chat");
        let padding = "x".repeat(2000);
        for number in 0..COUNT {
            publisher.publish("chat", &json!([number, padding]));
            // It hears its own: the server has taken it in.
            assert_eq!(publisher.hear()["data"][0], number);
        }
        server.signal(Signal::TERM);
        publisher.expect_close(1001);
        // Nobody has read so far: most of it waits in the server.
        for reader in &mut readers {
            for number in 0..COUNT {
                assert_eq!(reader.hear()["data"][0], number);
            }
            close_reason(&reader.read_frame(), 1001);
            reader.send(&close(1001, ""));
            reader.expect_end();
        }
        assert_eq!(server.exit_status().code(), Some(0));
    });
}

#[test]
fn a_client_that_never_answers_the_close_does_not_hold_the_server() {
    on_every_driver(|bed| {
        let flags = ["--close-timeout", "200ms", "--drain-timeout", "1h"];
        let mut server = bed.server(&flags);
        let mut silent = RawClient::open_pubsub(server.address());
        server.signal(Signal::TERM);
        assert_eq!(server.exit_status().code(), Some(0));
        close_reason(&silent.read_frame(), 1001);
    });
}

#[test]
fn a_client_that_never_reads_does_not_hold_the_server_beyond_the_drain_timeout() {
    on_every_driver(|bed| {
        let flags = ["--queue-bytes", "67108864", "--drain-timeout", "300ms"];
        let endless = ["--close-timeout", "1h", "--write-timeout", "1h"];
        let mut server = bed.server(&[flags, endless].concat());
        let mut stuck = RawClient::connect_narrow(server.address()).greeted();
        stuck.subscribe("busy");
        let mut publisher = Client::connect(server.address());
        publisher.subscribe("busy");
        let data = "x".repeat(100_000);
        for _ in 0..300 {
            publisher.publish("busy", &json!(data));
            assert_eq!(publisher.hear()["data"], data);
        }
        server.signal(Signal::TERM);
        publisher.expect_close(1001);
        assert_eq!(server.exit_status().code(), Some(0));
        while stuck.next_frame().is_some_and(|frame| frame.opcode == Opcode::Text) {}
    });
}

#[test]
fn a_half_finished_handshake_does_not_hold_the_server() {
    on_every_driver(|bed| {
        let mut server = bed.server(&["--handshake-timeout", "1h", "--drain-timeout", "1h"]);
        let mut half = RawClient::connect(server.address());
        half.send(&request("/ws", "").as_bytes()[..40]);
        let mut open = Client::connect(server.address());
        server.signal(Signal::TERM);
        open.expect_close(1001);
        assert_eq!(server.exit_status().code(), Some(0));
        half.expect_end();
    });
}

#[test]
fn a_connection_kept_for_http_does_not_hold_the_server() {
    on_every_driver(|bed| {
        let mut server = bed.server(&["--drain-timeout", "2s"]);
        let mut idle = RawClient::connect(server.address());
        idle.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(idle.read_response().status, 200);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_status().code(), Some(0));
    });
}
