//! Which rooms exist, how many members each has on all shards, and on which
//! shards those are: the one thing besides messages that shards share.
//!
//! A room's capacity and its member count are promises of the whole server, so
//! they cannot be kept by one shard. The directory is touched when a connection
//! joins or leaves; a publish in a room that has a member on the same shard
//! reads one word through an `Arc` that the shard already holds, and takes no
//! lock.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use hashbrown::HashMap;

/// What kind of audience a name names. Users, and everyone, are rooms that
/// clients cannot name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Space {
    Everyone,
    Room,
    User,
}

/// What all shards share of one room.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) space: Space,
    pub(crate) name: Arc<str>,
    /// Members on all shards.
    members: AtomicU32,
    /// One bit for each shard with a member.
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

    /// The shards with members, one bit each.
    pub(crate) fn shards(&self) -> u64 {
        // Acquire pairs with the release in `enter`: who learned of a join
        // through the joiner's own messages also sees its bit.
        self.shards.load(Ordering::Acquire)
    }

    /// Counts one more member if there is room for it.
    pub(crate) fn add_member(&self, most: usize) -> bool {
        self.members
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                ((count as usize) < most).then_some(count + 1)
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

/// How many locks the names are spread over: enough that shards which join at
/// the same moment seldom meet.
const STRIPES: usize = 64;

/// All rooms of the process.
#[derive(Debug)]
pub(crate) struct Directory {
    stripes: Box<[Mutex<Names>]>,
    hasher: foldhash::fast::RandomState,
    rooms: AtomicUsize,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(Names::default())).collect(),
            hasher: foldhash::fast::RandomState::default(),
            rooms: AtomicUsize::new(0),
        }
    }

    fn stripe(&self, space: Space, name: &str) -> MutexGuard<'_, Names> {
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
        most: usize,
    ) -> Option<Arc<Shared>> {
        let mut names = self.stripe(space, name);
        if let Some(shared) = names.get(&Key(space, name)) {
            if !shared.add_member(most) {
                return None;
            }
            shared.shards.fetch_or(1 << shard, Ordering::Release);
            return Some(Arc::clone(shared));
        }
        let name: Arc<str> = name.into();
        let shared = Arc::new(Shared {
            space,
            name: Arc::clone(&name),
            members: AtomicU32::new(1),
            shards: AtomicU64::new(1 << shard),
        });
        names.insert((space, name), Arc::clone(&shared));
        if space == Space::Room {
            self.rooms.fetch_add(1, Ordering::Relaxed);
        }
        Some(shared)
    }

    /// The last member on `shard` has gone: counts it, clears the shard's mark
    /// and forgets the room if no shard has members.
    pub(crate) fn exit(&self, shared: &Shared, shard: u8) {
        let mut names = self.stripe(shared.space, &shared.name);
        shared.remove_member();
        let left = shared.shards.fetch_and(!(1 << shard), Ordering::AcqRel) & !(1 << shard);
        if left == 0 && names.remove(&Key(shared.space, &shared.name)).is_some() {
            if shared.space == Space::Room {
                self.rooms.fetch_sub(1, Ordering::Relaxed);
            }
            if names.is_empty() {
                names.shrink_to_fit();
            }
        }
    }

    /// The room of that name, if it has a member anywhere.
    pub(crate) fn find(&self, space: Space, name: &str) -> Option<Arc<Shared>> {
        self.stripe(space, name).get(&Key(space, name)).map(Arc::clone)
    }

    /// How many rooms there are; users are not counted.
    pub(crate) fn room_count(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Every room with its number of members, in no order.
    pub(crate) fn rooms(&self) -> Vec<(Arc<str>, usize)> {
        let mut rooms = Vec::with_capacity(self.room_count());
        for stripe in &self.stripes {
            let names = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            let here = names.values().filter(|shared| shared.space == Space::Room);
            rooms.extend(here.map(|shared| (Arc::clone(&shared.name), shared.members())));
        }
        rooms
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
}
