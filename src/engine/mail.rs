//! What reaches a shard from other threads.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use super::{disconnect::Disconnect, shard_engine::ShardEngine};
use crate::{
    id::ConnId,
    publication::{Data, Publication},
};

/// A question that a shard answers about its own state, on its own thread.
pub(crate) type Question = Box<dyn FnOnce(&ShardEngine) + Send>;

/// A message to a shard.
pub(crate) enum Mail {
    /// Deliver to the audience's members on this shard.
    Publish(Arc<Publication>),
    /// Deliver to one connection.
    Send(Box<Letter>),
    /// End a connection.
    Close(ConnId, Disconnect),
    /// Make a connection a member of a room.
    Join(ConnId, Box<str>),
    /// End a membership.
    Leave(ConnId, Box<str>),
    /// Answer a question.
    Ask(Question),
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
            Self::Join(id, room) => f.debug_tuple("Join").field(id).field(room).finish(),
            Self::Leave(id, room) => f.debug_tuple("Leave").field(id).field(room).finish(),
            Self::Ask(_) => f.write_str("Ask"),
            Self::Adopt(adopted) => f.debug_tuple("Adopt").field(adopted).finish(),
        }
    }
}
