//! The dialect `raw`: no envelope. Every message is data for one handler, and
//! only data is ever sent. Knows no JSON.

use std::borrow::Cow;

use bytes::BytesMut;

use super::{
    Command, Encoding, Event, Incoming, Parsed, Payload, Rules,
    table::{Format, Wire},
};
use crate::copy::append;

/// The event name under which handlers receive the messages of `raw`, which name
/// no event: the empty one. A JSON message without a name has the same.
pub const RAW_EVENT: &str = "";

pub(super) const FORMAT: Format = Format {
    name: "raw",
    subprotocol: "shardcast.raw",
    rules: Rules {
        greets: false,
        publish_needs_membership: false,
        unsubscribe_needs_membership: false,
    },
    wire: Wire::Bare,
};

/// The message as data of [`RAW_EVENT`], in the form in which it came.
pub(super) fn parse(message: Incoming<'_>) -> Parsed<'_> {
    let data = match message {
        Incoming::Text(text) => Payload::Text(text),
        Incoming::Binary(bytes) => Payload::Binary(bytes),
    };
    let event = Cow::Borrowed(RAW_EVENT);
    let command = Command::Custom { event, data: Some(data), room: None, to: None };
    Parsed { command: Ok(command), id: None }
}

/// The data of a message that has any; nothing else is sent.
pub(super) fn encode(event: &Event<'_>, out: &mut BytesMut) -> Encoding {
    let Event::Message { data: Some(data), .. } = event else {
        return Encoding::Skip;
    };
    append(out, data.as_bytes());
    match data {
        Payload::Json(_) | Payload::Text(_) => Encoding::Text,
        Payload::Binary(_) => Encoding::Binary,
    }
}
