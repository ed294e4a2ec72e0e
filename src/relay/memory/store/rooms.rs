//! Histories: bounded by count and age, each in an epoch of its own. Keeps no more than
//! a number of bytes in all.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::super::super::broker::{BrokerError, History, HistoryLimits};
use crate::cluster::Position;

/// So many keys of one room are known at the most; the oldest are forgotten first.
const KEYS: usize = 65_536;
/// After so many appends it is looked for histories that nobody uses.
const SWEEP_EVERY: u64 = 4_096;
/// What an entry keeps beside its message.
const ENTRY_BYTES: usize = 64;

/// A publication that is kept, as it is written to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub position: Position,
    /// When it was appended, in milliseconds.
    pub at_ms: u64,
    /// How much of the room is kept.
    pub limits: HistoryLimits,
    /// What; `None` if only the place is known.
    pub message: Option<Bytes>,
}

/// One room. Its entries are consecutive and end at `last`.
struct Room {
    epoch: u64,
    last: u64,
    limits: HistoryLimits,
    used_at: u64,
    entries: VecDeque<(u64, u64, Bytes)>,
    keys: BTreeMap<Box<str>, (u64, u64)>,
    key_order: VecDeque<(u64, Box<str>)>,
}

pub(super) struct Rooms {
    by_name: BTreeMap<Arc<str>, Room>,
    seed: u64,
    bytes: usize,
    max_bytes: usize,
    appends: u64,
}

fn kept_bytes(message: &Bytes) -> usize {
    message.len() + ENTRY_BYTES
}

impl Room {
    fn position(&self, offset: u64) -> Position {
        Position { epoch: self.epoch, offset }
    }

    /// Forgets what is too much or too old. Returns how many bytes that were.
    fn trim(&mut self, now: u64) -> usize {
        let mut freed = 0;
        while let Some((_, at, message)) = self.entries.front() {
            let is_old = at.saturating_add(self.limits.age_ms) <= now;
            if !is_old && self.entries.len() as u64 <= self.limits.count {
                break;
            }
            freed += kept_bytes(message);
            self.entries.pop_front();
        }
        while self.key_order.len() > KEYS
            || self.key_order.front().is_some_and(|(until, _)| *until <= now)
        {
            let Some((until, key)) = self.key_order.pop_front() else { break };
            if self.keys.get(&key).is_some_and(|known| known.1 <= until) {
                self.keys.remove(&key);
            }
        }
        freed
    }
}

/// A number that differs for each input.
fn scramble(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

impl Rooms {
    pub(super) fn new(seed: u64, max_bytes: usize) -> Self {
        Self { by_name: BTreeMap::new(), seed, bytes: 0, max_bytes, appends: 0 }
    }

    fn room(&mut self, room: &Arc<str>, limits: HistoryLimits, now: u64) -> &mut Room {
        if !self.by_name.contains_key(room) {
            self.seed = self.seed.wrapping_add(1);
        }
        let epoch = scramble(self.seed);
        let found = self.by_name.entry(room.clone()).or_insert_with(|| Room {
            epoch,
            last: 0,
            limits,
            used_at: now,
            entries: VecDeque::new(),
            keys: BTreeMap::new(),
            key_order: VecDeque::new(),
        });
        found.limits = HistoryLimits { count: limits.count.max(1), ..limits };
        found.used_at = now;
        self.bytes -= found.trim(now);
        found
    }

    pub(super) fn append(
        &mut self,
        room: &Arc<str>,
        message: Bytes,
        limits: HistoryLimits,
        once: Option<(&str, u64)>,
        now: u64,
    ) -> Result<(Position, bool), BrokerError> {
        self.appends += 1;
        if self.appends.is_multiple_of(SWEEP_EVERY) {
            self.sweep(now);
        }
        let (bytes, is_full) = (kept_bytes(&message), self.bytes >= self.max_bytes);
        let found = self.room(room, limits, now);
        let known = once.and_then(|(key, _)| found.keys.get(key)).filter(|known| known.1 > now);
        if let Some((offset, _)) = known {
            return Ok((found.position(*offset), true));
        }
        if is_full {
            return Err(BrokerError::Refused("the histories are full".to_owned()));
        }
        found.last += 1;
        found.entries.push_back((found.last, now, message));
        if let Some((key, window_ms)) = once {
            let until = now.saturating_add(window_ms);
            found.keys.insert(key.into(), (found.last, until));
            found.key_order.push_back((until, key.into()));
        }
        let freed = found.trim(now);
        let position = found.position(found.last);
        self.bytes = self.bytes + bytes - freed;
        Ok((position, false))
    }

    pub(super) fn read(
        &mut self,
        room: &Arc<str>,
        after: u64,
        count: u64,
        limits: HistoryLimits,
        now: u64,
    ) -> History {
        let found = self.room(room, limits, now);
        let first = found.entries.front().map_or(found.last + 1, |(offset, ..)| *offset);
        let skipped = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let entries = found.entries.iter().skip(skipped).take(count);
        let entries = entries.map(|(offset, _, message)| (*offset, message.clone())).collect();
        History { last: found.position(found.last), first, entries }
    }

    /// Forgets rooms that keep nothing and were not used for as long as they keep anything.
    fn sweep(&mut self, now: u64) {
        let bytes = &mut self.bytes;
        self.by_name.retain(|_, room| {
            *bytes -= room.trim(now);
            let is_used = room.used_at.saturating_add(room.limits.age_ms) > now;
            is_used || !room.entries.is_empty() || !room.keys.is_empty()
        });
    }

    pub(super) fn restore(&mut self, room: &Arc<str>, stored: Stored) {
        let Stored { position, at_ms, limits, message } = stored;
        let found = self.room(room, limits, at_ms);
        let follows = found.epoch == position.epoch && found.last + 1 == position.offset;
        if !follows {
            let freed: usize = found.entries.drain(..).map(|(.., old)| kept_bytes(&old)).sum();
            found.epoch = position.epoch;
            self.bytes -= freed;
        }
        let Some(found) = self.by_name.get_mut(room) else { return };
        found.last = position.offset;
        if let Some(message) = message {
            self.bytes += kept_bytes(&message);
            found.entries.push_back((position.offset, at_ms, message));
            self.bytes -= found.trim(at_ms);
        }
    }

    pub(super) fn stored(&self) -> impl Iterator<Item = (&Arc<str>, Stored)> {
        self.by_name.iter().flat_map(|(name, room)| {
            let place = room.entries.is_empty().then(|| Stored {
                position: room.position(room.last),
                at_ms: room.used_at,
                limits: room.limits,
                message: None,
            });
            let entries = room.entries.iter().map(|(offset, at, message)| Stored {
                position: room.position(*offset),
                at_ms: *at,
                limits: room.limits,
                message: Some(message.clone()),
            });
            place.into_iter().chain(entries).map(move |stored| (name, stored))
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
