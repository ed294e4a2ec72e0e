//! Bounds that the embedding program sets, and what happens at them.

use std::net::TcpListener;

use serde_json::json;
use shardcast::{BuildError, Data, Engine, Limits};

use super::bed::{Bed, on_shards};
use crate::support::{Client, wait_until};

fn with(shards: usize, limits: Limits) -> Bed {
    Bed::start(shards, |builder| {
        builder
            .limits(limits)
            .on("enter", |conn, msg| {
                conn.join(&msg.parse::<String>()?)?;
                conn.emit("entered", None);
                Ok(())
            })
            .on("login", |conn, msg| {
                conn.set_user(&msg.parse::<String>()?)?;
                conn.emit("welcome", None);
                Ok(())
            })
    })
}

#[test]
fn a_connection_is_in_so_many_rooms_and_no_more() {
    on_shards(|shards| {
        let bed = with(shards, Limits { rooms_per_connection: 3, ..Limits::default() });
        let mut client = bed.client();
        // Its user and everyone are not counted.
        client.say(&json!({"type": "login", "data": "alice"}));
        client.hear_type("welcome");
        for room in ["a", "b", "c"] {
            client.subscribe(room);
        }
        client.say(&json!({"type": "subscribe", "room": "d"}));
        assert_eq!(client.hear_error(), "maximum number of rooms reached");
        client.say(&json!({"type": "enter", "data": "d"}));
        assert_eq!(client.hear_error(), "maximum number of rooms reached");
        bed.handle.join(bed.id(&client), "d").unwrap();
        assert_eq!(client.hear_error(), "maximum number of rooms reached");
        assert_eq!(bed.handle.member_count("d"), 0);
        client.subscribe("b");
        client.say(&json!({"type": "unsubscribe", "room": "b"}));
        client.hear_type("unsubscribed");
        assert_eq!(client.subscribe("d"), 1);
    });
}

#[test]
fn a_room_has_so_many_members_on_all_shards_together() {
    on_shards(|shards| {
        const MOST: usize = 5;
        let bed = with(shards, Limits { members_per_room: MOST, ..Limits::default() });
        let mut clients = bed.client_on_each_shard();
        clients.extend((0..20).map(|_| bed.client()));
        // All at once, so that the shards compete for the last places.
        for client in &mut clients {
            client.say(&json!({"type": "subscribe", "room": "r"}));
        }
        let (mut members, mut refused): (Vec<Client>, Vec<Client>) = (vec![], vec![]);
        for mut client in clients {
            let answer: serde_json::Value = serde_json::from_str(&client.text()).unwrap();
            if answer["type"] == "subscribed" {
                members.push(client);
            } else {
                assert_eq!(answer["error"], "room is at maximum capacity");
                refused.push(client);
            }
        }
        assert_eq!(members.len(), MOST);
        assert_eq!(bed.handle.member_count("r"), MOST);
        assert_eq!(bed.handle.members("r").wait().unwrap().len(), MOST);
        bed.handle.publish("r", "e", Data::absent()).unwrap();
        for client in &mut members {
            client.hear_type("e");
        }
        members.pop().unwrap().close();
        wait_until("there is room for one", || bed.handle.member_count("r") == MOST - 1);
        assert_eq!(refused[0].subscribe("r"), MOST as u64);
        refused[1].say(&json!({"type": "enter", "data": "r"}));
        assert_eq!(refused[1].hear_error(), "room is at maximum capacity");
    });
}

#[test]
fn a_name_is_so_long_and_no_longer() {
    let bed = with(1, Limits { name_bytes: 8, ..Limits::default() });
    let mut client = bed.client();
    // Bytes, not characters.
    let (fits, too_long) = ("\u{e4}\u{e4}\u{e4}\u{e4}", "\u{e4}\u{e4}\u{e4}\u{e4}.");
    client.subscribe(fits);
    client.say(&json!({"type": "subscribe", "room": too_long}));
    assert_eq!(client.hear_error(), "room name is too long");
    client.say(&json!({"type": "enter", "data": too_long}));
    assert_eq!(client.hear_error(), "room name is too long");
    client.say(&json!({"type": "login", "data": fits}));
    client.hear_type("welcome");
    client.say(&json!({"type": "login", "data": too_long}));
    client.hear_type("error");
    assert_eq!(bed.handle.room_count(), 1);
    let info = bed.handle.connection(bed.id(&client)).wait().unwrap().unwrap();
    assert_eq!(info.user.as_deref(), Some(fits));
}

#[test]
fn an_error_about_a_users_name_does_not_speak_of_rooms() {
    let bed = with(1, Limits::default());
    let mut client = bed.client();
    for user in [String::new(), "x".repeat(256)] {
        client.say(&json!({"type": "login", "data": user}));
        let words = client.hear_error();
        assert!(!words.contains("room"), "{words}");
    }
}

#[test]
fn the_server_has_so_many_connections_and_the_next_is_told() {
    on_shards(|shards| {
        let bed = with(shards, Limits { connections: 2, ..Limits::default() });
        let (one, _other) = (bed.client(), bed.client());
        let mut third = Client::open(bed.address, "/ws/pubsub");
        assert_eq!(third.hear_error(), "server is at maximum capacity");
        assert_eq!(third.closed(), (1013, "server is at maximum capacity".to_owned()));
        let refused = bed.handle.stats().wait().unwrap().connections_refused;
        assert_eq!(refused, 1);
        one.close();
        wait_until("a place is free", || {
            bed.handle.connections().wait().expect("an answer").len() == 1
        });
        bed.client().expect_nothing_more();
    });
}

#[test]
fn a_message_of_more_bytes_closes_with_1009() {
    let bed = with(1, Limits { message_bytes: 64, ..Limits::default() });
    let mut client = bed.client();
    client.expect_nothing_more();
    client.send("x".repeat(65));
    assert_eq!(client.closed().0, 1009);
}

#[test]
fn settings_that_cannot_be_are_refused_with_a_sentence() {
    let build = |shards, limits| {
        Engine::builder().listen("127.0.0.1:0").shards(shards).limits(limits).build().map(drop)
    };
    for (shards, limits, words) in [
        (0, Limits::default(), "shards must be 1 to 64, not 0"),
        (65, Limits::default(), "shards must be 1 to 64, not 65"),
        (
            1,
            Limits { rooms_per_connection: 0, ..Limits::default() },
            "rooms_per_connection must be at least 1",
        ),
    ] {
        let error = build(shards, limits).unwrap_err();
        assert!(matches!(error, BuildError::Settings(_)), "{error:?}");
        assert_eq!(error.to_string(), words);
    }
    let error = Engine::builder().listen("nowhere").build().unwrap_err();
    assert!(error.to_string().starts_with("'nowhere' is no address: "), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Engine::builder().listen(address.to_string()).build().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}: the port is in use"));
}

#[test]
fn two_engines_do_not_share_a_port() {
    let bed = with(2, Limits::default());
    let error = Engine::builder().listen(bed.address.to_string()).build().unwrap_err();
    assert!(matches!(error, BuildError::Listen(..)), "{error:?}");
}
