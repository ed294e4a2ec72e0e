//! A panic in the embedding program's code costs its connection and nothing
//! else: the shard goes on, the others notice nothing.

use serde_json::json;
use shardcast::{Builder, Conn, Disconnect, dialect::Dialect};

use super::bed::{Bed, Journal};
use crate::support::{Client, wait_until};

/// Starts an engine of one shard, so that all share what a panic might harm.
fn start(journal: &Journal, configure: impl FnOnce(Builder) -> Builder) -> Bed {
    let ended = journal.clone();
    Bed::start(1, |builder| {
        let ends = move |conn: &mut Conn<'_>, reason: &Disconnect| {
            let code = reason.code();
            ended.note(format!("end of {:?} {code:?}", conn.user().unwrap_or_default()));
        };
        configure(builder.on_error(journal.faults()).on_disconnect(ends))
    })
}

fn closed_by_panic(client: &mut Client) {
    assert_eq!(client.closed(), (1011, "internal error".to_owned()));
}

fn panics(bed: &Bed) -> u64 {
    bed.handle.stats().wait().expect("an answer").handler_panics
}

#[test]
fn in_a_handler() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| {
        builder.on("boom", |conn, msg| {
            conn.join("r")?;
            panic!("no {}", msg.parse::<String>()?)
        })
    });
    let mut other = bed.client();
    other.subscribe("r");
    let mut client = bed.client();
    client.say(&json!({"type": "boom", "data": "luck"}));
    closed_by_panic(&mut client);
    other.say(&json!({"type": "publish", "room": "r", "data": 1}));
    other.hear_type("message");
    bed.client().subscribe("r");
    assert_eq!(panics(&bed), 1);
    assert_eq!(journal.lines()[..2], ["boom panicked: no luck", "end of \"\" Some(1011)"]);
}

#[test]
fn in_a_handler_before_and_after_others_of_the_same_read() {
    let journal = Journal::default();
    let served = journal.clone();
    let bed = start(&journal, |builder| {
        builder.on("boom", |_, _| panic!("once")).on("fine", move |_, _| {
            served.note("fine");
            Ok(())
        })
    });
    let mut client = bed.client();
    for event in ["fine", "boom", "fine", "boom"] {
        client.say(&json!({"type": event}));
    }
    closed_by_panic(&mut client);
    assert_eq!(journal.wait_for(3), ["fine", "boom panicked: once", "end of \"\" Some(1011)"]);
}

#[test]
fn in_the_connect_hook() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| {
        builder.on_connect(|conn| {
            assert!(conn.dialect() != Dialect::Raw, "not you");
            Ok(())
        })
    });
    let mut other = bed.client();
    closed_by_panic(&mut bed.raw());
    other.expect_nothing_more();
    assert_eq!(panics(&bed), 1);
    assert_eq!(journal.lines(), ["connect panicked: not you", "end of \"\" Some(1011)"]);
}

#[test]
fn in_the_message_hook() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| {
        builder.on_message(|_, msg| match msg.event() {
            "subscribe" => panic!("no rooms"),
            _ => Ok(()),
        })
    });
    let (mut client, mut other) = (bed.client(), bed.client());
    client.say(&json!({"type": "subscribe", "room": "r"}));
    closed_by_panic(&mut client);
    assert_eq!(bed.handle.member_count("r"), 0);
    other.expect_nothing_more();
    assert_eq!(journal.lines(), ["message panicked: no rooms", "end of \"\" Some(1011)"]);
}

#[test]
fn in_the_join_hook() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| {
        builder.on_join(|_, room| assert_ne!(room, "r", "not this room"))
    });
    let (mut client, mut other) = (bed.client(), bed.client());
    other.subscribe("q");
    client.say(&json!({"type": "subscribe", "room": "r"}));
    client.hear_type("subscribed");
    closed_by_panic(&mut client);
    wait_until("the room is empty", || bed.handle.member_count("r") == 0);
    other.expect_nothing_more();
    let lines = journal.wait_for(2);
    assert!(lines[0].starts_with("join panicked: "), "{lines:?}");
    assert_eq!(lines[1], "end of \"\" Some(1011)");
}

#[test]
fn in_the_leave_hook_of_an_unsubscribe_and_of_an_end() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| builder.on_leave(|_, room| panic!("leaves {room}")));
    let (mut client, mut other) = (bed.client(), bed.client());
    client.subscribe("a");
    client.subscribe("b");
    client.say(&json!({"type": "unsubscribe", "room": "a"}));
    client.hear_type("unsubscribed");
    closed_by_panic(&mut client);
    assert_eq!(
        journal.wait_for(3),
        ["leave panicked: leaves a", "end of \"\" Some(1011)", "leave panicked: leaves b"]
    );
    other.subscribe("c");
    other.close();
    assert_eq!(journal.wait_for(5)[3..], ["end of \"\" Some(1000)", "leave panicked: leaves c"]);
    bed.client().expect_nothing_more();
    assert_eq!(panics(&bed), 3);
}

#[test]
fn in_the_disconnect_hook() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| builder.on_disconnect(|_, _| panic!("good riddance")));
    let (mut client, mut other) = (bed.client(), bed.client());
    client.subscribe("r");
    // It is closed as it would have been.
    client.close();
    assert_eq!(
        journal.wait_for(2),
        ["end of \"\" Some(1000)", "disconnect panicked: good riddance"]
    );
    assert_eq!(bed.handle.member_count("r"), 0);
    other.expect_nothing_more();
}

#[test]
fn in_the_error_hook() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| {
        builder.on("fail", |conn, _| conn.join("")).on_error(|_, _| panic!("not me"))
    });
    let mut client = bed.client();
    client.say(&json!({"type": "fail"}));
    assert_eq!(client.hear_error(), "room name is required");
    client.expect_nothing_more();
}

#[test]
fn in_the_handlers_of_raw_messages() {
    let journal = Journal::default();
    let bed = start(&journal, |builder| {
        builder.on_text(|_, text| panic!("{text}")).on_binary(|_, bytes| panic!("{bytes:?}"))
    });
    let mut client = bed.raw();
    client.send("words");
    closed_by_panic(&mut client);
    let mut client = bed.raw();
    client.send(vec![1_u8]);
    closed_by_panic(&mut client);
    bed.client().expect_nothing_more();
    let faults: Vec<_> =
        journal.lines().into_iter().filter(|line| line.contains("panicked")).collect();
    assert_eq!(faults, ["text panicked: words", "binary panicked: [1]"]);
}
