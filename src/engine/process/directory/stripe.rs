//! The part of the directory that one lock protects: names, and the joins that are on
//! their way to shards.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::engine::{
    process::shared_room::SharedRoom,
    types::{audience::Space, relaying::RoomTraits},
};

type Names = HashMap<(Space, Arc<str>), Arc<SharedRoom>, foldhash::fast::RandomState>;

/// The name of a room or user as it is looked up: borrowed.
#[derive(Hash)]
struct Key<'a>(Space, &'a str);

impl hashbrown::Equivalent<(Space, Arc<str>)> for Key<'_> {
    fn equivalent(&self, key: &(Space, Arc<str>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

/// The joins that are on their way to one shard, for one name.
#[derive(Debug)]
struct PendingJoins {
    count: usize,
    /// Whether the shard has members already: then its bit stays in any case.
    has_members: bool,
}

/// What one lock protects.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    names: Names,
    /// By shard. Has an entry for as long as joins are on their way.
    pending: HashMap<(u8, Space, Arc<str>), PendingJoins, foldhash::fast::RandomState>,
}

/// The key of pending joins as it is looked up: borrowed.
#[derive(Hash)]
struct PendingKey<'a>(u8, Space, &'a str);

impl hashbrown::Equivalent<(u8, Space, Arc<str>)> for PendingKey<'_> {
    fn equivalent(&self, key: &(u8, Space, Arc<str>)) -> bool {
        self.0 == key.0 && self.1 == key.1 && *self.2 == *key.2
    }
}

impl Stripe {
    /// The room of that name, if there is one.
    pub(super) fn find(&self, space: Space, name: &str) -> Option<Arc<SharedRoom>> {
        self.names.get(&Key(space, name)).map(Arc::clone)
    }

    /// The room of that name, made if need be; `made` is told of one that is new.
    pub(super) fn find_or_make(
        &mut self,
        space: Space,
        name: &str,
        traits: impl FnOnce() -> RoomTraits,
        made: impl FnOnce(&SharedRoom),
    ) -> Arc<SharedRoom> {
        if let Some(shared) = self.find(space, name) {
            return shared;
        }
        let name: Arc<str> = name.into();
        let shared = Arc::new(SharedRoom::new(space, Arc::clone(&name), traits()));
        self.names.insert((space, name), Arc::clone(&shared));
        made(&shared);
        shared
    }

    /// Everything that has a name here.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<SharedRoom>> {
        self.names.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.pending.is_empty()
    }

    /// `shard` has its first member: its bit is set.
    pub(super) fn enter(&mut self, shared: &SharedRoom, shard: u8) {
        shared.mark(shard);
        if let Some(pending) = self.pending(shared, shard) {
            pending.has_members = true;
        }
    }

    /// `shard` has lost its last member: its bit goes, unless joins are on their way.
    /// Returns whether the name is forgotten.
    pub(super) fn exit(&mut self, shared: &SharedRoom, shard: u8) -> bool {
        match self.pending(shared, shard) {
            Some(pending) => {
                pending.has_members = false;
                false
            }
            None => self.clear(shared, shard),
        }
    }

    /// A join is on its way to `shard`: its bit is set.
    pub(super) fn announce(&mut self, shared: &SharedRoom, shard: u8) {
        let has_members = shared.mark(shard);
        let key = (shard, shared.space, Arc::clone(&shared.name));
        let none = || PendingJoins { count: 0, has_members };
        self.pending.entry(key).or_insert_with(none).count += 1;
    }

    /// One announced join less: with the last one the shard's bit goes, unless it has
    /// members by now. Returns whether the name is forgotten.
    pub(super) fn conclude(&mut self, shared: &SharedRoom, shard: u8) -> bool {
        let Some(pending) = self.pending(shared, shard) else { return false };
        pending.count -= 1;
        if pending.count > 0 {
            return false;
        }
        let has_members = pending.has_members;
        self.pending.remove(&PendingKey(shard, shared.space, &shared.name));
        if self.pending.is_empty() {
            self.pending.shrink_to_fit();
        }
        !has_members && self.clear(shared, shard)
    }

    fn pending(&mut self, shared: &SharedRoom, shard: u8) -> Option<&mut PendingJoins> {
        // Seldom does a join come by mail.
        if self.pending.is_empty() {
            return None;
        }
        self.pending.get_mut(&PendingKey(shard, shared.space, &shared.name))
    }

    /// Clears a shard's bit, and forgets the name with the last one. Returns whether that
    /// is so.
    fn clear(&mut self, shared: &SharedRoom, shard: u8) -> bool {
        let is_last = shared.unmark(shard);
        if is_last {
            self.names.remove(&Key(shared.space, &shared.name));
            if self.names.is_empty() {
                self.names.shrink_to_fit();
            }
        }
        is_last
    }
}
