//! The `pubsub` dialect as a client speaks it: JSON envelopes
//! `{type, room, data, client_id, timestamp, error}`. Pure.

use super::frame;
use crate::stamp::Stamp;
use serde::Deserialize;
use std::borrow::Cow;

/// The name of room number `index`.
pub(crate) fn room_name(index: usize) -> String {
    format!("load-{index}")
}

/// Appends the frame that subscribes to a room.
pub(crate) fn append_subscribe(room: usize, out: &mut Vec<u8>) {
    let text = format!(r#"{{"type":"subscribe","room":"{}"}}"#, room_name(room));
    frame::append(frame::TEXT, text.as_bytes(), out);
}

/// Appends the frame that leaves a room.
pub(crate) fn append_unsubscribe(room: usize, out: &mut Vec<u8>) {
    let text = format!(r#"{{"type":"unsubscribe","room":"{}"}}"#, room_name(room));
    frame::append(frame::TEXT, text.as_bytes(), out);
}

/// Appends the frame that publishes `stamp`, as a string of `size` bytes.
pub(crate) fn append_publish(room: usize, stamp: Stamp, size: usize, out: &mut Vec<u8>) {
    append_publish_with_id(room, stamp, size, None, out);
}

/// As [`append_publish`], and asks for an acknowledgement if there is an `id`.
pub(crate) fn append_publish_with_id(
    room: usize,
    stamp: Stamp,
    size: usize,
    id: Option<u32>,
    out: &mut Vec<u8>,
) {
    let id = id.map_or(String::new(), |id| format!(r#","id":{id}"#));
    let room = room_name(room);
    let mut text = format!(r#"{{"type":"publish"{id},"room":"{room}","data":""#).into_bytes();
    stamp.append(size, &mut text);
    text.extend_from_slice(b"\"}");
    frame::append(frame::TEXT, &text, out);
}

/// Appends the frame that publishes a single digit.
pub(crate) fn append_brief(room: usize, out: &mut Vec<u8>) {
    let text = format!(r#"{{"type":"publish","room":"{}","data":1}}"#, room_name(room));
    frame::append(frame::TEXT, text.as_bytes(), out);
}

/// Appends the frame that sends a string of `size` bytes to everyone.
pub(crate) fn append_broadcast(size: usize, out: &mut Vec<u8>) {
    let text = format!(r#"{{"type":"broadcast","data":"{}"}}"#, "b".repeat(size));
    frame::append(frame::TEXT, text.as_bytes(), out);
}

/// What the server says, as far as a scenario needs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The greeting, with the shard that the connection is on, if its client
    /// id tells.
    Connected(Option<u8>),
    /// The answer to a subscription.
    Subscribed,
    /// The answer to the end of one.
    Unsubscribed,
    /// A publication or broadcast.
    Message,
    /// An error, in the server's words.
    Error(String),
    /// Anything else.
    Other(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Greeting<'a> {
    #[serde(borrow)]
    client_id: Cow<'a, str>,
}

/// Reads an envelope of any kind.
pub(crate) fn read(payload: &[u8]) -> Said {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(payload) else {
        return Said::Other(String::from_utf8_lossy(payload).chars().take(200).collect());
    };
    match &*envelope.kind {
        "connected" => {
            let data = envelope.data.map_or("", |data| data.get());
            let greeting = serde_json::from_str::<Greeting<'_>>(data);
            Said::Connected(greeting.ok().and_then(|it| shard_of(&it.client_id)))
        }
        "subscribed" => Said::Subscribed,
        "unsubscribed" => Said::Unsubscribed,
        "message" => Said::Message,
        "error" => Said::Error(envelope.error.unwrap_or_default().into_owned()),
        other => Said::Other(other.to_owned()),
    }
}

/// How many messages a gap has, if the server knows.
pub(crate) fn missed(payload: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Gap {
        missed: Option<u64>,
    }
    let envelope = serde_json::from_slice::<Envelope<'_>>(payload).ok()?;
    serde_json::from_str::<Gap>(envelope.data?.get()).ok()?.missed
}

/// Where a room's history stands for who has just subscribed.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Place {
    pub(crate) epoch: String,
    /// Of the room's last publication.
    pub(crate) offset: u64,
    /// Whether all that was missed follows, if that was asked for.
    pub(crate) recovered: Option<bool>,
}

/// The place in the answer to a subscription; `None` if the room has no history.
pub(crate) fn place(payload: &[u8]) -> Option<Place> {
    let envelope = serde_json::from_slice::<Envelope<'_>>(payload).ok()?;
    serde_json::from_str(envelope.data?.get()).ok()
}

/// The offset of a message in its room's history, which stands behind the data.
pub(crate) fn offset(payload: &[u8]) -> Option<u64> {
    const NAME: &[u8] = br#""offset":"#;
    let at = payload.windows(NAME.len()).rposition(|bytes| bytes == NAME)?;
    let digits = payload[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Appends the frame that subscribes to a room, and asks for what was published since
/// a place in its history.
pub(crate) fn append_recover(room: usize, epoch: &str, offset: u64, out: &mut Vec<u8>) {
    let room = room_name(room);
    let recover = format!(r#"{{"epoch":"{epoch}","offset":{offset}}}"#);
    let text = format!(r#"{{"type":"subscribe","room":"{room}","recover":{recover}}}"#);
    frame::append(frame::TEXT, text.as_bytes(), out);
}

/// Whether this is a message, at the cost of a comparison for the usual form.
pub(crate) fn is_message(payload: &[u8]) -> bool {
    payload.starts_with(br#"{"type":"message","#) || read(payload) == Said::Message
}

/// Reads the stamps of publications, fast for the field order in which the
/// dialect is documented, correctly for any other.
#[derive(Debug)]
pub(crate) struct StampReader {
    first: usize,
    heads: Vec<Vec<u8>>,
}

impl StampReader {
    /// A reader for `rooms` rooms from number `first` on.
    pub(crate) fn new(first: usize, rooms: usize) -> Self {
        let head = |room| {
            let name = room_name(room);
            format!(r#"{{"type":"message","room":"{name}","data":""#).into_bytes()
        };
        Self { first, heads: (first..first + rooms).map(head).collect() }
    }

    /// The number of the first room.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// The stamp of a publication to `room`, or what came instead.
    pub(crate) fn stamp(&self, room: usize, payload: &[u8]) -> Result<Stamp, String> {
        let quick = payload.strip_prefix(self.heads[room - self.first].as_slice());
        match quick.and_then(Stamp::read) {
            Some(stamp) => Ok(stamp),
            None => stamp_in_any_order(room, payload),
        }
    }
}

fn stamp_in_any_order(room: usize, payload: &[u8]) -> Result<Stamp, String> {
    if let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(payload)
        && envelope.kind == "message"
        && envelope.room.as_deref() == Some(&*room_name(room))
        && let Some(data) = envelope.data
        && let Some(stamp) = data.get().strip_prefix('"')
        && let Some(stamp) = Stamp::read(stamp.as_bytes())
    {
        return Ok(stamp);
    }
    Err(match read(payload) {
        Said::Error(error) => format!("the server says: {error}"),
        Said::Message => format!("not a publication to {}", room_name(room)),
        other => format!("unexpected: {other:?}"),
    })
}

/// The shard in a client id: a version 8 UUID whose low 62 bits, with the two
/// below its version's group in front, are the server's identity of the
/// connection; the shard is that identity's top byte.
fn shard_of(client_id: &str) -> Option<u8> {
    let digits: String = client_id.split('-').collect();
    let id = u128::from_str_radix(&digits, 16).ok()?;
    let version = id >> 76 & 0xF;
    let top = (id >> 64 & 3) << 62;
    let rest = id & ((1 << 62) - 1);
    (digits.len() == 32 && version == 8).then_some(((top | rest) >> 56) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_whatever_the_order_of_fields() {
        let stamp = Stamp { publisher: 3, sequence: 77, due_ns: 123_456 };
        let mut data = Vec::new();
        stamp.append(40, &mut data);
        let data = String::from_utf8(data).unwrap();
        let reader = StampReader::new(6, 2);
        for text in [
            format!(r#"{{"type":"message","room":"load-7","data":"{data}","timestamp":1}}"#),
            format!(r#"{{"timestamp":1,"data":"{data}","room":"load-7","type":"message"}}"#),
        ] {
            assert_eq!(reader.stamp(7, text.as_bytes()), Ok(stamp));
            assert!(reader.stamp(6, text.as_bytes()).is_err(), "another room's");
        }
    }

    #[test]
    fn places_in_a_history_are_read() {
        let text = br#"{"type":"subscribed","room":"load-1","data":{"room":"load-1","client_count":2,"epoch":"0123456789abcdef","offset":7,"recovered":true},"timestamp":1}"#;
        let epoch = "0123456789abcdef".to_owned();
        assert_eq!(place(text), Some(Place { epoch, offset: 7, recovered: Some(true) }));
        assert_eq!(place(br#"{"type":"subscribed","room":"r","data":{"room":"r"}}"#), None);
        let text = br#"{"type":"message","room":"load-1","data":"x","offset":18,"timestamp":1}"#;
        assert_eq!(offset(text), Some(18));
        assert_eq!(offset(br#"{"type":"message","room":"load-1","data":"x"}"#), None);
        assert_eq!(missed(br#"{"type":"gap","room":"r","data":{"missed":3}}"#), Some(3));
        assert_eq!(missed(br#"{"type":"gap","room":"r","data":{"missed":null}}"#), None);
    }

    #[test]
    fn an_error_is_passed_on_in_the_servers_words() {
        let text = br#"{"type":"error","error":"room is at maximum capacity","timestamp":1}"#;
        let error = StampReader::new(0, 1).stamp(0, text).unwrap_err();
        assert!(error.contains("room is at maximum capacity"), "{error}");
    }

    #[test]
    fn the_greeting_tells_the_shard() {
        // Connection identity 0x8100_0011_0000_0001: shard 0x81.
        let text = br#"{"type":"connected","data":{"client_id":"00000000-1234-8002-8100-001100000001","message":"x"},"timestamp":1}"#;
        assert_eq!(read(text), Said::Connected(Some(0x81)));
        let foreign =
            br#"{"type":"connected","data":{"client_id":"00000000-1234-4002-8100-001100000001"}}"#;
        assert_eq!(read(foreign), Said::Connected(None));
    }
}
