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
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::shared_room::SharedRoom;
use crate::{
    cluster::ToRelay,
    engine::types::{
        audience::{Space, Target},
        relaying::{RelayPort, RoomTraits},
    },
};

mod stripe;

use stripe::Stripe;

/// How many locks the names are spread over: enough that shards which join at
/// the same moment seldom meet.
const STRIPES: usize = 64;

/// All rooms of the process.
pub(crate) struct Directory {
    stripes: Box<[Mutex<Stripe>]>,
    hasher: foldhash::fast::RandomState,
    /// Rooms with members.
    rooms: AtomicUsize,
    /// Who is told which rooms and users have members here.
    relay: Option<Arc<dyn RelayPort>>,
}

impl Directory {
    pub(crate) fn new(relay: Option<Arc<dyn RelayPort>>) -> Self {
        Self {
            relay,
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
    ) -> Option<Arc<SharedRoom>> {
        debug_assert!(max > 0);
        let mut stripe = self.stripe(space, name);
        let shared = self.find_or_make(&mut stripe, space, name);
        // The first member of all comes, and the last goes, under this lock.
        let is_first = shared.members() == 0;
        if !shared.add_member(max) {
            return None;
        }
        stripe.enter(&shared, shard);
        if is_first && space == Space::Room {
            self.rooms.fetch_add(1, Ordering::Relaxed);
        }
        Some(shared)
    }

    /// The last member on `shard` has gone: counts it, clears the shard's mark
    /// unless joins are on their way there, and forgets the room if no shard is
    /// marked.
    pub(crate) fn exit(&self, shared: &SharedRoom, shard: u8) {
        let mut stripe = self.stripe(shared.space, &shared.name);
        shared.remove_member();
        if shared.members() == 0 && shared.space == Space::Room {
            self.rooms.fetch_sub(1, Ordering::Relaxed);
        }
        if stripe.exit(shared, shard) {
            self.tell_relay(shared, false);
        }
    }

    /// A join is on its way to `shard`: makes the room if need be and marks the
    /// shard until the join was carried out or refused, that is until the returned
    /// value is dropped.
    pub(crate) fn announce(self: &Arc<Self>, space: Space, name: &str, shard: u8) -> AnnouncedJoin {
        let mut stripe = self.stripe(space, name);
        let shared = self.find_or_make(&mut stripe, space, name);
        stripe.announce(&shared, shard);
        drop(stripe);
        AnnouncedJoin { directory: Arc::clone(self), shared, shard }
    }

    /// The room of that name; the relay is told of one that is new.
    fn find_or_make(&self, stripe: &mut Stripe, space: Space, name: &str) -> Arc<SharedRoom> {
        let traits = || self.traits_of(space, name);
        stripe.find_or_make(space, name, traits, |made| self.tell_relay(made, true))
    }

    /// Tells the relay, in the order in which they come and go, of a room or user that has
    /// its first member here, or a join on its way, or has none any more.
    fn tell_relay(&self, shared: &SharedRoom, is_wanted: bool) {
        let Some(relay) = &self.relay else { return };
        let audience = Target::named(shared.space, &shared.name).to_audience();
        relay.put(if is_wanted { ToRelay::Wanted(audience) } else { ToRelay::Unwanted(audience) });
    }

    fn traits_of(&self, space: Space, name: &str) -> RoomTraits {
        match &self.relay {
            Some(relay) if space == Space::Room => relay.traits_of(name),
            _ => RoomTraits::default(),
        }
    }

    /// The room of that name, if it has a member anywhere or a join announced.
    pub(crate) fn find(&self, space: Space, name: &str) -> Option<Arc<SharedRoom>> {
        self.stripe(space, name).find(space, name)
    }

    /// Whether it knows no name.
    pub(crate) fn is_empty(&self) -> bool {
        let stripes = self.stripes.iter();
        let mut stripes = stripes.map(|one| one.lock().unwrap_or_else(PoisonError::into_inner));
        self.room_count() == 0 && stripes.all(|stripe| stripe.is_empty())
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
            let here =
                stripe.all().filter(|shared| shared.space == Space::Room && shared.members() > 0);
            rooms.extend(here.map(|shared| (Arc::clone(&shared.name), shared.members())));
        }
        rooms
    }
}

/// A join that is on its way to a shard. Whatever becomes of it, dropping this ends
/// the announcement; a join that is carried out must come before that.
#[derive(Debug)]
pub(crate) struct AnnouncedJoin {
    directory: Arc<Directory>,
    shared: Arc<SharedRoom>,
    shard: u8,
}

impl AnnouncedJoin {
    /// The room to be joined.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }
}

impl Drop for AnnouncedJoin {
    fn drop(&mut self) {
        let Self { directory, shared, shard } = self;
        let mut stripe = directory.stripe(shared.space, &shared.name);
        if stripe.conclude(shared, *shard) {
            directory.tell_relay(shared, false);
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("rooms", &self.room_count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
