//! The reader against its contract and against `serde_json::Value`.

use std::borrow::Cow;

use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value};

use super::parse;
use crate::dialect::{Command, Dialect, Incoming, MAX_DEPTH, Payload, RAW_EVENT, Refusal};

fn data_of<'m>(command: &Command<'m>) -> Option<Payload<'m>> {
    match command {
        Command::Publish { data, .. }
        | Command::Broadcast { data }
        | Command::Custom { data, .. } => *data,
        _ => None,
    }
}

#[test]
fn names_are_borrowed_from_the_message() {
    let Ok(Command::Subscribe { room: Cow::Borrowed(room), recover: None }) =
        parse(r#"{"type":"subscribe","room":"chat"}"#)
    else {
        panic!("a borrowed room");
    };
    assert_eq!(room, "chat");
}

#[test]
fn escapes_are_understood_in_keys_and_names() {
    let escaped = r#"{"\u0074ype":"sub\u0073cribe","r\u006fom":"a\"b\ud83d\ude00"}"#;
    assert_eq!(parse(escaped), Ok(Command::Subscribe { room: "a\"b😀".into(), recover: None }));
    assert_eq!(parse(r#"{"type":"subscribe","room":"\ud800"}"#), Err(Refusal::InvalidJson));
}

#[test]
fn data_is_forwarded_byte_for_byte() {
    for data in [
        "{ \"any\" :\t[1 ,2] }",
        "1e400",
        "123456789012345678901234567890.10",
        r#"{"a":1,"a":2}"#,
        r#""\u0041\/\ud800""#,
        "null",
        "\"é😀\u{2028}\"",
        "[]",
    ] {
        let message = format!("\n{{\"type\":\"publish\",\"room\":\"r\",\"data\": {data} }}\r\n ");
        let command = parse(&message).expect(data);
        assert_eq!(data_of(&command), Some(Payload::Json(data)));
    }
}

#[test]
fn absent_data_differs_from_null() {
    assert_eq!(parse(r#"{"type":"broadcast"}"#), Ok(Command::Broadcast { data: None }));
    let data = Some(Payload::Json("null"));
    assert_eq!(parse(r#"{"type":"broadcast","data":null}"#), Ok(Command::Broadcast { data }));
}

#[test]
fn of_equal_keys_the_last_counts() {
    let message = r#"{"type":1,"room":"a","type":"subscribe","room":"b"}"#;
    assert_eq!(parse(message), Ok(Command::Subscribe { room: "b".into(), recover: None }));
}

#[test]
fn a_field_that_a_command_does_not_use_is_not_looked_into() {
    let message = r#"{"type":"ping","room":5,"to":[],"data":{},"else":[{}]}"#;
    assert_eq!(parse(message), Ok(Command::Ping));
}

#[test]
fn a_room_is_required_where_it_is_used() {
    for kind in ["subscribe", "unsubscribe", "publish"] {
        for room in ["", r#","room":null"#, r#","room":"""#] {
            let message = format!(r#"{{"type":"{kind}"{room}}}"#);
            assert_eq!(parse(&message), Err(Refusal::RoomRequired), "{message}");
        }
        let message = format!(r#"{{"type":"{kind}","room":5}}"#);
        assert_eq!(parse(&message), Err(Refusal::InvalidJson));
    }
}

#[test]
fn other_types_are_custom() {
    let message = r#"{"type":"get_user","data":{"email":"a@b"},"room":"r","to":"alice"}"#;
    let expected = Command::Custom {
        event: "get_user".into(),
        data: Some(Payload::Json(r#"{"email":"a@b"}"#)),
        room: Some("r".into()),
        to: Some("alice".into()),
    };
    assert_eq!(parse(message), Ok(expected));
    let nameless = Command::Custom { event: "".into(), data: None, room: None, to: None };
    assert_eq!(parse("{}"), Ok(nameless));
}

#[test]
fn a_numeric_user_is_named_by_its_digits() {
    let Ok(Command::Custom { to, .. }) = parse(r#"{"type":"x","to":123}"#) else {
        panic!("custom");
    };
    assert_eq!(to, Some("123".into()));
    assert_eq!(parse(r#"{"type":"x","to":true}"#), Err(Refusal::InvalidJson));
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for message in [
        "",
        " ",
        "null",
        "[]",
        "\"ping\"",
        "{",
        "{}x",
        "{}{}",
        "\u{feff}{\"type\":\"ping\"}",
        r#"{"type":"ping",}"#,
        r#"{type:"ping"}"#,
        r"{'type':'ping'}",
        r#"{"type":null}"#,
        r#"{"type":1}"#,
        r#"{"type":["ping"]}"#,
        r#"{"type":"ping","data":01}"#,
        r#"{"type":"ping","data":NaN}"#,
        r#"{"type":"ping","x":"\x41"}"#,
        "{\"type\":\"ping\",\"data\":\"a\nb\"}",
        "{\"type\":\"pi\u{0}ng\"}",
    ] {
        assert_eq!(parse(message), Err(Refusal::InvalidJson), "{message:?}");
    }
}

#[test]
fn a_binary_message_is_read_as_text() {
    let message = Incoming::Binary(br#"{"type":"ping"}"#);
    assert_eq!(Dialect::Pubsub.parse(message).command, Ok(Command::Ping));
    let message = Incoming::Binary(b"{\"type\":\"ping\",\"x\":\"\xFF\"}");
    assert_eq!(Dialect::Pubsub.parse(message).command, Err(Refusal::InvalidJson));
}

fn nested(key: &str, levels: usize) -> String {
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    format!(r#"{{"type":"broadcast","{key}":{open}{close}}}"#)
}

#[test]
fn depth_is_limited_as_for_values() {
    for key in ["data", "unknown"] {
        let deepest = nested(key, MAX_DEPTH - 1);
        assert!(parse(&deepest).is_ok());
        assert!(serde_json::from_str::<Value>(&deepest).is_ok());
        let deeper = nested(key, MAX_DEPTH);
        assert_eq!(parse(&deeper), Err(Refusal::InvalidJson));
        assert!(serde_json::from_str::<Value>(&deeper).is_err());
    }
}

#[test]
fn many_brackets_are_not_depth() {
    let siblings = "[],".repeat(1000);
    let in_string = r#"[{\"["#.repeat(1000);
    let message = format!(r#"{{"type":"broadcast","data":[{siblings}"{in_string}"]}}"#);
    assert!(parse(&message).is_ok());
}

#[test]
fn depth_bombs_are_refused() {
    for bomb in [nested("data", 100_000), nested("unknown", 100_000), "[".repeat(100_000)] {
        assert_eq!(parse(&bomb), Err(Refusal::InvalidJson));
    }
    for open in ["[", r#"{"a":"#] {
        let bomb = format!(r#"{{"type":"publish","data":{}"#, open.repeat(100_000));
        assert_eq!(parse(&bomb), Err(Refusal::InvalidJson));
    }
}

#[test]
fn raw_takes_everything_as_it_is() {
    let cases = [
        (Incoming::Text("{"), Payload::Text("{")),
        (Incoming::Text(""), Payload::Text("")),
        (Incoming::Binary(&[0xFF]), Payload::Binary(&[0xFF])),
    ];
    for (message, data) in cases {
        let expected =
            Command::Custom { event: RAW_EVENT.into(), data: Some(data), room: None, to: None };
        assert_eq!(Dialect::Raw.parse(message).command, Ok(expected));
    }
}

/// What `message` means, by way of a `Value`; data stays a value.
fn model(message: &str) -> Result<(Command<'static>, Option<Value>), Refusal<'static>> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(message) else {
        return Err(Refusal::InvalidJson);
    };
    let data = fields.remove("data");
    let event = match fields.remove("type") {
        None => String::new(),
        Some(Value::String(event)) => event,
        Some(_) => return Err(Refusal::InvalidJson),
    };
    let room = |fields: &mut Map<String, Value>| match optional(fields.remove("room"))? {
        Some(room) if !room.is_empty() => Ok(Cow::Owned(room)),
        _ => Err(Refusal::RoomRequired),
    };
    let command = match event.as_str() {
        "subscribe" => Command::Subscribe { room: room(&mut fields)?, recover: None },
        "unsubscribe" => Command::Unsubscribe { room: room(&mut fields)? },
        "publish" => Command::Publish { room: room(&mut fields)?, data: None },
        "broadcast" => Command::Broadcast { data: None },
        "presence" => {
            let room = room(&mut fields)?;
            let mut page = match &data {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(page)) => page.clone(),
                Some(_) => return Err(Refusal::InvalidJson),
            };
            let limit = match page.remove("limit") {
                None | Some(Value::Null) => None,
                Some(limit) => {
                    let limit = limit.as_u64().and_then(|limit| limit.try_into().ok());
                    Some(limit.ok_or(Refusal::InvalidJson)?)
                }
            };
            let after = optional(page.remove("after"))?.map(Cow::Owned);
            Command::Presence { room, limit, after }
        }
        "ping" => Command::Ping,
        _ => {
            let room = optional(fields.remove("room"))?.map(Cow::Owned);
            let to = match fields.remove("to") {
                Some(Value::Number(number)) => Some(number.to_string().into()),
                to => optional(to)?.map(Cow::Owned),
            };
            Command::Custom { event: event.into(), data: None, room, to }
        }
    };
    Ok((command, data))
}

fn optional(value: Option<Value>) -> Result<Option<String>, Refusal<'static>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::InvalidJson),
    }
}

fn assert_agrees_with_model(message: &str) {
    let read = parse(message).map(|mut command| {
        let data = match &mut command {
            Command::Publish { data, .. }
            | Command::Broadcast { data }
            | Command::Custom { data, .. } => data.take(),
            _ => None,
        };
        (command, data)
    });
    match (read, model(message)) {
        (Ok((command, data)), Ok((expected, expected_data))) => {
            assert_eq!(command, expected, "{message}");
            if !matches!(
                command,
                Command::Subscribe { .. }
                    | Command::Unsubscribe { .. }
                    | Command::Presence { .. }
                    | Command::Ping
            ) {
                let data = data.map(|data| serde_json::from_slice(data.as_bytes()).unwrap());
                assert_eq!(data, expected_data, "{message}");
            }
        }
        (read, expected) => assert_eq!(read.err(), expected.err(), "{message}"),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,4}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An object as text, with known and unknown, plain and escaped, equal keys.
fn envelope() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["type", "\\u0074ype", "room", "data", "to", "x", "Type"]);
    let word = prop::sample::select(vec![
        "subscribe",
        "unsubscribe",
        "publish",
        "broadcast",
        "presence",
        "ping",
        "chat",
        "",
    ]);
    let member = prop_oneof![
        word.clone().prop_map(|word| format!(r#""type":"{word}""#)),
        word.prop_map(|word| format!(r#""room" : "{word}""#)),
        (key, value()).prop_map(|(key, value)| format!("\"{key}\":{value}")),
    ];
    vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
}

proptest! {
    #[test]
    fn envelopes_mean_what_their_values_mean(message in envelope()) {
        assert_agrees_with_model(&message);
    }

    #[test]
    fn damaged_envelopes_are_judged_as_by_values(
        message in envelope(),
        at in any::<prop::sample::Index>(),
        patch in prop::sample::select(vec!["", "\"", "{", "}", "[", "]", ",", ":", "\\", " ", "\u{1}"]),
        removed in 0..2usize,
    ) {
        let mut letters: Vec<char> = message.chars().collect();
        let start = at.index(letters.len());
        letters.splice(start..start + removed, patch.chars());
        assert_agrees_with_model(&letters.into_iter().collect::<String>());
    }

    #[test]
    fn no_bytes_are_too_strange_to_judge(bytes in vec(any::<u8>(), 0..64)) {
        for dialect in Dialect::ALL {
            let _ = dialect.parse(Incoming::Binary(&bytes));
        }
    }
}
