//! What clients ask that concerns the other nodes: ids, positions to recover from,
//! presence. Against hostile spellings.

use proptest::prelude::*;
use serde_json::Value;

use super::{parse, written};
use crate::{
    dialect::{Command, Dialect, Event, Incoming, MAX_ID_BYTES, Parsed, Refusal},
    publication::Position,
};

const POSITION: Position = Position { epoch: 0x0123_4567_89AB_CDEF, offset: 7 };

fn read(text: &str) -> Parsed<'_> {
    Dialect::Pubsub.parse(Incoming::Text(text))
}

fn subscribe(recover: &str) -> String {
    format!(r#"{{"type":"subscribe","room":"r","recover":{recover}}}"#)
}

#[test]
fn a_position_is_read_in_each_spelling_that_json_has_for_it() {
    for recover in [
        r#"{"epoch":"0123456789abcdef","offset":7}"#,
        r#" { "offset" : 7 , "epoch" : "0123456789abcdef" } "#,
        r#"{"\u0065poch":"\u003012345678\u0039abcdef","offset":7,"more":[{}]}"#,
        r#"{"epoch":5,"offset":"x","epoch":"0123456789abcdef","offset":7}"#,
    ] {
        let expected = Command::Subscribe { room: "r".into(), recover: Some(POSITION) };
        assert_eq!(parse(&subscribe(recover)), Ok(expected), "{recover}");
    }
    for (digits, offset) in [("0", 0), ("18446744073709551615", u64::MAX)] {
        let message = subscribe(&format!(r#"{{"epoch":"ffffffffffffffff","offset":{digits}}}"#));
        let recover = Some(Position { epoch: u64::MAX, offset });
        assert_eq!(parse(&message), Ok(Command::Subscribe { room: "r".into(), recover }));
    }
}

#[test]
fn null_recovers_nothing_and_of_equal_keys_the_last_counts() {
    let none = Ok(Command::Subscribe { room: "r".into(), recover: None });
    assert_eq!(parse(&subscribe("null")), none);
    assert_eq!(parse(&subscribe(r#"5,"recover":null"#)), none);
    assert_eq!(parse(&subscribe(r#"null,"recover":5"#)), Err(Refusal::InvalidRecover));
}

#[test]
fn a_position_that_is_none_is_refused() {
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let epoch = r#""epoch":"0123456789abcdef""#;
    let mut wrong: Vec<String> = [
        "true",
        "5",
        r#""0123456789abcdef""#,
        "[]",
        "{}",
        r#"{"offset":7}"#,
        r#"{"epoch":null,"offset":7}"#,
        r#"{"epoch":81985529216486895,"offset":7}"#,
        r#"{"epoch":"","offset":7}"#,
        r#"{"epoch":"0123456789abcde","offset":7}"#,
        r#"{"epoch":"0123456789abcdef0","offset":7}"#,
        r#"{"epoch":"0123456789ABCDEF","offset":7}"#,
        r#"{"epoch":"+123456789abcdef","offset":7}"#,
        r#"{"epoch":"éééééééé","offset":7}"#,
        r#"{"epoch":"0123456789\ud800","offset":7}"#,
        r#"{"Epoch":"0123456789abcdef","offset":7}"#,
    ]
    .map(str::to_owned)
    .into();
    wrong.push(format!("{{{epoch}}}"));
    for offset in [
        "null",
        "\"7\"",
        "-1",
        "-0",
        "7.0",
        "7e0",
        "1e400",
        "18446744073709551616",
        "[7]",
        &deep,
        "true",
        "{}",
        "7,\"offset\":-7",
        &"9".repeat(10_000),
    ] {
        wrong.push(format!(r#"{{{epoch},"offset":{offset}}}"#));
    }
    for recover in wrong {
        let message = subscribe(&recover).replacen('{', r#"{"id":3,"#, 1);
        let refused = Parsed { command: Err(Refusal::InvalidRecover), id: Some("3") };
        assert_eq!(read(&message), refused, "{recover}");
        // Nobody but a subscription looks into it.
        let message = message.replace("subscribe", "unsubscribe");
        assert_eq!(parse(&message), Ok(Command::Unsubscribe { room: "r".into() }));
    }
}

#[test]
fn depth_bombs_in_the_new_fields_are_refused() {
    for key in ["id", "recover"] {
        for (open, close) in [("[", "]"), (r#"{"offset":"#, "}")] {
            let (open, close) = (open.repeat(100_000), close.repeat(100_000));
            for value in [format!("{open}7{close}"), open.clone()] {
                let message = format!(r#"{{"type":"subscribe","room":"r","{key}":{value}}}"#);
                let refused = Parsed { command: Err(Refusal::InvalidJson), id: None };
                assert_eq!(read(&message), refused);
            }
        }
    }
}

#[test]
fn an_id_is_kept_as_it_is_written() {
    let longest = format!("\"{}\"", "x".repeat(MAX_ID_BYTES));
    let digits = "9".repeat(MAX_ID_BYTES);
    for id in [
        "0",
        "-0",
        "17",
        "1.50",
        "1e400",
        "123456789012345678901234567890",
        r#""""#,
        r#""a""#,
        r#""\u0061\n\"\\""#,
        r#""\ud83d\ude00""#,
        "\"é😀\u{2028}\"",
        &longest,
        &digits,
    ] {
        let message = format!("{{\"id\" :\n{id}\t,\"type\":\"ping\"}}");
        assert_eq!(read(&message), Parsed { command: Ok(Command::Ping), id: Some(id) });
        let message = format!(r#"{{"id":[],"type":"nothing","\u0069d":{id}}}"#);
        assert_eq!(read(&message).id, Some(id));
    }
    assert_eq!(read(r#"{"type":"ping"}"#).id, None);
}

#[test]
fn what_is_no_id_is_refused_whatever_is_asked() {
    let too_long = format!("\"{}\"", "x".repeat(MAX_ID_BYTES + 1));
    let too_many_escapes = format!("\"{}\"", "\\u0061".repeat(MAX_ID_BYTES / 6 + 1));
    let too_many_digits = "9".repeat(MAX_ID_BYTES + 1);
    for id in [
        "null",
        "true",
        "false",
        "[]",
        "[1]",
        "{}",
        r#"{"id":1}"#,
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        &too_long,
        &too_many_escapes,
        &too_many_digits,
    ] {
        for kind in ["ping", "subscribe", "publish", "get_user", ""] {
            let message = format!(r#"{{"type":"{kind}","id":1,"id":{id}}}"#);
            let refused = Parsed { command: Err(Refusal::InvalidId), id: None };
            assert_eq!(read(&message), refused, "{message}");
        }
    }
}

#[test]
fn a_refusal_has_the_id_of_its_request() {
    for message in [r#"{"id":"a","type":"publish"}"#, r#"{"type":"presence","id":"a"}"#] {
        let refused = Parsed { command: Err(Refusal::RoomRequired), id: Some("\"a\"") };
        assert_eq!(read(message), refused);
    }
}

#[test]
fn presence_is_asked_for_in_pages() {
    let asked = |data: &str| {
        let message = format!(r#"{{"type":"presence","room":"r"{data}}}"#);
        parse(&message).map(|command| match command {
            Command::Presence { room, limit, after } => {
                assert_eq!(room, "r");
                (limit, after.map(std::borrow::Cow::into_owned))
            }
            other => panic!("{other:?}"),
        })
    };
    for whole in ["", r#","data":null"#, r#","data":{}"#, r#","data":{"limit":null,"after":null}"#]
    {
        assert_eq!(asked(whole), Ok((None, None)), "{whole}");
    }
    let page = r#","data":{"limit":4294967295,"after":"al\u0069ce","else":0}"#;
    assert_eq!(asked(page), Ok((Some(u32::MAX), Some("alice".to_owned()))));
    for wrong in [
        "[]",
        "5",
        r#""x""#,
        r#"{"limit":-1}"#,
        r#"{"limit":1.5}"#,
        r#"{"limit":"1"}"#,
        r#"{"limit":4294967296}"#,
        r#"{"limit":[]}"#,
        r#"{"after":1}"#,
        r#"{"after":{}}"#,
        r#"{"after":"\udfff"}"#,
    ] {
        assert_eq!(asked(&format!(r#","data":{wrong}"#)), Err(Refusal::InvalidJson), "{wrong}");
    }
}

/// A message as clients without the new fields write it.
fn plain() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["subscribe", "unsubscribe", "publish", "broadcast", "x"]);
    (kind, ".{0,8}", ".{0,8}").prop_map(|(kind, room, data)| {
        serde_json::json!({ "type": kind, "room": room, "data": data }).to_string()
    })
}

proptest! {
    #[test]
    fn an_id_changes_nothing_of_what_a_message_asks(message in plain(), id: i64, name in ".{0,20}") {
        let before = read(&message);
        prop_assert_eq!(before.id, None);
        for id in [id.to_string(), serde_json::to_string(&name).unwrap()] {
            let with_id = message.replacen('{', &format!(r#"{{"id":{id},"#), 1);
            let after = read(&with_id);
            prop_assert_eq!(after.id, Some(id.as_str()));
            prop_assert_eq!(&after.command, &before.command);
        }
    }

    #[test]
    fn what_is_acknowledged_is_read_back_as_the_same_id(text in "\\PC{0,40}", epoch: u64, offset: u64) {
        let id = serde_json::to_string(&text).unwrap();
        let position = Some(Position { epoch, offset });
        let ack = written(&Event::Ack { id: &id, position, repeated: false });
        let ack: Value = serde_json::from_str(&ack).unwrap();
        prop_assert_eq!(&ack["id"], &text);
        // What a client is told is what it may ask with.
        let recover = format!(r#"{{"epoch":{},"offset":{}}}"#, ack["epoch"], ack["offset"]);
        let expected = Command::Subscribe { room: "r".into(), recover: position };
        let message = subscribe(&recover);
        prop_assert_eq!(parse(&message), Ok(expected));
    }
}
