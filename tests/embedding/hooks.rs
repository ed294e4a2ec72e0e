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
use crate::support::{Client, GUARD, wait_until};

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
fn a_disconnect_ends_every_membership_after_the_disconnect_hook() {
    on_shards(|shards| {
        let journal = Journal::default();
        let (leaves, ends) = (journal.clone(), journal.clone());
        let bed = Bed::start(shards, |builder| {
            builder
                .on_connect(|conn| conn.set_user("alice"))
                .on_disconnect(move |conn, _| {
                    ends.note(format!("end of {:?} in {:?}", conn.user(), conn.rooms()));
                })
                .on_leave(move |conn, room| leaves.note(format!("{:?} {room}", conn.user())))
        });
        let mut client = bed.client();
        client.subscribe("a");
        client.subscribe("b");
        client.reset();
        let lines = journal.wait_for(3);
        assert_eq!(lines[0], r#"end of Some("alice") in ["a", "b"]"#);
        let mut rest = lines[1..].to_vec();
        rest.sort();
        assert_eq!(rest, [r#"Some("alice") a"#, r#"Some("alice") b"#]);
        bed.stop();
        assert_eq!(journal.lines().len(), 3);
    });
}

#[test]
fn those_who_stay_hear_what_the_disconnect_and_leave_hooks_publish() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| {
            builder
                .on_disconnect(|conn, _| conn.to("r").except_self().emit("ended", None))
                .on_leave(|conn, room| conn.to(room).emit("left", None))
        });
        let mut stay = bed.client_on_each_shard();
        let mut goer = bed.client();
        for client in stay.iter_mut().chain([&mut goer]) {
            client.subscribe("r");
        }
        drop(goer);
        for client in &mut stay {
            assert_eq!(client.hear_type("ended")["room"], "r");
            assert_eq!(client.hear_type("left")["room"], "r");
        }
    });
}

/// What the disconnect hook is told when a connection ends by `end`.
fn reasons(shards: usize, end: impl FnOnce(&Bed, Client)) -> Vec<String> {
    let journal = Journal::default();
    let note = journal.clone();
    let bed = Bed::start(shards, |builder| {
        builder
            .on("close", |conn, _| {
                conn.close(4001, "by handler");
                // The first reason stands.
                conn.close(4002, "again");
                Ok(())
            })
            .on_disconnect(move |_, reason| note.note(format!("{reason:?}")))
    });
    let client = bed.client();
    end(&bed, client);
    bed.stop();
    journal.lines()
}

#[test]
fn the_disconnect_hook_is_called_once_and_told_the_reason() {
    on_shards(|shards| {
        let by_peer = reasons(shards, |_, client| client.close());
        assert_eq!(by_peer, [format!("{:?}", Disconnect::ByPeer { code: Some(1000) })]);

        let in_handler = reasons(shards, |_, mut client| {
            client.say(&json!({"type": "close"}));
            assert_eq!(client.closed(), (4001, "by handler".to_owned()));
        });
        let requested = Disconnect::Requested { code: 4001, reason: "by handler".into() };
        assert_eq!(in_handler, [format!("{requested:?}")]);

        let by_handle = reasons(shards, |bed, mut client| {
            bed.handle.close(bed.id(&client), 4003, "by handle").unwrap();
            bed.handle.close(bed.id(&client), 4004, "again").unwrap();
            assert_eq!(client.closed(), (4003, "by handle".to_owned()));
        });
        let requested = Disconnect::Requested { code: 4003, reason: "by handle".into() };
        assert_eq!(by_handle, [format!("{requested:?}")]);

        let by_shutdown = reasons(shards, |bed, mut client| {
            bed.handle.shutdown();
            assert_eq!(client.closed(), (1001, "server is shutting down".to_owned()));
        });
        assert_eq!(by_shutdown, [format!("{:?}", Disconnect::Shutdown)]);
    });
}

#[test]
fn a_connection_that_just_breaks_is_lost() {
    on_shards(|shards| {
        let gone = |bed: &Bed| {
            wait_until("the connection is gone", || {
                bed.handle.connections().wait().expect("an answer").is_empty()
            });
        };
        let lost = [format!("{:?}", Disconnect::Lost)];
        let reset = reasons(shards, |bed, client| {
            client.reset();
            gone(bed);
        });
        assert_eq!(reset, lost);
        let end_of_file = reasons(shards, |bed, client| {
            drop(client.into_stream());
            gone(bed);
        });
        assert_eq!(end_of_file, lost);
    });
}

#[test]
fn a_peer_that_breaks_the_protocol_is_a_fault_and_a_reason() {
    let journal = Journal::default();
    let ended = journal.clone();
    let bed = Bed::start(1, |builder| {
        builder
            .on_error(journal.faults())
            .on_disconnect(move |_, reason| ended.note(format!("{:?}", reason.code())))
    });
    let mut stream = bed.client().into_stream();
    // A frame that is not masked (RFC 6455 section 5.1).
    stream.write_all(&[0x81, 0x00]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], 0x88);
    assert_eq!(answer[2..4], 1002_u16.to_be_bytes());
    drop(stream);
    bed.stop();
    assert_eq!(journal.lines(), ["protocol 1002", "Some(1002)"]);
}

#[test]
fn a_leave_hook_that_joins_makes_no_member_of_a_connection_that_has_ended() {
    let bed = Bed::start(1, |builder| {
        builder.on_leave(|conn, room| {
            // Refused or forgotten: both are well.
            let _ = conn.join(room);
        })
    });
    let mut client = bed.client();
    client.subscribe("r");
    client.reset();
    let mut other = bed.client();
    wait_until("the room is empty", || bed.handle.member_count("r") == 0);
    other.expect_nothing_more();
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
    let most = Limits::HOOKED_MOVES_PER_EVENT + 1;
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

#[test]
fn a_join_is_told_before_the_end_of_its_connection() {
    let journal = Journal::default();
    let (joins, ends, leaves) = (journal.clone(), journal.clone(), journal.clone());
    let bed = Bed::start(1, |builder| {
        builder
            .on("in and out", |conn, _| {
                conn.join("r")?;
                conn.close(1000, "");
                Ok(())
            })
            .on_join(move |_, _| joins.note("join"))
            .on_disconnect(move |_, _| ends.note("end"))
            .on_leave(move |_, _| leaves.note("leave"))
    });
    let mut client = bed.client();
    client.say(&json!({"type": "in and out"}));
    client.closed();
    assert_eq!(journal.wait_for(3), ["join", "end", "leave"]);
}

#[test]
fn what_a_leave_hook_sends_to_a_connection_that_has_ended_does_not_follow_its_close_frame() {
    let bed = Bed::start(1, |builder| {
        builder
            .on("bye", |conn, _| {
                conn.close(1000, "");
                Ok(())
            })
            .on_leave(|conn, _| {
                conn.emit("late", None);
                conn.send_text("late");
            })
    });
    let mut client = bed.client();
    client.subscribe("r");
    client.say(&json!({"type": "bye"}));
    let mut stream = client.into_stream();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.ends_with(&[0x88, 2, 3, 0xE8]), "{}", bytes.escape_ascii());
}
