//! Bounds that are told to the client they stop, and harm no other.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::support::{Client, RawClient, on_every_driver, on_every_driver_alone};

#[test]
fn a_full_server_says_so_with_1013_until_a_place_is_free() {
    on_every_driver(|bed| {
        let server = bed.server(&["--max-connections", "3"]);
        let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.address())).collect();
        let mut refused = Client::open(server.address(), "/ws/pubsub");
        let event = refused.hear();
        assert_eq!((&event["type"], &event["error"]), (&json!("error"), &json!(FULL)));
        assert_eq!(refused.expect_close(1013), FULL);
        clients.pop().expect("a client").close();
        server.wait_for_clients(2);
        clients.push(Client::connect(server.address()));
        clients.iter_mut().for_each(Client::expect_nothing_more);
    });
}

const FULL: &str = "server is at maximum capacity";

#[test]
fn one_address_cannot_take_every_place() {
    on_every_driver(|bed| {
        let server = bed.server(&["--max-connections-per-address", "2"]);
        let mut first = Client::connect(server.address());
        let second = Client::connect(server.address());
        RawClient::connect(server.address()).expect_end();
        let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
        let mut elsewhere = RawClient::connect_from(elsewhere, server.address());
        elsewhere.upgrade("/ws/pubsub");
        assert_eq!(elsewhere.hear()["type"], "connected");
        elsewhere.expect_alive();
        first.expect_nothing_more();
        second.close();
    });
}

#[test]
fn a_full_room_takes_no_one_on_any_shard() {
    on_every_driver(|bed| {
        let server = bed.server(&["--max-connections-per-room", "5"]);
        let mut clients: Vec<_> = (0..16).map(|_| Client::connect(server.address())).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.say(&json!({"type": "subscribe", "room": "small"}));
            let answer = client.hear();
            if index < 5 {
                assert_eq!(answer["data"]["client_count"], index + 1, "{answer}");
            } else {
                assert_eq!(answer["error"], "room is at maximum capacity");
            }
        }
        clients[0].unsubscribe("small");
        assert_eq!(clients[15].subscribe("small"), 5);
    });
}

#[test]
fn a_connection_is_in_no_more_rooms_than_allowed() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--max-rooms-per-connection", "3"]);
        let mut client = Client::connect(server.address());
        for room in ["a", "b", "c"] {
            client.subscribe(room);
        }
        client.say(&json!({"type": "subscribe", "room": "d"}));
        assert_eq!(client.hear()["error"], "maximum number of rooms reached");
        client.unsubscribe("b");
        assert_eq!(client.subscribe("d"), 1);
        assert_eq!(server.health()["rooms"], 3);
    });
}

#[test]
fn a_room_name_that_is_too_long_is_refused() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = Client::connect(server.address());
        client.say(&json!({"type": "subscribe", "room": "r".repeat(256)}));
        assert_eq!(client.hear()["error"], "room name is too long");
        assert_eq!(client.subscribe(&"r".repeat(255)), 1);
    });
}
