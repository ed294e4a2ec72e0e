//! When the hooks are called, how often, and what they can do.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use shardcast::{Conn, Data, Disconnect, HandlerError, Limits};

use super::bed::{Bed, Journal, on_shards};
use crate::support::GUARD;

#[test]
fn the_connect_hook_is_called_once_for_each_upgrade_and_for_no_other_request() {
    on_shards(|shards| {
        let journal = Journal::default();
        let note = journal.clone();
        let bed = Bed::start(shards, |builder| {
            builder.on_connect(move |conn| {
                note.note(conn.client_id().to_string());
                Ok(())
            })
        });
        let mut refused = TcpStream::connect(bed.address).unwrap();
        refused.set_read_timeout(Some(GUARD)).unwrap();
        refused.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        refused.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        refused.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");

        let clients: Vec<_> = (0..4).map(|_| bed.client()).collect();
        let mut expected: Vec<_> = clients.iter().map(|client| client.id().to_string()).collect();
        drop(clients);
        bed.stop();
        let mut seen = journal.lines();
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected);
    });
}

#[test]
fn what_the_connect_hook_sends_comes_after_the_greeting() {
    let bed = Bed::start(1, |builder| {
        builder.on_connect(|conn| {
            conn.join("lobby")?;
            conn.emit("welcome", &Data::json(&conn.rooms().len())?);
            Ok(())
        })
    });
    let mut client = bed.client();
    assert_eq!(client.hear_type("welcome")["data"], 1);
    assert_eq!(bed.handle.member_count("lobby"), 1);
}

#[test]
fn a_connect_hook_that_fails_closes_with_1008_and_its_words() {
    on_shards(|shards| {
        let journal = Journal::default();
        let (second, ended) = (journal.clone(), journal.clone());
        let bed = Bed::start(shards, |builder| {
            builder
                .on_connect(|_| Err(HandlerError::reply("members only")))
                .on_connect(move |_| {
                    second.note("second hook");
                    Ok(())
                })
                .on_disconnect(move |_, reason| ended.note(format!("{reason:?}")))
                .on_error(journal.faults())
        });
        let mut client = bed.client();
        assert_eq!(client.hear_error(), "members only");
        assert_eq!(client.closed(), (1008, "members only".to_owned()));
        bed.stop();
        let refused = format!("{:?}", Disconnect::Refused("members only".into()));
        assert_eq!(journal.lines(), ["connect failed: members only".to_owned(), refused]);
    });
}

#[test]
fn an_internal_error_of_the_connect_hook_is_not_shown_to_the_client() {
    let journal = Journal::default();
    let bed = Bed::start(1, |builder| {
        builder
            .on_connect(|_| {
                "secret".parse::<u16>()?;
                Ok(())
            })
            .on_error(journal.faults())
    });
    let mut client = bed.client();
    assert_eq!(client.hear_error(), "internal server error");
    let (code, reason) = client.closed();
    assert_eq!(journal.lines(), ["connect failed: invalid digit found in string"]);
    assert_eq!(code, 1008);
    assert!(!reason.contains("digit"), "told the client: {reason}");
}

#[test]
fn a_refusal_by_the_connect_hook_is_told_in_the_words_of_the_dialect() {
    let bed = Bed::start(1, |builder| builder.on_connect(|conn| conn.join("")));
    let mut client = bed.client();
    assert_eq!(client.hear_error(), "room name is required");
    let (code, reason) = client.closed();
    assert_eq!(code, 1008);
    assert!(!reason.contains("RoomRequired"), "told the client: {reason}");
}

#[test]
fn the_message_hook_sees_what_was_understood_before_it_is_done() {
    let journal = Journal::default();
    let note = journal.clone();
    let bed = Bed::start(1, |builder| {
        builder
            .on_message(move |conn, msg| {
                let data = msg.data().map(|data| String::from_utf8_lossy(data.as_bytes()));
                let (event, room, to) = (msg.event(), msg.room(), msg.to());
                let rooms = conn.rooms().len();
                note.note(format!("{event} {room:?} {to:?} {data:?} {rooms}"));
                Ok(())
            })
            .on("mine", |_, _| Ok(()))
    });
    let mut client = bed.client();
    client.subscribe("r");
    client.send(r#"{"type":"publish","room":"r","data": [1, 2] }"#);
    client.hear_type("message");
    client.send("{not json");
    assert_eq!(client.hear_error(), "invalid JSON format");
    client.send(r#"{"type":"mine","to":7,"data":null}"#);
    client.expect_nothing_more();
    let expected = [
        r#"subscribe Some("r") None None 0"#,
        r#"publish Some("r") None Some("[1, 2]") 1"#,
        r#"mine None Some("7") Some("null") 1"#,
        "ping None None None 1",
    ];
    assert_eq!(journal.lines(), expected);
}

#[test]
fn a_message_hook_that_fails_stops_the_message_and_the_client_is_told() {
    on_shards(|shards| {
        let journal = Journal::default();
        let handled = journal.clone();
        let bed = Bed::start(shards, |builder| {
            builder
                .on_message(|_, msg| match msg.event() {
                    "subscribe" | "mine" => Err(HandlerError::reply("not today")),
                    _ => Ok(()),
                })
                .on("mine", move |_, _| {
                    handled.note("handled");
                    Ok(())
                })
                .on_error(journal.faults())
        });
        let mut client = bed.client();
        client.say(&json!({"type": "subscribe", "room": "r"}));
        assert_eq!(client.hear_error(), "not today");
        client.say(&json!({"type": "mine"}));
        assert_eq!(client.hear_error(), "not today");
        client.expect_nothing_more();
        assert_eq!(bed.handle.member_count("r"), 0);
        assert_eq!(journal.lines(), ["message failed: not today"; 2]);
    });
}

#[test]
fn a_connection_that_the_message_hook_closes_is_not_served() {
    let bed = Bed::start(1, |builder| {
        builder.on_message(|conn, _| {
            conn.close(4000, "enough");
            Ok(())
        })
    });
    let mut client = bed.client();
    client.say(&json!({"type": "ping"}));
    assert_eq!(client.closed(), (4000, "enough".to_owned()));
}

#[test]
fn join_and_leave_hooks_are_called_once_for_each_change_whoever_makes_it() {
    on_shards(|shards| {
        let journal = Journal::default();
        let (joins, leaves) = (journal.clone(), journal.clone());
        let bed = Bed::start(shards, |builder| {
            builder
                .on_join(move |conn, room| {
                    assert!(conn.is_in(room));
                    joins.note(format!("join {room}"));
                })
                .on_leave(move |conn, room| {
                    assert!(!conn.is_in(room));
                    leaves.note(format!("leave {room}"));
                })
                .on("enter", |conn, _| {
                    conn.join("by handler")?;
                    conn.join("by handler")
                })
                .on("exit", |conn, _| {
                    conn.leave_all();
                    assert!(!conn.leave("by handler"));
                    Ok(())
                })
        });
        let mut client = bed.client();
        client.subscribe("by client");
        client.subscribe("by client");
        client.say(&json!({"type": "enter"}));
        client.expect_nothing_more();
        let id = bed.id(&client);
        bed.handle.join(id, "by handle").unwrap();
        bed.handle.join(id, "by handle").unwrap();
        bed.handle.leave(id, "by handle").unwrap();
        bed.handle.leave(id, "by handle").unwrap();
        journal.wait_for(4);
        client.say(&json!({"type": "exit"}));
        client.expect_nothing_more();
        let expected = [
            "join by client",
            "join by handler",
            "join by handle",
            "leave by handle",
            "leave by client",
            "leave by handler",
        ];
        assert_eq!(journal.lines(), expected);
    });
}

#[test]
fn hooks_that_join_and_leave_in_answer_to_each_other_come_to_an_end() {
    let bed = Bed::start(1, |builder| {
        builder
            .on_join(|conn, room| {
                conn.leave(room);
            })
            .on_leave(|conn, room| {
                let _ = conn.join(room);
            })
    });
    let mut client = bed.client();
    client.subscribe("r");
    client.expect_nothing_more();
    bed.client().expect_nothing_more();
}

/// Two moves, whatever rooms it is in: as an answer to each move that doubles them
/// at every step.
fn move_twice(conn: &mut Conn<'_>) {
    for room in ["a", "b"] {
        if !conn.leave(room) {
            // Refused once the connection is closing.
            let _ = conn.join(room);
        }
    }
}

#[test]
fn hooks_that_branch_out_are_called_a_bounded_number_of_times_for_each_event() {
    let journal = Journal::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let (on_join, on_leave) = (Arc::clone(&calls), Arc::clone(&calls));
    let bed = Bed::start(1, |builder| {
        builder
            .on_join(move |conn, _| {
                on_join.fetch_add(1, Ordering::Relaxed);
                move_twice(conn);
            })
            .on_leave(move |conn, _| {
                on_leave.fetch_add(1, Ordering::Relaxed);
                move_twice(conn);
            })
            .on_error(journal.faults())
    });
    let mut client = bed.client();
    client.say(&json!({"type": "subscribe", "room": "r"}));
    client.hear_type("subscribed");
    client.expect_nothing_more();
    let first = calls.swap(0, Ordering::Relaxed);
    let most = Limits::HOOK_CHANGES_PER_EVENT + 1;
    assert!((1000..=most).contains(&first), "{first} calls for one message");
    assert_eq!(journal.lines(), ["room hooks stopped"]);
    // The next event has its own: here the end of the connection.
    client.close();
    bed.stop();
    assert!(calls.load(Ordering::Relaxed) <= most, "{calls:?} calls for one end");
}

#[test]
fn every_message_of_a_burst_is_told_to_hooks_that_come_to_an_end() {
    const ROUNDS: usize = 6000;
    let calls = Arc::new(AtomicUsize::new(0));
    let journal = Journal::default();
    let count = Arc::clone(&calls);
    let bed = Bed::start(1, |builder| {
        builder
            .on_join(move |conn, room| {
                count.fetch_add(1, Ordering::Relaxed);
                if room == "r" {
                    let _ = conn.join("lobby");
                } else {
                    conn.leave("r");
                    conn.leave("lobby");
                }
            })
            .on_error(journal.faults())
    });
    let mut client = bed.client();
    for _ in 0..ROUNDS {
        client.say(&json!({"type": "subscribe", "room": "r"}));
    }
    for _ in 0..ROUNDS {
        client.hear_type("subscribed");
    }
    client.expect_nothing_more();
    assert_eq!(calls.load(Ordering::Relaxed), 2 * ROUNDS);
    assert!(journal.lines().is_empty(), "{:?}", journal.lines());
}
