//! What a client can be sent, in no wire format. Each dialect translates this to its
//! own JSON.

use super::vocabulary::{Payload, Refusal};
use crate::{cluster::Presence, id::ClientId, publication::Position};

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
        /// The room's last position, if it has a history. What the receiver missed up to
        /// there follows if it is recovered; else it is sent what comes behind it.
        position: Option<Position>,
        /// Whether what it missed follows, if it asked for that.
        recovered: Option<bool>,
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
        /// Its offset in the room's history, if the room has one.
        offset: Option<u64>,
    },
    /// A publication or broadcast with an id was accepted.
    Ack {
        /// The request's id: one JSON string or number.
        id: &'a str,
        /// Its place, if the room has a history.
        position: Option<Position>,
        /// Whether it had been accepted before, and nothing was published now.
        repeated: bool,
    },
    /// Of what was published in `room` on other nodes, some was lost.
    Gap {
        /// The room's name.
        room: &'a str,
        /// How many publications; `None` if that is not known.
        missed: Option<u64>,
    },
    /// The answer to [`Command::Presence`](super::Command::Presence).
    Presence {
        /// The room's name.
        room: &'a str,
        /// How many are present, on all nodes.
        count: usize,
        /// Those that were asked for, a user with several connections once.
        members: &'a [Presence],
        /// Whether there are others behind them.
        more: bool,
    },
    /// Somebody has come to `room`, or has left it with its last connection.
    PresenceChange {
        /// The room's name.
        room: &'a str,
        /// Who.
        who: &'a Presence,
        /// Whether it has come.
        joined: bool,
    },
    /// A request was refused.
    Refused {
        /// Why.
        refusal: Refusal<'a>,
        /// The request's id, if it has one: one JSON string or number.
        id: Option<&'a str>,
    },
    /// The answer to [`Command::Ping`](super::Command::Ping).
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
