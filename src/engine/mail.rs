//! What reaches a shard from other threads.

use std::sync::Arc;

use super::{directory::Announced, disconnect::Disconnect, shard_engine::ShardEngine};
use crate::{
    dialect::Refusal,
    id::ConnId,
    publication::{Data, Publication},
};

/// A question that a shard answers about its own state, on its own thread.
pub(crate) type Question = Box<dyn FnOnce(&ShardEngine) + Send>;

/// What became of a join: `None` if the connection was not open.
pub(crate) type Joined = Option<Result<(), Refusal<'static>>>;

/// Tells whoever asked for something what became of it. Dropped unused if the
/// shard ended before.
pub(crate) type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// A join, and its announcement to the directory.
pub(crate) struct JoinRequest {
    pub(crate) id: ConnId,
    pub(crate) room: Announced,
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
    Send(Box<Letter>),
    /// End a connection.
    Close(ConnId, Disconnect),
    /// Make a connection a member of a room.
    Join(Box<JoinRequest>),
    /// End a membership.
    Leave(Box<LeaveRequest>),
    /// Answer a question.
    Ask(Question),
}

/// A message for one connection.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) to: ConnId,
    pub(crate) event: Box<str>,
    pub(crate) data: Data,
}

impl Mail {
    /// The same mail for another shard; only what many shards can get has one.
    pub(crate) fn for_another(&self) -> Option<Self> {
        match self {
            Self::Publish(publication) => Some(Self::Publish(Arc::clone(publication))),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publish(publication) => f.debug_tuple("Publish").field(publication).finish(),
            Self::Send(letter) => f.debug_tuple("Send").field(letter).finish(),
            Self::Close(id, reason) => f.debug_tuple("Close").field(id).field(reason).finish(),
            Self::Join(join) => {
                f.debug_tuple("Join").field(&join.id).field(&join.room.name()).finish()
            }
            Self::Leave(leave) => {
                f.debug_tuple("Leave").field(&leave.id).field(&leave.room).finish()
            }
            Self::Ask(_) => f.write_str("Ask"),
        }
    }
}
