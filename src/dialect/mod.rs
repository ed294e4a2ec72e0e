//! Wire formats: what a client writes ↔ the vocabulary inside. Pure; knows
//! nothing of frames, connections or rooms' members.
//!
//! ```text
//! Incoming ── parse ──► Parsed           Event ── encode ──► payload bytes
//!               │                                   │
//!             reader   ◄── one table per dialect ──►  writer
//! ```
//!
//! A dialect with a JSON envelope is a table (`table::Envelope`): constants, and hook
//! functions for what constants cannot describe. Reader and writer know no dialect.

mod event;
mod json;
mod members;
mod pubsub;
mod raw;
mod reader;
mod table;
mod values;
mod vocabulary;
mod writer;

#[cfg(test)]
mod tests;

use bytes::BytesMut;

pub use event::{Encoding, Event, Stamp};
pub use members::MAX_DEPTH;
pub use raw::RAW_EVENT;
pub use table::Rules;
pub use values::MAX_ID_BYTES;
pub use vocabulary::{Command, Incoming, MESSAGE_EVENT, Parsed, Payload, Refusal};

use table::{Format, Wire};

/// A wire format: how requests and events are written in messages.
///
/// A connection speaks one dialect for life, chosen at its handshake.
///
/// ```
/// use bytes::BytesMut;
/// use shardcast::dialect::{Command, Dialect, Encoding, Event, Incoming, Stamp};
///
/// let dialect = Dialect::by_name("pubsub").unwrap();
/// let request = Incoming::Text(r#"{"type":"subscribe","room":"chat"}"#);
/// let expected = Command::Subscribe { room: "chat".into(), recover: None };
/// assert_eq!(dialect.parse(request).command, Ok(expected));
///
/// let mut out = BytesMut::new();
/// let event = Event::Subscribed { room: "chat", members: 1, position: None, recovered: None };
/// let at = Stamp { timestamp_ms: 1_700_000_000_000 };
/// assert_eq!(dialect.encode(&event, &at, &mut out), Encoding::Text);
/// assert_eq!(
///     out,
///     r#"{"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":1700000000000}"#,
/// );
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Dialect {
    /// `{type, room, data, client_id, timestamp, error}`: the default.
    ///
    /// Source: the protocol section of the "WebSocket Module Guide".
    #[default]
    Pubsub,
    /// No envelope: text and binary messages go to the text and binary handlers
    /// as they are, and only data is sent.
    Raw,
}

impl Dialect {
    /// All dialects, in the order of their numbers.
    pub const ALL: &[Self] = &[Self::Pubsub, Self::Raw];

    /// How many dialects there are; `dialect as usize` is below this.
    pub const COUNT: usize = Self::ALL.len();

    /// The dialect of that name (case matters), as in the path `/ws/<name>`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dialect| dialect.name() == name)
    }

    /// Its name in paths and settings.
    pub fn name(self) -> &'static str {
        self.format().name
    }

    /// Its name in `Sec-WebSocket-Protocol` (RFC 6455 section 1.9):
    /// `shardcast.` and [`Dialect::name`].
    pub fn subprotocol(self) -> &'static str {
        self.format().subprotocol
    }

    /// What the engine must do differently for connections of this dialect.
    pub fn rules(self) -> &'static Rules {
        &self.format().rules
    }

    /// Reads one message.
    ///
    /// The command borrows from the message. Data of a JSON dialect is the exact
    /// slice of the message, validated but not rewritten. In a JSON dialect a
    /// binary message is read as if it were text.
    ///
    /// What is refused is always the peer's fault; answer with [`Event::Refused`] and
    /// the request's id: [`Refusal::InvalidJson`] if the message is not what the
    /// dialect's grammar allows or is nested deeper than [`MAX_DEPTH`];
    /// [`Refusal::InvalidId`] if its id is none; [`Refusal::RoomRequired`] if a command
    /// that needs a room names none; [`Refusal::InvalidRecover`] if the position to
    /// recover from is none. `raw` accepts every message, and none has an id.
    pub fn parse(self, message: Incoming<'_>) -> Parsed<'_> {
        match &self.format().wire {
            Wire::Envelope(envelope) => reader::parse(envelope, message),
            Wire::Bare => raw::parse(message),
        }
    }

    /// Appends the payload of `event` (no frame header) to `out` and says in
    /// which kind of message to send it. With [`Encoding::Skip`] nothing was
    /// appended.
    ///
    /// JSON dialects always answer [`Encoding::Text`]: [`Payload::Json`] goes in
    /// as it is, [`Payload::Text`] as a JSON string, [`Payload::Binary`] as a
    /// JSON string in base64 (RFC 4648 section 4, padded).
    pub fn encode(self, event: &Event<'_>, at: &Stamp, out: &mut BytesMut) -> Encoding {
        match &self.format().wire {
            Wire::Envelope(envelope) => writer::encode(envelope, event, *at, out),
            Wire::Bare => raw::encode(event, out),
        }
    }

    /// Its error text for `refusal`, as used in a close reason. A dialect without
    /// errors of its own uses those of `pubsub`.
    pub fn error_text<'a>(self, refusal: &Refusal<'a>) -> &'a str {
        let wire = match &self.format().wire {
            Wire::Envelope(envelope) => envelope,
            Wire::Bare => &pubsub::ENVELOPE,
        };
        wire.error_texts.of(refusal)
    }

    fn format(self) -> &'static Format {
        match self {
            Self::Pubsub => &pubsub::FORMAT,
            Self::Raw => &raw::FORMAT,
        }
    }
}
