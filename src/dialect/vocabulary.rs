//! What a client can ask for, and what can be wrong with it, in no wire format. Each
//! dialect translates its own JSON to this.

use std::borrow::Cow;

use crate::publication::Position;

pub use crate::publication::MESSAGE_EVENT;

/// A complete message as received, not yet parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'m> {
    /// A text message; the protocol layer has already checked that it is UTF-8.
    Text(&'m str),
    /// A binary message.
    Binary(&'m [u8]),
}

/// Data that belongs to a message or an event, with what is known of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'m> {
    /// One JSON value, valid, forwarded byte for byte.
    Json(&'m str),
    /// Text that is not claimed to be JSON (dialect `raw`).
    Text(&'m str),
    /// Bytes (dialect `raw`).
    Binary(&'m [u8]),
}

impl<'m> Payload<'m> {
    /// The bytes, whatever their form.
    pub fn as_bytes(&self) -> &'m [u8] {
        match self {
            Self::Json(text) | Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// A message from a client, as far as it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'m> {
    /// What it asks for, or what is wrong with it: always the peer's fault.
    pub command: Result<Command<'m>, Refusal<'static>>,
    /// Its `id`, which the answer repeats: one JSON string or number exactly as the
    /// client wrote it, of at most [`MAX_ID_BYTES`](super::MAX_ID_BYTES) bytes besides
    /// the quotes.
    pub id: Option<&'m str>,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'m> {
    /// Become a member of `room` (not empty).
    Subscribe {
        /// The room's name.
        room: Cow<'m, str>,
        /// What the client has seen of the room's history, if it asks for what was
        /// published since.
        recover: Option<Position>,
    },
    /// Stop being a member of `room` (not empty).
    Unsubscribe {
        /// The room's name.
        room: Cow<'m, str>,
    },
    /// Send `data` to every member of `room` (not empty).
    Publish {
        /// The room's name.
        room: Cow<'m, str>,
        /// What to send; `None` if the message had no data.
        data: Option<Payload<'m>>,
    },
    /// Send `data` to every connection.
    Broadcast {
        /// What to send; `None` if the message had no data.
        data: Option<Payload<'m>>,
    },
    /// Ask who is present in `room` (not empty).
    Presence {
        /// The room's name.
        room: Cow<'m, str>,
        /// The most members that the answer shall list.
        limit: Option<u32>,
        /// List only those whose name (the user, else the client id) comes behind this
        /// in the order of its bytes.
        after: Option<Cow<'m, str>>,
    },
    /// Ask whether the server is there.
    Ping,
    /// Anything else: for a handler that the embedding program registered.
    Custom {
        /// The event's name; empty if the message named none.
        event: Cow<'m, str>,
        /// The message's data, if any.
        data: Option<Payload<'m>>,
        /// The room that it names, if any.
        room: Option<Cow<'m, str>>,
        /// The user that it is meant for, if any.
        to: Option<Cow<'m, str>>,
    },
}

/// What a server refuses, or finds wrong with what a client sent. Each dialect
/// has its own error texts for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal<'a> {
    /// The message is not what the dialect's grammar allows.
    InvalidJson,
    /// No built-in command and no handler has this name.
    UnknownType,
    /// The request's id is neither a string nor a number, or too long.
    InvalidId,
    /// The position to recover from is none.
    InvalidRecover,
    /// The room's name is missing or empty.
    RoomRequired,
    /// Publishing needs a subscription, and there is none.
    NotSubscribed,
    /// The room has as many members as it may have.
    RoomFull,
    /// The server has as many connections as it may have.
    ServerFull,
    /// The connection is in as many rooms as it may be in.
    TooManyRooms,
    /// The room's name is longer than allowed.
    RoomNameTooLong,
    /// The server is overloaded; the same request may succeed later.
    Busy,
    /// The message was dropped on its way to the other nodes: the relay's broker was
    /// away for longer than messages wait for it.
    Dropped,
    /// The relay's broker refused the message, for want of memory, say.
    RefusedByRelay,
    /// The room's history cannot be read now.
    HistoryUnavailable,
    /// Nobody keeps who is present in this room.
    PresenceNotKept,
    /// Who is present in the room cannot be read now.
    PresenceUnavailable,
    /// A handler failed; the client is not sent the reason.
    Internal,
    /// A handler's own error text for the client.
    Other(&'a str),
}
