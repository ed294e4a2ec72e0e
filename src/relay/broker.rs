//! What a node asks of its broker, and what comes back: the seam between the node's own
//! logic, which does no I/O, and the broker that carries it out. Knows neither.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cluster::{Position, Presence},
    publication::Audience,
};

/// Where messages are published, and who receives them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Heartbeats and questions: every node, one for each partition of the broker.
    Control(u16),
    /// Broadcasts: every node.
    Everyone,
    /// One node.
    Node(u64),
    /// A room.
    Room(Arc<str>),
    /// A user.
    User(Arc<str>),
}

impl Channel {
    /// Whom publications there are for; nobody where none are sent.
    pub fn audience(&self) -> Option<Audience> {
        match self {
            Self::Everyone => Some(Audience::Everyone),
            Self::Room(room) => Some(Audience::Room(room.clone())),
            Self::User(user) => Some(Audience::User(user.clone())),
            Self::Control(_) | Self::Node(_) => None,
        }
    }
}

/// How much of a room's history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Publications, at least 1.
    pub count: u64,
    /// Their age, in milliseconds.
    pub age_ms: u64,
}

/// Asked of the broker. It carries them out in this order for each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Receive what is published there; answered by [`Arrival::Subscribed`].
    Subscribe(Channel),
    /// Receive it no more.
    Unsubscribe(Channel),
    /// Publish; answered by [`Arrival::Published`] with the same token.
    Publish {
        /// Where.
        channel: Channel,
        /// What.
        message: Bytes,
        /// Names the answer.
        token: u64,
    },
    /// Append to the room's history and publish there, in one step: subscribers receive
    /// it with its position. Answered by [`Arrival::Published`]. If it is not done, and
    /// answered by [`BrokerError::Away`], nothing that the node appends to the room before
    /// it has that answer is done either, so that a repeat is in order.
    Append {
        /// The room.
        room: Arc<str>,
        /// What.
        message: Bytes,
        /// How much is kept.
        limits: HistoryLimits,
        /// A repeat of the same key in the same room within so many milliseconds is
        /// answered with the first one's position, and not appended.
        once: Option<(Box<str>, u64)>,
        /// Names the answer.
        token: u64,
    },
    /// Read the history of a room behind an offset; answered by [`Arrival::History`].
    Read {
        /// The room.
        room: Arc<str>,
        /// Nothing up to this offset.
        after: u64,
        /// At most so many.
        count: u64,
        /// How long the epoch lives that an empty history is given, and how much is kept.
        limits: HistoryLimits,
        /// Names the answer.
        token: u64,
    },
    /// A connection of this node is present in a room for so many milliseconds from now.
    /// Repeated before that is over. If its key was not present before, subscribers of
    /// the room receive [`Arrival::PresenceChanged`].
    Enter {
        /// The room.
        room: Arc<str>,
        /// Who.
        who: Presence,
        /// How long, in milliseconds.
        ttl_ms: u64,
    },
    /// It is no more. If it was the last with its key, subscribers of the room receive
    /// [`Arrival::PresenceChanged`].
    Leave {
        /// The room.
        room: Arc<str>,
        /// Who.
        who: Presence,
    },
    /// Remove those whose time is over, with the same effect as leaving.
    Expire {
        /// The room.
        room: Arc<str>,
    },
    /// Who is present in a room; answered by [`Arrival::Present`].
    List {
        /// The room.
        room: Arc<str>,
        /// Names the answer.
        token: u64,
    },
}

/// Why the broker did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerError {
    /// It cannot be reached, or the connection ended before the answer: whether it was
    /// done is not known.
    Away,
    /// It answered that it will not, and why.
    Refused(String),
}

/// What comes from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The broker is reachable; `partitions` says how many control channels there are.
    /// Whatever was subscribed before is to be subscribed again.
    Up {
        /// Control channels, from 0.
        partitions: u16,
    },
    /// It is not, or part of it is not, and why.
    Down(String),
    /// The subscription stands: what is published from now on arrives.
    Subscribed(Channel),
    /// The subscription was lost although the broker is reachable (its slot has moved):
    /// what was published meanwhile may be missing. It is to be subscribed again.
    Unsubscribed(Channel),
    /// A message, with its position if the room has a history.
    Message {
        /// Where it was published.
        channel: Channel,
        /// What.
        message: Bytes,
        /// Its place.
        position: Option<Position>,
    },
    /// The answer to a publish or an append.
    Published {
        /// Which.
        token: u64,
        /// Its place, for an append, and whether it was appended before.
        result: Result<Option<(Position, bool)>, BrokerError>,
    },
    /// A part of a room's history.
    History {
        /// Which question this answers.
        token: u64,
        /// `None` if it could not be read.
        history: Option<History>,
    },
    /// Somebody came to a room or left it.
    PresenceChanged {
        /// The room.
        room: Arc<str>,
        /// Who.
        who: Presence,
        /// Whether it came.
        joined: bool,
    },
    /// Who is present, one for each key.
    Present {
        /// Which question this answers.
        token: u64,
        /// `None` if it could not be read.
        present: Option<Vec<Presence>>,
    },
}

/// A part of a room's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The last position: epoch, and the offset of the newest publication, 0 for none.
    pub last: Position,
    /// The oldest offset that is kept; one more than `last.offset` if none is.
    pub first: u64,
    /// Publications with their offsets, ascending, from the first that was asked for.
    pub entries: Vec<(u64, Bytes)>,
}
