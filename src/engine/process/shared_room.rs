//! A room or user as all shards share it: its name, how many members it has, and on
//! which shards. Knows no connection; when it comes and goes is the
//! [`Directory`](super::directory::Directory)'s to decide.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use crate::engine::types::{audience::Space, relaying::RoomTraits};

/// What all shards share of one room.
#[derive(Debug)]
pub(crate) struct SharedRoom {
    pub(crate) space: Space,
    pub(crate) name: Arc<str>,
    /// What the relay keeps of it.
    pub(crate) traits: RoomTraits,
    /// What is published on other nodes reaches this one, or cannot for now.
    linked: AtomicBool,
    /// Members on all shards.
    members: AtomicU32,
    /// One bit for each shard with a member, or with a join announced.
    shards: AtomicU64,
}

impl SharedRoom {
    /// One without members.
    pub(crate) fn new(space: Space, name: Arc<str>, traits: RoomTraits) -> Self {
        let (members, shards) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { space, name, traits, linked: AtomicBool::new(false), members, shards }
    }

    /// What stands for all connections of one shard: in no directory, never
    /// full.
    pub(crate) fn everyone() -> Self {
        Self::new(Space::Everyone, "".into(), RoomTraits::default())
    }

    /// Whether what is published on other nodes reaches this one, or cannot for now.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Acquire)
    }

    /// From now on it does, or it does no more.
    pub(crate) fn set_linked(&self, linked: bool) {
        self.linked.store(linked, Ordering::Release);
    }

    /// Members on all shards.
    pub(crate) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed) as usize
    }

    /// The shards with members, or with joins on their way, one bit each.
    pub(crate) fn shards(&self) -> u64 {
        // Acquire pairs with the release in `mark`: who learned of a join
        // through the joiner's own messages also sees its bit.
        self.shards.load(Ordering::Acquire)
    }

    /// Sets the shard's bit. Returns whether it was set before.
    pub(super) fn mark(&self, shard: u8) -> bool {
        self.shards.fetch_or(1 << shard, Ordering::Release) >> shard & 1 == 1
    }

    /// Clears the shard's bit. Returns whether no other is set.
    pub(super) fn unmark(&self, shard: u8) -> bool {
        self.shards.fetch_and(!(1 << shard), Ordering::AcqRel) & !(1 << shard) == 0
    }

    /// Counts one more member if there is room for it.
    pub(crate) fn add_member(&self, max: usize) -> bool {
        self.members
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                ((count as usize) < max).then_some(count + 1)
            })
            .is_ok()
    }

    /// Counts one member less; the caller keeps the shard's bit.
    pub(crate) fn remove_member(&self) {
        self.members.fetch_sub(1, Ordering::Relaxed);
    }
}
