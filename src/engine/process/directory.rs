//! Which rooms exist, how many members each has on all shards, and on which
//! shards those are: the one thing besides messages that shards share.
//!
//! A room's capacity and its member count are promises of the whole server, so
//! they cannot be kept by one shard. The directory is touched when a connection
//! joins or leaves; a publish in a room that has a member on the same shard
//! reads one word through an `Arc` that the shard already holds, and takes no
//! lock.
//!
//! A join that is on its way to its shard by mail is *announced*: the room's set of
//! shards has that shard already, so that what is published behind the join is
//! mailed behind it. An announced join makes no member yet.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use hashbrown::HashMap;

use crate::engine::types::audience::Space;

/// What all shards share of one room.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) space: Space,
    pub(crate) name: Arc<str>,
    /// Members on all shards.
    members: AtomicU32,
    /// One bit for each shard with a member, or with a join announced.
    shards: AtomicU64,
}

impl Shared {
    /// What stands for all connections of one shard: in no directory, never
    /// full.
    pub(crate) fn everyone() -> Self {
        Self {
            space: Space::Everyone,
            name: "".into(),
            members: AtomicU32::new(0),
            shards: AtomicU64::new(0),
        }
    }

    /// Members on all shards.
    pub(crate) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed) as usize
    }

    /// The shards with members, or with joins on their way, one bit each.
    pub(crate) fn shards(&self) -> u64 {
        // Acquire pairs with the release in `enter`: who learned of a join
        // through the joiner's own messages also sees its bit.
        self.shards.load(Ordering::Acquire)
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

type Names = HashMap<(Space, Arc<str>), Arc<Shared>, foldhash::fast::RandomState>;

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
struct Pending {
    joins: usize,
    /// Whether the shard has members already: then its bit stays in any case.
    has_members: bool,
}

/// What one lock protects.
#[derive(Debug, Default)]
struct Stripe {
    names: Names,
    /// By shard. Has an entry for as long as joins are on their way.
    pending: HashMap<(u8, Space, Arc<str>), Pending, foldhash::fast::RandomState>,
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
    /// What is shared of that name, made if need be.
    fn shared(&mut self, space: Space, name: &str) -> Arc<Shared> {
        if let Some(shared) = self.names.get(&Key(space, name)) {
            return Arc::clone(shared);
        }
        let name: Arc<str> = name.into();
        let shared = Arc::new(Shared {
            space,
            name: Arc::clone(&name),
            members: AtomicU32::new(0),
            shards: AtomicU64::new(0),
        });
        self.names.insert((space, name), Arc::clone(&shared));
        shared
    }

    fn pending(&mut self, shared: &Shared, shard: u8) -> Option<&mut Pending> {
        // Seldom does a join come by mail.
        if self.pending.is_empty() {
            return None;
        }
        self.pending.get_mut(&PendingKey(shard, shared.space, &shared.name))
    }

    /// Clears a shard's bit, and forgets the name with the last one.
    fn clear(&mut self, shared: &Shared, shard: u8) {
        let left = shared.shards.fetch_and(!(1 << shard), Ordering::AcqRel) & !(1 << shard);
        if left == 0 {
            self.names.remove(&Key(shared.space, &shared.name));
            if self.names.is_empty() {
                self.names.shrink_to_fit();
            }
        }
    }
}

/// How many locks the names are spread over: enough that shards which join at
/// the same moment seldom meet.
const STRIPES: usize = 64;

/// All rooms of the process.
#[derive(Debug)]
pub(crate) struct Directory {
    stripes: Box<[Mutex<Stripe>]>,
    hasher: foldhash::fast::RandomState,
    /// Rooms with members.
    rooms: AtomicUsize,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(Stripe::default())).collect(),
            hasher: foldhash::fast::RandomState::default(),
            rooms: AtomicUsize::new(0),
        }
    }

    fn stripe(&self, space: Space, name: &str) -> MutexGuard<'_, Stripe> {
        let hash = self.hasher.hash_one((space, name));
        // A panic while a stripe is locked is a bug of ours; the map itself is
        // whole between any two calls.
        self.stripes[hash as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first member on `shard`: makes the room if need be, counts the member
    /// and marks the shard. `None` if the room is full.
    pub(crate) fn enter(
        &self,
        space: Space,
        name: &str,
        shard: u8,
        max: usize,
    ) -> Option<Arc<Shared>> {
        debug_assert!(max > 0);
        let mut stripe = self.stripe(space, name);
        let shared = stripe.shared(space, name);
        // The first member of all comes, and the last goes, under this lock.
        let is_first = shared.members() == 0;
        if !shared.add_member(max) {
            return None;
        }
        shared.shards.fetch_or(1 << shard, Ordering::Release);
        if let Some(pending) = stripe.pending(&shared, shard) {
            pending.has_members = true;
        }
        if is_first && space == Space::Room {
            self.rooms.fetch_add(1, Ordering::Relaxed);
        }
        Some(shared)
    }

    /// The last member on `shard` has gone: counts it, clears the shard's mark
    /// unless joins are on their way there, and forgets the room if no shard is
    /// marked.
    pub(crate) fn exit(&self, shared: &Shared, shard: u8) {
        let mut stripe = self.stripe(shared.space, &shared.name);
        shared.remove_member();
        if shared.members() == 0 && shared.space == Space::Room {
            self.rooms.fetch_sub(1, Ordering::Relaxed);
        }
        match stripe.pending(shared, shard) {
            Some(pending) => pending.has_members = false,
            None => stripe.clear(shared, shard),
        }
    }

    /// A join is on its way to `shard`: makes the room if need be and marks the
    /// shard until the join was carried out or refused, that is until the returned
    /// value is dropped.
    pub(crate) fn announce(self: &Arc<Self>, space: Space, name: &str, shard: u8) -> Announced {
        let mut stripe = self.stripe(space, name);
        let shared = stripe.shared(space, name);
        let before = shared.shards.fetch_or(1 << shard, Ordering::Release);
        let fresh = || Pending { joins: 0, has_members: before >> shard & 1 == 1 };
        let key = (shard, space, Arc::clone(&shared.name));
        stripe.pending.entry(key).or_insert_with(fresh).joins += 1;
        drop(stripe);
        Announced { directory: Arc::clone(self), shared, shard }
    }

    /// One announced join less: with the last one the shard's mark goes, unless it
    /// has members by now.
    fn conclude(&self, shared: &Shared, shard: u8) {
        let mut stripe = self.stripe(shared.space, &shared.name);
        let Some(pending) = stripe.pending(shared, shard) else { return };
        pending.joins -= 1;
        if pending.joins > 0 {
            return;
        }
        let has_members = pending.has_members;
        stripe.pending.remove(&PendingKey(shard, shared.space, &shared.name));
        if stripe.pending.is_empty() {
            stripe.pending.shrink_to_fit();
        }
        if !has_members {
            stripe.clear(shared, shard);
        }
    }

    /// The room of that name, if it has a member anywhere or a join announced.
    pub(crate) fn find(&self, space: Space, name: &str) -> Option<Arc<Shared>> {
        self.stripe(space, name).names.get(&Key(space, name)).map(Arc::clone)
    }

    /// Whether it knows no name.
    pub(crate) fn is_empty(&self) -> bool {
        let stripes = self.stripes.iter();
        let mut stripes = stripes.map(|one| one.lock().unwrap_or_else(PoisonError::into_inner));
        self.room_count() == 0
            && stripes.all(|stripe| stripe.names.is_empty() && stripe.pending.is_empty())
    }

    /// How many rooms there are; users are not counted.
    pub(crate) fn room_count(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Every room with its number of members, in no order.
    pub(crate) fn rooms(&self) -> Vec<(Arc<str>, usize)> {
        let mut rooms = Vec::with_capacity(self.room_count());
        for stripe in &self.stripes {
            let stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            let here = stripe.names.values();
            let here = here.filter(|shared| shared.space == Space::Room && shared.members() > 0);
            rooms.extend(here.map(|shared| (Arc::clone(&shared.name), shared.members())));
        }
        rooms
    }
}

/// A join that is on its way to a shard. Whatever becomes of it, dropping this ends
/// the announcement; a join that is carried out must come before that.
#[derive(Debug)]
pub(crate) struct Announced {
    directory: Arc<Directory>,
    shared: Arc<Shared>,
    shard: u8,
}

impl Announced {
    /// The room to be joined.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.directory.conclude(&self.shared, self.shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_lives_as_long_as_some_shard_has_a_member() {
        let directory = Directory::new();
        let room = directory.enter(Space::Room, "r", 0, 10).unwrap();
        directory.enter(Space::Room, "r", 5, 10).unwrap();
        assert_eq!((room.shards(), room.members()), (0b10_0001, 2));
        directory.exit(&room, 0);
        assert_eq!((room.shards(), directory.room_count()), (0b10_0000, 1));
        directory.exit(&room, 5);
        assert!(directory.find(Space::Room, "r").is_none());
        assert_eq!(directory.room_count(), 0);
    }

    #[test]
    fn capacity_counts_the_members_of_all_shards() {
        let directory = Directory::new();
        directory.enter(Space::Room, "r", 0, 2).unwrap();
        let room = directory.enter(Space::Room, "r", 1, 2).unwrap();
        assert!(directory.enter(Space::Room, "r", 2, 2).is_none());
        assert!(!room.add_member(2));
        assert_eq!(room.members(), 2);
    }

    #[test]
    fn a_user_and_a_room_of_the_same_name_are_different() {
        let directory = Directory::new();
        directory.enter(Space::User, "alice", 0, 2).unwrap();
        assert!(directory.find(Space::Room, "alice").is_none());
        assert_eq!(directory.room_count(), 0);
    }

    #[test]
    fn an_announced_join_marks_its_shard_and_is_no_member() {
        let directory = Arc::new(Directory::new());
        let first = directory.announce(Space::Room, "r", 3);
        let second = directory.announce(Space::Room, "r", 3);
        let room = directory.find(Space::Room, "r").unwrap();
        assert_eq!((room.shards(), room.members()), (0b1000, 0));
        assert_eq!((directory.room_count(), directory.rooms().len()), (0, 0));
        drop(first);
        assert_eq!(room.shards(), 0b1000);
        drop(second);
        assert!(directory.is_empty());
    }

    #[test]
    fn the_last_member_leaves_the_mark_to_joins_that_are_announced() {
        let directory = Arc::new(Directory::new());
        let room = directory.enter(Space::Room, "r", 0, 1).unwrap();
        let announced = directory.announce(Space::Room, "r", 0);
        directory.exit(&room, 0);
        assert_eq!((room.shards(), room.members(), directory.room_count()), (1, 0, 0));
        // Who enters while others are announced finds the same room, and keeps it.
        let again = directory.enter(Space::Room, "r", 0, 1).unwrap();
        assert!(Arc::ptr_eq(&room, &again));
        drop(announced);
        assert_eq!((again.shards(), again.members(), directory.room_count()), (1, 1, 1));
        directory.exit(&again, 0);
        assert!(directory.is_empty());
    }

    #[test]
    fn a_join_that_was_announced_beside_members_leaves_their_mark_alone() {
        let directory = Arc::new(Directory::new());
        let room = directory.enter(Space::Room, "r", 1, 9).unwrap();
        drop(directory.announce(Space::Room, "r", 1));
        drop(directory.announce(Space::Room, "r", 2));
        assert_eq!(room.shards(), 0b10);
        directory.exit(&room, 1);
        assert!(directory.is_empty());
    }
}
