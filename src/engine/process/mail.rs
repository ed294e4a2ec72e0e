//! What reaches a shard from other threads, and who is charged for it until then.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use super::directory::AnnouncedJoin;
use crate::{
    cluster::FromRelay,
    dialect::Refusal,
    engine::types::{disconnect::Disconnect, info::ConnInfo, stats::Stats},
    id::ConnId,
    publication::{Data, Publication},
};

/// Some of the connections that were asked for, and the slot with which the next
/// page begins if there may be more.
pub(crate) type Page = (Vec<ConnInfo>, Option<u32>);

/// What a shard is asked about its own state, to be answered on its own thread.
pub(crate) enum Query {
    /// What it counted.
    Stats(Answer<Stats>),
    /// One connection, if it is open.
    Connection(ConnId, Answer<Option<ConnInfo>>),
    /// The open connections from the slot `from` on.
    Connections { from: u32, answer: Answer<Page> },
    /// Those of them that are members of a room.
    Members { room: Arc<str>, from: u32, answer: Answer<Page> },
}

/// What became of a join: `None` if the connection was not open.
pub(crate) type Joined = Option<Result<(), Refusal<'static>>>;

/// Tells whoever asked for something what became of it. Dropped unused if the
/// shard ended before.
pub(crate) type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// A join, and its announcement to the directory.
pub(crate) struct JoinRequest {
    pub(crate) id: ConnId,
    pub(crate) room: AnnouncedJoin,
    pub(crate) answer: Answer<Joined>,
}

/// The end of a membership, and who is told whether there was one.
pub(crate) struct LeaveRequest {
    pub(crate) id: ConnId,
    pub(crate) room: Box<str>,
    pub(crate) answer: Answer<bool>,
}

/// A message to a shard.
pub(crate) enum Mail {
    /// Deliver to the audience's members on this shard.
    Publish(Arc<Publication>),
    /// Deliver to one connection.
    Send(Box<DirectMessage>),
    /// End a connection.
    Close(ConnId, Disconnect),
    /// Make a connection a member of a room.
    Join(Box<JoinRequest>),
    /// End a membership.
    Leave(Box<LeaveRequest>),
    /// Answer a query.
    Ask(Query),
    /// The shard that sends this has taken so many bytes of what was charged to
    /// these connections of the receiver.
    Credit(u8, Vec<(ConnId, u32)>),
    /// A connection of that shard waits for credit: return it at once from now on,
    /// until nothing is owed.
    RequestCredit(u8),
    /// What the relay has for connections or members here.
    Relayed(Arc<FromRelay>),
    /// Serve a socket from outside. The shard attaches it; the engine never sees it.
    Adopt(Box<Adopted>),
}

/// A connected socket that no listener of the engine accepted, or that was handed
/// out and comes back.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) socket: OwnedFd,
    pub(crate) peer: SocketAddr,
    /// What was read of it, from the first byte of the request on.
    pub(crate) unread: Vec<u8>,
}

/// Who is charged for what is on its way to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A connection of another shard.
    Connection(ConnId),
    /// All handles together, for a publication.
    HandlePublication,
    /// All handles together, for anything else: neither waits for the other.
    HandleRequest,
    /// Nobody: what shards tell each other about the windows between them.
    Shard,
}

/// A mail with what it costs until it has been taken.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) mail: Mail,
    pub(crate) origin: Origin,
    /// What is charged, as [`Mail::bytes`] says.
    pub(crate) bytes: u32,
}

impl Parcel {
    /// Whether it is the next page of an answer: one for each turn.
    pub(crate) fn is_for_another_turn(&self) -> bool {
        matches!((&self.mail, self.origin), (Mail::Ask(_), Origin::Shard))
    }
}

/// A message for one connection.
#[derive(Debug)]
pub(crate) struct DirectMessage {
    pub(crate) to: ConnId,
    pub(crate) event: Box<str>,
    pub(crate) data: Data,
}

impl Mail {
    /// Bytes of memory that it keeps alive, about.
    pub(crate) fn bytes(&self) -> u32 {
        let more = match self {
            Self::Publish(publication) => publication.kept_bytes(),
            Self::Send(message) => {
                size_of::<DirectMessage>() + message.event.len() + message.data.bytes().len()
            }
            Self::Join(join) => size_of::<JoinRequest>() + join.room.name().len(),
            Self::Leave(leave) => size_of::<LeaveRequest>() + leave.room.len(),
            Self::Close(_, reason) => reason.reason().len(),
            Self::Relayed(what) => relayed_bytes(what),
            Self::Ask(_) => 256,
            Self::Adopt(adopted) => size_of::<Adopted>() + adopted.unread.len(),
            Self::Credit(..) | Self::RequestCredit(_) => 0,
        };
        (size_of::<Parcel>() + more).min(u32::MAX as usize) as u32
    }

    /// The same mail for another shard; only what many shards can get has one.
    pub(crate) fn for_another(&self) -> Option<Self> {
        match self {
            Self::Publish(publication) => Some(Self::Publish(Arc::clone(publication))),
            Self::Relayed(what) => Some(Self::Relayed(Arc::clone(what))),
            _ => None,
        }
    }

    /// Who is charged for it if a handle sends it.
    pub(crate) fn handle_origin(&self) -> Origin {
        if matches!(self, Self::Publish(_)) {
            Origin::HandlePublication
        } else {
            Origin::HandleRequest
        }
    }

    /// With its cost, charged to all handles.
    pub(crate) fn charged_to_handles(self) -> Parcel {
        let origin = self.handle_origin();
        self.charged_to(origin)
    }

    /// With its cost, charged to `origin`.
    pub(crate) fn charged_to(self, origin: Origin) -> Parcel {
        let bytes = self.bytes();
        Parcel { mail: self, origin, bytes }
    }
}

/// Bytes of memory that it keeps alive, about.
fn relayed_bytes(what: &FromRelay) -> usize {
    let of_this = match what {
        FromRelay::Recovered { missed: Some(missed), .. } => {
            missed.iter().map(|publication| publication.kept_bytes()).sum()
        }
        FromRelay::PresenceList { present: Some(present), .. } => 64 * present.len(),
        _ => 0,
    };
    256 + of_this
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publish(publication) => f.debug_tuple("Publish").field(publication).finish(),
            Self::Send(message) => f.debug_tuple("Send").field(message).finish(),
            Self::Close(id, reason) => f.debug_tuple("Close").field(id).field(reason).finish(),
            Self::Join(join) => {
                f.debug_tuple("Join").field(&join.id).field(&join.room.name()).finish()
            }
            Self::Leave(leave) => {
                f.debug_tuple("Leave").field(&leave.id).field(&leave.room).finish()
            }
            Self::Ask(_) => f.write_str("Ask"),
            Self::Relayed(what) => f.debug_tuple("Relayed").field(what).finish(),
            Self::Credit(from, credits) => {
                f.debug_tuple("Credit").field(from).field(&credits.len()).finish()
            }
            Self::RequestCredit(from) => f.debug_tuple("RequestCredit").field(from).finish(),
            Self::Adopt(adopted) => f.debug_tuple("Adopt").field(adopted).finish(),
        }
    }
}
