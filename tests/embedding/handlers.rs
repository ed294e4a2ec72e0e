//! Handlers of events and of raw messages: what they are given, what they can
//! do, and what their errors bring about.

use serde::Deserialize;
use serde_json::json;
use shardcast::{ConnId, Data, HandlerError};
use tungstenite::Message;

use super::bed::{Bed, Journal, on_shards};
use crate::support::wait_until;

#[test]
fn a_handler_takes_the_place_of_a_built_in_and_of_an_earlier_handler() {
    let bed = Bed::start(1, |builder| {
        builder
            .on("subscribe", |conn, msg| {
                conn.emit("no", &Data::text(msg.room().unwrap_or_default()));
                Ok(())
            })
            .on("mine", |_, _| Err(HandlerError::reply("the earlier")))
            .on("mine", |conn, _| {
                conn.emit("the later", None);
                Ok(())
            })
    });
    let mut client = bed.client();
    client.say(&json!({"type": "subscribe", "room": "r"}));
    assert_eq!(client.hear_type("no")["data"], "r");
    assert_eq!(bed.handle.room_count(), 0);
    client.say(&json!({"type": "mine"}));
    client.hear_type("the later");
    client.expect_nothing_more();
}

#[test]
fn an_event_without_a_handler_is_answered_by_an_error() {
    let bed = Bed::start(1, |builder| builder.on("known", |_, _| Ok(())));
    let mut client = bed.client();
    client.say(&json!({"type": "unknown", "data": 1}));
    assert_eq!(client.hear_error(), "unknown message type");
    client.say(&json!({"data": 1}));
    assert_eq!(client.hear_error(), "unknown message type");
    client.expect_nothing_more();
}

#[test]
fn a_handler_gets_the_message_as_the_client_wrote_it() {
    let bed = Bed::start(1, |builder| {
        builder.on("mine", |conn, msg| {
            let about = json!({"event": msg.event(), "room": msg.room(), "to": msg.to()});
            conn.emit("about", &Data::json(&about)?);
            conn.emit("data", msg.data());
            Ok(())
        })
    });
    let mut client = bed.client();
    client.send(r#"{"type":"mine","room":"r","to":"bob","data":{"n": 1e400}}"#);
    assert_eq!(
        client.hear_type("about")["data"],
        json!({"event": "mine", "room": "r", "to": "bob"})
    );
    let data = client.text();
    assert!(data.contains(r#""data":{"n": 1e400}"#), "{data}");
    client.send(r#"{"type":"mine"}"#);
    assert_eq!(
        client.hear_type("about")["data"],
        json!({"event": "mine", "room": null, "to": null})
    );
    assert!(client.hear_type("data").get("data").is_none());
}

#[test]
fn an_error_of_a_handler_is_told_to_the_client_and_to_the_error_hook() {
    let journal = Journal::default();
    let bed = Bed::start(1, |builder| {
        builder
            .on("reply", |_, _| Err(HandlerError::reply("sold out")))
            .on("internal", |_, _| {
                "x".parse::<u8>()?;
                Ok(())
            })
            .on("refused", |conn, _| conn.join(""))
            .on_error(journal.faults())
    });
    let mut client = bed.client();
    for (event, words) in [
        ("reply", "sold out"),
        ("internal", "internal server error"),
        ("refused", "room name is required"),
    ] {
        client.say(&json!({"type": event}));
        assert_eq!(client.hear_error(), words);
    }
    client.expect_nothing_more();
    let expected = [
        "reply failed: sold out",
        "internal failed: invalid digit found in string",
        "refused failed: refused: RoomRequired",
    ];
    assert_eq!(journal.lines(), expected);
}

#[derive(Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[test]
fn data_is_read_as_a_type_and_what_does_not_fit_is_told() {
    let bed = Bed::start(1, |builder| {
        builder
            .on("order", |conn, msg| {
                let Order { item, count } = msg.parse()?;
                conn.emit("ordered", &Data::text(format!("{count} {item}")));
                Ok(())
            })
            .on("maybe", |conn, msg| {
                let number = msg.parse::<Option<u32>>()?;
                conn.emit("number", &Data::json(&number)?);
                Ok(())
            })
    });
    let mut client = bed.client();
    client.say(&json!({"type": "order", "data": {"item": "tea \u{1F375}", "count": 2}}));
    assert_eq!(client.hear_type("ordered")["data"], "2 tea \u{1F375}");
    for data in [json!({"item": "tea", "count": -1}), json!({"item": "tea"}), json!(null)] {
        client.say(&json!({"type": "order", "data": data}));
        let words = client.hear_error();
        assert!(words.starts_with("invalid data: "), "{words}");
    }
    client.say(&json!({"type": "maybe", "data": 7}));
    assert_eq!(client.hear_type("number")["data"], 7);
    client.say(&json!({"type": "maybe"}));
    assert_eq!(client.hear_type("number")["data"], json!(null));
}

#[test]
fn raw_text_and_bytes_go_to_their_handlers() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| {
            builder
                .on_text(|conn, text| {
                    conn.send_text(&text.to_uppercase());
                    Ok(())
                })
                .on_binary(|conn, bytes| {
                    conn.send_binary(&bytes.iter().rev().copied().collect::<Vec<_>>());
                    Ok(())
                })
        });
        let mut client = bed.raw();
        client.send("gr\u{fc}n");
        assert_eq!(client.receive(), Message::text("GR\u{dc}N"));
        client.send(vec![0_u8, 1, 0xFF]);
        assert_eq!(client.receive(), Message::binary(vec![0xFF_u8, 1, 0]));
        client.send("");
        assert_eq!(client.receive(), Message::text(""));
    });
}

#[test]
fn raw_messages_without_a_handler_are_passed_over_and_errors_reported() {
    let journal = Journal::default();
    let seen = journal.clone();
    let bed = Bed::start(1, |builder| {
        builder
            .on_message(move |_, msg| {
                seen.note(format!("{:?} {:?}", msg.event(), msg.data()));
                Ok(())
            })
            .on_text(|conn, text| {
                conn.send_text(text);
                Err(HandlerError::reply("not this"))
            })
            .on_error(journal.faults())
    });
    let mut client = bed.raw();
    client.send(vec![1_u8]);
    client.send("a");
    assert_eq!(client.text(), "a");
    client.send("b");
    assert_eq!(client.text(), "b");
    let expected = [
        r#""" Some(Binary([1]))"#,
        r#""" Some(Text("a"))"#,
        "text failed: not this",
        r#""" Some(Text("b"))"#,
        "text failed: not this",
    ];
    assert_eq!(journal.lines(), expected);
}

#[test]
fn user_and_metadata_last_as_long_as_the_connection() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| {
            builder
                .on_connect(|conn| {
                    conn.set_metadata("count", 0);
                    conn.set_metadata("tags", json!(["a"]));
                    Ok(())
                })
                .on("login", |conn, msg| conn.set_user(&msg.parse::<String>()?))
                .on("count", |conn, _| {
                    let count = conn.metadata("count").and_then(serde_json::Value::as_u64);
                    conn.set_metadata("count", count.unwrap_or_default() + 1);
                    Ok(())
                })
        });
        let (mut one, mut other) = (bed.client(), bed.client());
        one.say(&json!({"type": "login", "data": "alice"}));
        one.say(&json!({"type": "count"}));
        one.say(&json!({"type": "count"}));
        one.expect_nothing_more();
        other.say(&json!({"type": "login", "data": ""}));
        other.hear_type("error");

        let info = bed.handle.connection(bed.id(&one)).wait().unwrap().unwrap();
        assert_eq!(info.user.as_deref(), Some("alice"));
        assert_eq!(info.metadata["count"], 2);
        assert_eq!(info.metadata["tags"], json!(["a"]));
        let info = bed.handle.connection(bed.id(&other)).wait().unwrap().unwrap();
        assert_eq!(info.user, None);
        assert_eq!(info.metadata["count"], 0);
    });
}

#[test]
fn a_handler_that_closes_is_heard_out_and_hears_nothing_more() {
    let journal = Journal::default();
    let handled = journal.clone();
    let bed = Bed::start(1, |builder| {
        builder.on("quit", move |conn, msg| {
            handled.note(msg.data().map_or(0, |data| data.as_bytes().len()).to_string());
            conn.emit("before", None);
            conn.close(4000, "as you wish");
            Ok(())
        })
    });
    let mut client = bed.client();
    // One write, so that the second is read with the first.
    client.send(r#"{"type":"quit","data":1}"#);
    client.send(r#"{"type":"quit","data":22}"#);
    client.hear_type("before");
    assert_eq!(client.closed(), (4000, "as you wish".to_owned()));
    bed.stop();
    assert_eq!(journal.lines(), ["1"]);
}

#[test]
fn a_handler_sees_its_own_effects_at_once() {
    let bed = Bed::start(1, |builder| {
        builder.on("look", |conn, _| {
            conn.join("b")?;
            conn.join("a")?;
            assert!(conn.is_in("a") && !conn.is_in("c"));
            assert_eq!(conn.members("a"), 1);
            assert_eq!(conn.rooms().iter().map(|room| &**room).collect::<Vec<_>>(), ["b", "a"]);
            assert!(conn.leave("b"));
            assert_eq!(conn.members("b"), 0);
            let info = conn.info();
            assert_eq!((info.id, info.client_id), (conn.id(), conn.client_id()));
            assert_eq!((info.peer, info.dialect), (conn.peer(), conn.dialect()));
            conn.emit("fine", None);
            Ok(())
        })
    });
    let mut client = bed.client();
    client.say(&json!({"type": "look"}));
    client.hear_type("fine");
}

#[test]
fn nothing_is_sent_to_a_connection_behind_its_close_frame() {
    let bed = Bed::start(1, |builder| {
        builder
            .on("write", |conn, msg| {
                let other = ConnId::from_u64(msg.parse()?);
                conn.send_to(other, "late", None);
                conn.emit("written", None);
                Ok(())
            })
            .on("bye", |conn, _| {
                conn.close(1000, "");
                Ok(())
            })
    });
    let (mut other, mut writer) = (bed.client(), bed.client());
    let id = bed.id(&other);
    other.say(&json!({"type": "bye"}));
    wait_until("it is closing", || bed.handle.connection(id).wait().unwrap().is_none());
    writer.say(&json!({"type": "write", "data": id.to_u64()}));
    writer.hear_type("written");
    // It has not read its Close frame, so its connection is still there.
    let mut stream = other.into_stream();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
    assert_eq!(bytes, [0x88, 2, 3, 0xE8], "{}", bytes.escape_ascii());
}
