//! What the hooks are told when a connection ends, and what they can still do.

use std::{
    io::{Read, Write},
    net::Shutdown,
};

use serde_json::json;
use shardcast::Disconnect;

use super::bed::{Bed, Journal, on_shards};
use crate::support::{Client, wait_until};

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
