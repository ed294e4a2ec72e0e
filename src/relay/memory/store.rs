//! What a broker keeps: histories of rooms, and who is present where. No channels, no
//! subscribers, no clock. The reference for every other broker.

mod presence;
mod rooms;

use std::sync::Arc;

use bytes::Bytes;

use super::super::broker::{BrokerError, History, HistoryLimits};
use crate::{
    cluster::{Position, Presence},
    id::ClientId,
};

use self::{presence::PresentRooms, rooms::Rooms};

pub use self::rooms::Stored;

/// Histories and presence, with `now` in milliseconds as an argument.
///
/// ```
/// use shardcast::relay::{broker::HistoryLimits, memory::Store};
/// let mut store = Store::new(7);
/// let limits = HistoryLimits { count: 2, age_ms: 60_000 };
/// let room = "lobby".into();
/// for text in ["a", "b", "c"] {
///     store.append(&room, text.into(), limits, None, 0).unwrap();
/// }
/// let history = store.read(&room, 0, 10, limits, 0);
/// assert_eq!((history.first, history.last.offset), (2, 3));
/// ```
pub struct Store {
    rooms: Rooms,
    present: PresentRooms,
}

impl Store {
    /// The most that all histories keep together by default, in bytes: 256 MiB.
    pub const MAX_BYTES: usize = 256 << 20;

    /// Nothing yet. Epochs are made from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { rooms: Rooms::new(seed, Self::MAX_BYTES), present: PresentRooms::default() }
    }

    /// Appends to a room's history. Returns the place, and whether the same key was
    /// appended before, in which case nothing is appended now.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if all histories together are too large.
    pub fn append(
        &mut self,
        room: &Arc<str>,
        message: Bytes,
        limits: HistoryLimits,
        once: Option<(&str, u64)>,
        now: u64,
    ) -> Result<(Position, bool), BrokerError> {
        self.rooms.append(room, message, limits, once, now)
    }

    /// What is kept of a room behind an offset.
    pub fn read(
        &mut self,
        room: &Arc<str>,
        after: u64,
        count: u64,
        limits: HistoryLimits,
        now: u64,
    ) -> History {
        self.rooms.read(room, after, count, limits, now)
    }

    /// Puts back what was kept before a restart.
    pub fn restore(&mut self, room: &Arc<str>, stored: Stored) {
        self.rooms.restore(room, stored);
    }

    /// Everything that is kept, by room, each oldest first.
    pub fn stored(&self) -> impl Iterator<Item = (&Arc<str>, Stored)> {
        self.rooms.stored()
    }

    /// Bytes of all histories.
    pub fn bytes(&self) -> usize {
        self.rooms.bytes()
    }

    /// A connection is present for so long. Returns whether its key was not before.
    pub fn enter(&mut self, room: &Arc<str>, who: Presence, ttl_ms: u64, now: u64) -> bool {
        self.present.enter(room, who, now.saturating_add(ttl_ms))
    }

    /// A connection is present no more. Returns whether it was the last with its key.
    pub fn leave(&mut self, room: &str, who: &Presence) -> bool {
        self.present.leave(room, &who.key(), who.client)
    }

    /// Removes those whose time is over. Returns those who were the last with their key.
    pub fn expire(&mut self, room: &str, now: u64) -> Vec<Presence> {
        self.present.expire(room, now)
    }

    /// Who is present, one for each key.
    pub fn list(&self, room: &str, now: u64) -> Vec<Presence> {
        self.present.list(room, now)
    }

    /// Who is present with a key.
    pub fn is_present(&self, room: &str, client: ClientId) -> bool {
        self.present.has(room, client)
    }
}
