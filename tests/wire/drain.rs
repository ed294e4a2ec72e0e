//! The graceful end: everybody gets what is waiting and then 1001, and nobody
//! can hold the server.

use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::json;
use shardcast::proto::frame::Opcode;

use crate::support::{
    Client, RawClient, close_reason, on_every_driver, raw_client::close, request, text,
};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

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
        let patient = ["--close-timeout", "20s", "--drain-timeout", "20s"];
        let mut server = bed.server(&[&patient[..], &["--queue-bytes", "16777216"]].concat());
        let mut readers: Vec<_> =
            (0..4).map(|_| RawClient::connect_narrow(server.address()).greeted()).collect();
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
fn the_time_to_answer_a_close_begins_when_the_close_has_left() {
    const COUNT: u64 = 200;
    on_every_driver(|bed| {
        let timeouts = ["--close-timeout", "100ms", "--drain-timeout", "1h"];
        let queue = ["--queue-bytes", "67108864", "--write-timeout", "20s"];
        let mut server = bed.server(&[timeouts, queue].concat());
        let mut reader = RawClient::connect_narrow(server.address()).greeted();
        reader.subscribe("chat");
        let mut publisher = RawClient::open_pubsub(server.address());
        publisher.subscribe("chat");
        let padding = "x".repeat(100_000);
        for number in 0..COUNT {
            let message = json!({"type": "publish", "room": "chat", "data": [number, padding]});
            publisher.send(&text(&message.to_string()));
            assert_eq!(publisher.hear()["data"][0], number);
        }
        server.signal(Signal::TERM);
        // Nothing waits for the publisher: when it is cut off for not answering,
        // so much time has passed.
        publisher.expect_close(1001);
        // The Close frame of the reader waits behind what it reads only now.
        for number in 0..COUNT {
            assert_eq!(reader.hear()["data"][0], number);
        }
        reader.expect_close(1001);
        assert_eq!(server.exit_status().code(), Some(0));
    });
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    on_every_driver(|bed| {
        for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
            let mut server = bed.server(&["--close-timeout", "1h", "--drain-timeout", "1h"]);
            let mut silent = RawClient::open_pubsub(server.address());
            server.signal(signal);
            close_reason(&silent.read_frame(), 1001);
            server.signal(signal);
            assert_eq!(server.exit_status().code(), Some(code));
        }
    });
}

#[test]
fn a_draining_server_takes_no_one_and_says_so_to_health_checks() {
    on_every_driver(|bed| {
        let mut server = bed.server(&["--close-timeout", "1h", "--drain-timeout", "1h"]);
        let mut probe = RawClient::connect(server.address());
        probe.send(HEALTH);
        assert_eq!(probe.read_response().status, 200);
        let mut last = RawClient::open_pubsub(server.address());
        server.signal(Signal::TERM);
        close_reason(&last.read_frame(), 1001);
        probe.send(HEALTH);
        let response = probe.read_response();
        assert_eq!(response.status, 503);
        assert!(response.body.contains("draining"), "{response:?}");
        if let Ok(stream) = TcpStream::connect(server.address()) {
            let mut late = RawClient::over(stream);
            late.try_send(request("/ws", "").as_bytes());
            late.expect_end();
        }
        last.send(&close(1001, ""));
        last.expect_end();
        assert_eq!(server.exit_status().code(), Some(0));
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
        idle.send(HEALTH);
        assert_eq!(idle.read_response().status, 200);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_status().code(), Some(0));
    });
}

#[test]
fn a_drain_without_any_time_says_nothing_of_connections_that_there_are_not() {
    on_every_driver(|bed| {
        let mut server = bed.server(&["--drain-timeout", "0s"]);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_status().code(), Some(0));
        let log = server.log();
        assert!(!log.contains("cut off"), "{log}");
    });
}
