//! Who is not read for now, what each waits for, and what was read of it and not
//! looked at. Knows identities and numbers of groups; why anybody is held is decided
//! in [`holds`](crate::engine::backpressure::holds).

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::windows::Exhausted;
use crate::{dialect::Incoming, id::ConnId};

/// What a held connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The members of a group, by its place in the table.
    Room(u32),
    /// The window to another shard.
    Window(u8, Exhausted),
    /// Its own peer, to read its answers.
    Answers,
    /// Its turn: it had as many messages looked at as one may have in a turn.
    Turn,
}

/// What was read of a held connection and not been looked at.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) cause: Cause,
    /// What it waits for after that, if there is still reason to: one call of a handler
    /// may publish into several rooms and to several shards.
    then: VecDeque<Cause>,
    /// A message that publishes, and must wait.
    message: Option<Deferred>,
    /// Bytes behind it; those before `at` have been looked at.
    input: Vec<u8>,
    at: usize,
}

impl Parked {
    pub(crate) fn new(cause: Cause) -> Self {
        Self { cause, then: VecDeque::new(), message: None, input: Vec::new(), at: 0 }
    }

    /// It waits for `cause` too, after everything else.
    pub(crate) fn wait_then(&mut self, cause: Cause) {
        if *self.then.back().unwrap_or(&self.cause) != cause {
            self.then.push_back(cause);
        }
    }

    /// What it may have to wait for next.
    pub(crate) fn next_cause(&mut self) -> Option<Cause> {
        self.then.pop_front()
    }

    /// Keeps a message for later.
    pub(crate) fn defer(&mut self, message: Deferred) {
        debug_assert!(self.message.is_none());
        self.message = Some(message);
    }

    /// Keeps bytes for later, behind those that are kept already.
    pub(crate) fn park(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Keeps a buffer of which the bytes from `at` on are left.
    pub(crate) fn park_rest(&mut self, input: Vec<u8>, at: usize) {
        debug_assert!(self.input.is_empty());
        (self.input, self.at) = (input, at);
    }

    /// What `id`, whose it is, goes on with.
    pub(crate) fn into_resumed(self, id: ConnId) -> Resumed {
        Resumed { id, message: self.message, input: self.input, at: self.at }
    }

    /// Bytes of memory that it keeps.
    pub(crate) fn kept_bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| match message {
            Deferred::Text(text) => text.len(),
            Deferred::Binary(bytes) => bytes.len(),
        });
        size_of::<Self>()
            + self.then.capacity() * size_of::<Cause>()
            + message
            + self.input.capacity()
    }
}

/// A whole message that waits.
#[derive(Debug)]
pub(crate) enum Deferred {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Deferred {
    pub(crate) fn of(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.into()),
            Incoming::Binary(bytes) => Self::Binary(bytes.into()),
        }
    }

    pub(crate) fn incoming(&self) -> Incoming<'_> {
        match self {
            Self::Text(text) => Incoming::Text(text),
            Self::Binary(bytes) => Incoming::Binary(bytes),
        }
    }
}

/// What a resumed connection goes on with.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) id: ConnId,
    pub(crate) message: Option<Deferred>,
    pub(crate) input: Vec<u8>,
    pub(crate) at: usize,
}

/// The held connections of a shard.
#[derive(Debug, Default)]
pub(crate) struct HoldQueue {
    /// Those that wait for a group's members, in order of arrival.
    by_group: HashMap<u32, VecDeque<ConnId>, foldhash::fast::RandomState>,
    /// Groups of which half of what waited has gone.
    relieved: VecDeque<u32>,
    /// Those that wait for nothing any more.
    ready: VecDeque<ConnId>,
    /// How many are held.
    pub(crate) held: usize,
}

impl HoldQueue {
    /// `id` waits for the members of `group`.
    pub(crate) fn wait_for(&mut self, group: u32, id: ConnId) {
        self.by_group.entry(group).or_default().push_back(id);
    }

    /// `id` waits for nothing any more.
    pub(crate) fn push_ready(&mut self, id: ConnId) {
        self.ready.push_back(id);
    }

    /// The first that waits for nothing any more.
    pub(crate) fn pop_ready(&mut self) -> Option<ConnId> {
        self.ready.pop_front()
    }

    /// Half of what waited for the members of `group` has gone.
    pub(crate) fn relieve(&mut self, group: u32) {
        if self.by_group.contains_key(&group) {
            self.relieved.push_back(group);
        }
    }

    /// The group that was relieved first.
    pub(crate) fn first_relieved(&self) -> Option<u32> {
        self.relieved.front().copied()
    }

    /// Nobody is to go on because of that group now.
    pub(crate) fn forget_first_relieved(&mut self) {
        self.relieved.pop_front();
    }

    /// Takes the first in line for `group`.
    pub(crate) fn first_for(&mut self, group: u32) -> Option<ConnId> {
        let line = self.by_group.get_mut(&group)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.by_group.remove(&group);
        }
        first
    }

    /// The group is no more.
    pub(crate) fn forget(&mut self, group: u32) {
        self.ready.extend(self.by_group.remove(&group).into_iter().flatten());
    }

    /// Whether somebody can be resumed now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.relieved.is_empty()
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0 && self.by_group.is_empty()
    }
}
