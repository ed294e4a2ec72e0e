//! Upgrades on connections that have served plain HTTP requests, as those of a proxy
//! that keeps them.

use serde_json::json;
use shardcast::proto::frame::Opcode;

use crate::support::{Client, RawClient, on_every_driver, on_every_driver_alone, request, text};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn expect_echo(client: &mut RawClient, message: &str) {
    let frame = client.read_frame();
    assert_eq!((frame.opcode, frame.payload), (Opcode::Text, message.as_bytes().to_vec()));
}

#[test]
fn a_connection_that_has_served_a_plain_request_is_upgraded() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        for _ in 0..3 {
            client.send(HEALTH.as_bytes());
            assert_eq!(client.read_response().status, 200);
        }
        client.upgrade("/ws/raw");
        for message in ["one", "two"] {
            client.send(&text(message));
            expect_echo(&mut client, message);
        }
        server.wait_for_clients(1);
        client.send(&crate::support::raw_client::close(1000, ""));
        client.expect_close(1000);
        server.wait_for_clients(0);
    });
}

#[test]
fn frames_in_the_packet_of_an_upgrade_behind_plain_requests_are_answered() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let upgrade = request("/ws/raw", "X-Forwarded-For: 192.0.2.1\r\n");
        let head = [HEALTH, HEALTH, &upgrade].concat();
        let all = [head.as_bytes(), &text("one"), &text("two")].concat();
        // The first request comes by itself, or all at once.
        for alone in [HEALTH.len(), 0, HEALTH.len() + 5, head.len() - 2, head.len() + 3] {
            let mut client = RawClient::connect(server.address());
            let (first, rest) = all.split_at(alone);
            client.send(first);
            if alone >= HEALTH.len() {
                assert_eq!(client.read_response().status, 200);
            }
            client.send(rest);
            if alone < HEALTH.len() {
                assert_eq!(client.read_response().status, 200);
            }
            assert_eq!(client.read_response().status, 200);
            assert_eq!(client.read_response().status, 101);
            expect_echo(&mut client, "one");
            expect_echo(&mut client, "two");
        }
    });
}

#[test]
fn an_upgrade_behind_a_plain_request_may_come_byte_by_byte() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        let upgrade = request("/ws/raw", "");
        client.send_byte_by_byte(&[HEALTH.as_bytes(), upgrade.as_bytes(), &text("hi")].concat());
        assert_eq!(client.read_response().status, 200);
        assert_eq!(client.read_response().status, 101);
        expect_echo(&mut client, "hi");
    });
}

#[test]
fn who_was_upgraded_behind_a_plain_request_is_a_client_like_any_other() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut other = Client::connect(server.address());
        other.subscribe("room");
        let mut client = RawClient::connect(server.address());
        client.send(HEALTH.as_bytes());
        assert_eq!(client.read_response().status, 200);
        let mut client = client.greeted();
        client.subscribe("room");
        other.publish("room", &json!("hello"));
        assert_eq!(client.hear()["data"], "hello");
        assert_eq!(other.hear()["data"], "hello");
        assert_eq!(server.health()["clients"], 2);
    });
}

#[test]
fn who_was_upgraded_behind_a_plain_request_counts_for_its_address() {
    on_every_driver(|bed| {
        let server = bed.server(&["--max-connections-per-address", "2"]);
        let mut clients: Vec<_> = (0..2)
            .map(|_| {
                let mut client = RawClient::connect(server.address());
                client.send(HEALTH.as_bytes());
                assert_eq!(client.read_response().status, 200);
                client.greeted()
            })
            .collect();
        RawClient::connect(server.address()).expect_end();
        clients.iter_mut().for_each(RawClient::expect_alive);
    });
}

#[test]
fn a_wrong_upgrade_behind_a_plain_request_is_refused_as_a_first_one() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let wrong = request("/ws", "").replace("Version: 13", "Version: 12");
        let mut first = RawClient::connect(server.address());
        first.send(wrong.as_bytes());
        let mut second = RawClient::connect(server.address());
        second.send(HEALTH.as_bytes());
        assert_eq!(second.read_response().status, 200);
        second.send(wrong.as_bytes());
        let (first, second) = (first.read_response(), second.read_response());
        assert_eq!((first.status, &first.head), (426, &second.head));
        assert_eq!(first.body, second.body);
    });
}

#[test]
fn an_upgrade_at_another_path_is_answered_and_the_connection_goes_on() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send(HEALTH.as_bytes());
        assert_eq!(client.read_response().status, 200);
        client.send(request("/other", "").as_bytes());
        assert_eq!(client.read_response().status, 404);
        client.upgrade("/ws/raw");
        client.send(&text("hi"));
        expect_echo(&mut client, "hi");
    });
}
