//! Any message in any dialect: understood or refused, never a panic; and what is
//! understood can be told again, as valid JSON with the very same data.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde_json::value::RawValue;
use shardcast::dialect::{Command, Dialect, Encoding, Event, Incoming, Payload, Stamp};

/// Judges `data` as a binary message and, if it is UTF-8, as a text message.
///
/// # Panics
/// If a dialect does not keep to its contract.
pub(crate) fn run(data: &[u8]) {
    for &reader in Dialect::ALL {
        let binary = reader.parse(Incoming::Binary(data));
        acknowledge(binary.id);
        if let Ok(command) = &binary.command {
            retell(command);
        }
        let Ok(text) = std::str::from_utf8(data) else {
            continue;
        };
        let text = reader.parse(Incoming::Text(text));
        if let Ok(command) = &text.command {
            retell(command);
        }
        if reader != Dialect::Raw {
            assert_eq!(text, binary, "JSON means the same in both kinds of message");
        }
    }
}

/// Tells that the request `id` was accepted: what was taken as an id is a JSON value
/// that an answer can repeat.
fn acknowledge(id: Option<&str>) {
    let Some(id) = id else { return };
    let ack = Event::Ack {
        id,
        position: None,
        repeated: false,
    };
    let mut out = BytesMut::new();
    Dialect::Pubsub.encode(&ack, &Stamp { timestamp_ms: 1 }, &mut out);
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(&out).expect("an acknowledgement is a JSON object");
    assert_eq!(fields["id"].get(), id);
}

/// Tells what `command` carries in each dialect.
fn retell(command: &Command<'_>) {
    let (event, room, data) = match command {
        Command::Publish { room, data } => ("message", Some(room), *data),
        Command::Broadcast { data } => ("message", None, *data),
        Command::Custom {
            event, data, room, ..
        } => (event.as_ref(), room.as_ref(), *data),
        Command::Subscribe { room, .. }
        | Command::Unsubscribe { room }
        | Command::Presence { room, .. } => {
            assert!(!room.is_empty());
            ("message", Some(room), None)
        }
        Command::Ping => return,
    };
    let room = room.map(AsRef::as_ref);
    let told = Event::Message {
        event,
        room,
        data,
        from: None,
        user: None,
        offset: None,
    };
    for &writer in Dialect::ALL {
        let mut out = BytesMut::new();
        let encoding = writer.encode(&told, &Stamp { timestamp_ms: 1 }, &mut out);
        match writer {
            Dialect::Raw => check_bare(encoding, &out, data),
            Dialect::Pubsub => check_envelope(encoding, &out, room, data),
        }
    }
}

fn check_bare(encoding: Encoding, out: &[u8], data: Option<Payload<'_>>) {
    let expected = match data {
        None => Encoding::Skip,
        Some(Payload::Json(_) | Payload::Text(_)) => Encoding::Text,
        Some(Payload::Binary(_)) => Encoding::Binary,
    };
    assert_eq!(encoding, expected);
    assert_eq!(out, data.map_or(&[][..], |data| data.as_bytes()));
}

fn check_envelope(encoding: Encoding, out: &[u8], room: Option<&str>, data: Option<Payload<'_>>) {
    assert_eq!(encoding, Encoding::Text);
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(out).expect("an encoded event is a JSON object");
    let told_room = fields.get("room").map(|room| string(room));
    assert_eq!(told_room.as_deref(), room);
    let told = fields.get("data");
    match data {
        None => assert!(told.is_none()),
        Some(Payload::Json(json)) => assert_eq!(told.expect("data").get(), json),
        Some(Payload::Text(text)) => assert_eq!(string(told.expect("data")), text),
        Some(Payload::Binary(bytes)) => {
            let base64 = string(told.expect("data"));
            assert_eq!(base64.len(), bytes.len().div_ceil(3) * 4);
        }
    }
}

fn string(json: &RawValue) -> String {
    serde_json::from_str(json.get()).expect("a JSON string")
}
