//! The engine's vocabulary: what a client can ask for and what it can be sent, in
//! no wire format. Each dialect translates between this and its own JSON.

use std::borrow::Cow;

use crate::id::ClientId;

/// The event name of what clients publish or broadcast without naming one.
pub const MESSAGE_EVENT: &str = "message";

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

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'m> {
    /// Become a member of `room` (not empty).
    Subscribe {
        /// The room's name.
        room: Cow<'m, str>,
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
    /// A handler failed; the client is not sent the reason.
    Internal,
    /// A handler's own error text for the client.
    Other(&'a str),
}

/// What a client is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The connection is established and this is its identity.
    Connected {
        /// The receiver's identity.
        client_id: ClientId,
    },
    /// The receiver is now a member of `room`.
    Subscribed {
        /// The room's name.
        room: &'a str,
        /// How many members it has now, the receiver among them.
        members: usize,
    },
    /// The receiver is no longer a member of `room`.
    Unsubscribed {
        /// The room's name.
        room: &'a str,
    },
    /// A publication, a broadcast or a direct message.
    Message {
        /// The event's name; `message` for what clients publish.
        event: &'a str,
        /// The room that it was published to, if it was.
        room: Option<&'a str>,
        /// The data, if any.
        data: Option<Payload<'a>>,
        /// The connection that sent it, unless the server did.
        from: Option<ClientId>,
        /// The user that sent it, if known.
        user: Option<&'a str>,
    },
    /// A request was refused.
    Refused(Refusal<'a>),
    /// The answer to [`Command::Ping`].
    Pong,
}

/// When an event is sent. Time is data: the caller reads the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// Unix time in milliseconds.
    pub timestamp_ms: u64,
}

/// In which kind of WebSocket message an encoded event is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A text message; the bytes are UTF-8.
    Text,
    /// A binary message.
    Binary,
    /// This dialect does not send this event: nothing was written.
    Skip,
}
