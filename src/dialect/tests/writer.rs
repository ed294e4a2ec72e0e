//! The writer: what `serde_json` reads back is what was sent.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;

use super::{AT, client, written};
use crate::dialect::{Dialect, Encoding, Event, Payload, Refusal, Stamp, json};

fn message<'a>(room: Option<&'a str>, data: Option<Payload<'a>>) -> Event<'a> {
    Event::Message { event: "message", room, data, from: None, user: None, offset: None }
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

#[test]
fn what_an_event_does_not_have_is_left_out() {
    assert_eq!(written(&message(None, None)), r#"{"type":"message","timestamp":1234567890123}"#);
    assert_eq!(
        written(&message(None, Some(Payload::Json("[ ]")))),
        r#"{"type":"message","data":[ ],"timestamp":1234567890123}"#,
    );
    let event = Event::Message {
        event: "room_update",
        room: Some("r"),
        data: None,
        from: Some(client()),
        user: Some("alice"),
        offset: None,
    };
    let expected = format!(
        r#"{{"type":"room_update","room":"r","client_id":"{}","timestamp":1234567890123}}"#,
        client(),
    );
    assert_eq!(written(&event), expected);
}

#[test]
fn a_message_without_a_name_is_a_message() {
    let event =
        Event::Message { event: "", room: None, data: None, from: None, user: None, offset: None };
    assert_eq!(written(&event), written(&message(None, None)));
}

#[test]
fn encoding_only_appends() {
    let mut out = BytesMut::from("before");
    Dialect::Pubsub.encode(&Event::Pong, &AT, &mut out);
    assert_eq!(out, r#"before{"type":"pong","timestamp":1234567890123}"#);
}

#[test]
fn bytes_become_base64() {
    // The vectors of RFC 4648 section 10, and the last two letters.
    for (bytes, text) in [
        (&b""[..], ""),
        (b"f", "Zg=="),
        (b"fo", "Zm8="),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg=="),
        (b"fooba", "Zm9vYmE="),
        (b"foobar", "Zm9vYmFy"),
        (b"\xFB\xFF", "+/8="),
    ] {
        let event = written(&message(None, Some(Payload::Binary(bytes))));
        assert_eq!(read(&event)["data"], text);
    }
}

#[test]
fn integers_have_all_their_digits() {
    for value in [0, 9, 10, 1_000_000, u64::MAX] {
        let mut out = BytesMut::new();
        json::put_integer(value, &mut out);
        assert_eq!(out, value.to_string());
    }
}

#[test]
fn raw_tells_data_and_nothing_else() {
    let mut out = BytesMut::from("before");
    for event in [
        Event::Connected { client_id: client() },
        Event::Subscribed { room: "r", members: 1, position: None, recovered: None },
        Event::Unsubscribed { room: "r" },
        Event::Refused { refusal: Refusal::UnknownType, id: None },
        Event::Pong,
        message(Some("r"), None),
    ] {
        assert_eq!(Dialect::Raw.encode(&event, &AT, &mut out), Encoding::Skip);
    }
    assert_eq!(out, "before");
    for (data, encoding) in [
        (Payload::Json("{}"), Encoding::Text),
        (Payload::Text("a\"b"), Encoding::Text),
        (Payload::Binary(&[0xFF, 0]), Encoding::Binary),
    ] {
        let mut out = BytesMut::new();
        let event = message(Some("r"), Some(data));
        assert_eq!(Dialect::Raw.encode(&event, &AT, &mut out), encoding);
        assert_eq!(out, data.as_bytes());
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ -~]{0,40}", "[\\x00-\\x1F\"\\\\/a\\x7Fé😀]{0,40}"]
}

proptest! {
    #[test]
    fn strings_survive(text in any_text(), timestamp_ms: u64, members: usize) {
        let at = Stamp { timestamp_ms };
        let mut out = BytesMut::new();
        let subscribed = Event::Subscribed { room: &text, members, position: None, recovered: None };
        Dialect::Pubsub.encode(&subscribed, &at, &mut out);
        let value = read(std::str::from_utf8(&out).unwrap());
        prop_assert_eq!(&value["room"], &text);
        prop_assert_eq!(&value["data"]["room"], &text);
        prop_assert_eq!(&value["data"]["client_count"], members);
        prop_assert_eq!(&value["timestamp"], timestamp_ms);

        let value = read(&written(&message(Some(&text), Some(Payload::Text(&text)))));
        prop_assert_eq!(&value["data"], &text);
        let value = read(&written(&Event::Refused { refusal: Refusal::Other(&text), id: None }));
        prop_assert_eq!(&value["error"], &text);
    }

    #[test]
    fn strings_are_escaped_as_by_serde_json(text in any_text()) {
        let mut out = BytesMut::new();
        json::put_string(&text, &mut out);
        prop_assert_eq!(out, serde_json::to_string(&text).unwrap());
    }
}
