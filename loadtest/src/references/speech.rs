//! As much of the `pubsub` dialect as the scenarios speak, server side. Pure.
//! Data is passed on byte for byte, as JSON that was validated once.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a server says first.
pub(super) const GREETING: &str = r#"{"type":"connected","data":{"client_id":"00000000-0000-4000-8000-000000000000","message":"Connected to WebSocket server"},"timestamp":1700000000000}"#;

/// What tells the sender of a message: everyone has the same identity here, as
/// long as that of others.
const SENDER: &str = r#""client_id":"00000000-0000-4000-8000-000000000000""#;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish<'a> {
    /// To be a member of a room.
    Subscribe(Cow<'a, str>),
    /// To be one no longer.
    Unsubscribe(Cow<'a, str>),
    /// To send data to a room.
    Publish(Cow<'a, str>, &'a str),
    /// To send data to everyone.
    Broadcast(&'a str),
    /// Something that is not understood here.
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads a client's message.
pub(super) fn read(text: &[u8]) -> Wish<'_> {
    let Ok(Envelope { kind, room, data }) = serde_json::from_slice(text) else {
        return Wish::Other;
    };
    match (&*kind, room, data) {
        ("publish", Some(room), Some(data)) => Wish::Publish(room, data.get()),
        ("broadcast", _, Some(data)) => Wish::Broadcast(data.get()),
        ("subscribe", Some(room), _) => Wish::Subscribe(room),
        ("unsubscribe", Some(room), _) => Wish::Unsubscribe(room),
        _ => Wish::Other,
    }
}

/// The answer to a subscription.
pub(super) fn subscribed(room: &str) -> String {
    format!(r#"{{"type":"subscribed","room":"{room}","timestamp":{}}}"#, now_ms())
}

/// The answer to the end of one.
pub(super) fn unsubscribed(room: &str) -> String {
    format!(r#"{{"type":"unsubscribed","room":"{room}","timestamp":{}}}"#, now_ms())
}

/// What the members of `room`, or everyone, are told.
pub(super) fn message(room: Option<&str>, data: &str) -> String {
    let room = room.map_or(String::new(), |room| format!(r#""room":"{room}","#));
    let now_ms = now_ms();
    format!(r#"{{"type":"message",{room}"data":{data},{SENDER},"timestamp":{now_ms}}}"#)
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::pubsub::{self, Said};

    #[test]
    fn wishes_are_read_and_data_is_left_as_it_is() {
        let text = br#"{"type":"publish","room":"a","data":{"x": 1.50}}"#;
        assert_eq!(read(text), Wish::Publish("a".into(), r#"{"x": 1.50}"#));
        assert_eq!(read(br#"{"type":"broadcast","data":"b"}"#), Wish::Broadcast("\"b\""));
        assert_eq!(read(br#"{"room":"a","type":"subscribe"}"#), Wish::Subscribe("a".into()));
        assert_eq!(read(br#"{"type":"publish"}"#), Wish::Other);
        assert_eq!(read(b"{"), Wish::Other);
    }

    #[test]
    fn the_client_understands_what_is_said() {
        assert!(matches!(pubsub::read(GREETING.as_bytes()), Said::Connected(None)));
        assert_eq!(pubsub::read(subscribed("a").as_bytes()), Said::Subscribed);
        assert_eq!(pubsub::read(unsubscribed("a").as_bytes()), Said::Unsubscribed);
        assert!(pubsub::is_message(message(Some("a"), "1").as_bytes()));
        assert!(pubsub::is_message(message(None, "1").as_bytes()));
    }
}
