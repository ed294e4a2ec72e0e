//! What shards and the relay tell each other: the values that carry a message, a
//! command or a question from one node to the others, and what becomes of it. Knows
//! neither a shard nor how the relay reaches other nodes.

use std::{fmt, sync::Arc};

use crate::{
    id::{ClientId, ConnId},
    publication::{Audience, Data, Publication},
};

pub use crate::publication::Position;

/// Who is told what became of a publication: a connection of this node, and the `id` of
/// its request as it wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who published.
    pub conn: ConnId,
    /// The request's `id`: one JSON string or number.
    pub id: Arc<str>,
}

/// What became of a publication that a [`Receipt`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was accepted; in a room with history it has this place.
    Accepted(Option<Position>),
    /// The same request was accepted before, and nothing was published now.
    Repeated(Option<Position>),
    /// It was dropped: the broker was away for longer than can be waited for, or more
    /// was published meanwhile than is kept.
    Dropped,
    /// The broker refused it, for want of memory, say.
    Refused,
}

/// What one node asks of whichever nodes have certain connections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Send to one client.
    Send {
        /// To whom.
        to: ClientId,
        /// The event's name.
        event: Box<str>,
        /// The payload.
        data: Data,
    },
    /// Close connections, with a close code and a reason (RFC 6455 section 7.4).
    Close {
        /// Whose.
        who: Who,
        /// The code.
        code: u16,
        /// The reason, 123 bytes at the most.
        reason: Box<str>,
    },
    /// Make connections members of a room.
    Join {
        /// Whose.
        who: Who,
        /// The room's name.
        room: Box<str>,
    },
    /// End memberships.
    Leave {
        /// Whose.
        who: Who,
        /// The room's name.
        room: Box<str>,
    },
}

/// Whose connections a [`Command`] is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// One connection.
    Client(ClientId),
    /// All connections of a user.
    User(Box<str>),
}

/// A member of a room as other nodes know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The connection.
    pub client: ClientId,
    /// Its user, if it has one.
    pub user: Option<Box<str>>,
}

impl Presence {
    /// The name under which it is present: a user's connections are one.
    pub fn key(&self) -> String {
        self.user.as_deref().map_or_else(|| self.client.to_string(), str::to_owned)
    }
}

/// What a node is asked about its own state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How many members a room has there.
    MemberCount(Arc<str>),
    /// Who they are, so many at the most.
    Members(Arc<str>, u32),
}

/// What all nodes answered together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterAnswer {
    /// The sum of the counts.
    pub count: u64,
    /// Everybody, for [`Question::Members`].
    pub members: Vec<Presence>,
    /// How many nodes are known and have answered.
    pub nodes: usize,
    /// How many are known and have not.
    pub missing: usize,
}

/// What whoever asked a [`Question`] is given.
pub type ClusterReply = Box<dyn FnOnce(ClusterAnswer) + Send>;

/// What the relay keeps of a room, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomTraits {
    /// What is published there: members get it in the relay's order, and from there.
    pub history: bool,
    /// Who its members are.
    pub presence: bool,
}

/// Which rooms have what.
pub type RoomRules = Arc<dyn Fn(&str) -> RoomTraits + Send + Sync>;

/// From the shards and handles of a node to its relay.
pub enum ToRelay {
    /// Deliver to the members on the other nodes; in a room with history to those of this
    /// node too, in the room's order.
    Publish {
        /// What is published.
        publication: Arc<Publication>,
        /// Who is told what became of it.
        receipt: Option<Receipt>,
        /// Within the idempotency window a second publication to the same audience with
        /// the same key is not published.
        once: Option<Box<str>>,
        /// What its sender is charged until it has been taken.
        charge: Charge,
    },
    /// Somebody on this node wants what is published for this audience, or is about to.
    Wanted(Audience),
    /// Nobody on this node does any more.
    Unwanted(Audience),
    /// A connection asks to become a member of a room with history, which is wanted, and
    /// for what was published since a position. Answered by [`FromRelay::Recovered`].
    Recover {
        /// Who asks.
        conn: ConnId,
        /// The room.
        room: Arc<str>,
        /// What it has seen; `None` if it asks for nothing.
        since: Option<Position>,
    },
    /// A connection has become a member of a room whose presence is kept.
    Present(Arc<str>, Presence),
    /// It is none any more.
    Absent(Arc<str>, ClientId),
    /// A connection asks who is present in a room. Answered by [`FromRelay::PresenceList`].
    ListPresent {
        /// Who asks.
        conn: ConnId,
        /// The room.
        room: Arc<str>,
    },
    /// Do this wherever the connections are. Those of this node have done it.
    Command(Command),
    /// Ask all nodes, this one among them.
    Ask(Question, ClusterReply),
}

/// What a sender is charged for until the relay has taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The connection that sent it; `None` for a handle.
    pub conn: Option<ConnId>,
    /// Bytes.
    pub bytes: u32,
}

/// From the relay to the shards of its node.
#[derive(Debug)]
pub enum FromRelay {
    /// Deliver to the members on this node.
    Publish(Arc<Publication>),
    /// What is published for the audience on other nodes reaches this one from now on, or
    /// cannot for now: who waits to be told of a subscription is told.
    Linked(Audience),
    /// Of what was published in the room on other nodes, so many were lost, or it is not
    /// known how many.
    Gap(Arc<str>, Option<u64>),
    /// The answer to [`ToRelay::Recover`]. What is delivered afterwards comes behind it.
    Recovered {
        /// Who asked.
        conn: ConnId,
        /// The room.
        room: Arc<str>,
        /// How far the connection has come with what follows; `None` if that cannot be
        /// known now.
        position: Option<Position>,
        /// What it missed, in order and whole; `None` if that cannot be had.
        missed: Option<Vec<Arc<Publication>>>,
    },
    /// What became of a publication.
    Receipt(Receipt, Outcome),
    /// The answer to [`ToRelay::ListPresent`].
    PresenceList {
        /// Who asked.
        conn: ConnId,
        /// The room.
        room: Arc<str>,
        /// Who is present, by key; `None` if that cannot be known now.
        present: Option<Vec<Presence>>,
    },
    /// Somebody has come to the room on some node, or has left it on the last.
    PresenceChange {
        /// The room.
        room: Arc<str>,
        /// Who.
        who: Presence,
        /// Whether it has come.
        joined: bool,
    },
    /// Do this with connections of this node.
    Command(Command),
}

impl fmt::Debug for ToRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { publication, receipt, once, .. } => f
                .debug_struct("Publish")
                .field("publication", publication)
                .field("receipt", receipt)
                .field("once", once)
                .finish_non_exhaustive(),
            Self::Wanted(audience) => f.debug_tuple("Wanted").field(audience).finish(),
            Self::Unwanted(audience) => f.debug_tuple("Unwanted").field(audience).finish(),
            Self::Recover { conn, room, since } => {
                f.debug_tuple("Recover").field(conn).field(room).field(since).finish()
            }
            Self::Present(room, who) => f.debug_tuple("Present").field(room).field(who).finish(),
            Self::Absent(room, who) => f.debug_tuple("Absent").field(room).field(who).finish(),
            Self::ListPresent { conn, room } => {
                f.debug_tuple("ListPresent").field(conn).field(room).finish()
            }
            Self::Command(command) => f.debug_tuple("Command").field(command).finish(),
            Self::Ask(question, _) => f.debug_tuple("Ask").field(question).finish(),
        }
    }
}
