//! How far this node has counted in each channel, and what of it the next heartbeat has to
//! announce. Knows nothing of what others have counted.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
};

use super::{
    super::{
        broker::Channel,
        wire::{Announcement, Number, Numbered},
    },
    map::Map,
    settings::{NUMBERING_MS, NUMBERINGS},
};
use crate::publication::Position;

/// So many announcements, and bytes, are in one heartbeat.
const ANNOUNCEMENTS: usize = 2_048;
const ANNOUNCEMENT_BYTES: usize = 128 << 10;

/// One channel. `first <= before + 1 <= last + 1`.
struct Numbering {
    first: u64,
    first_at: u64,
    before: u64,
    /// When the number behind `before` was given.
    next_at: u64,
    last: u64,
    last_at: u64,
    /// Whether it is in `Numberings::unannounced`.
    is_listed: bool,
}

/// The numbers of all channels in which this node publishes.
#[derive(Default)]
pub(super) struct Numberings {
    channels: Map<Channel, Numbering>,
    /// The highest number of any: a numbering that begins anew begins above it, so that
    /// none of its numbers was given before.
    highest: u64,
    unannounced: VecDeque<Channel>,
    /// Each channel once, with a time before which it is not looked at.
    quiet: VecDeque<(u64, Channel)>,
    /// How far histories had come when, as far as this node knows.
    stored: BTreeMap<Arc<str>, (Position, u64)>,
    /// Which of these are to be announced.
    unannounced_stored: BTreeSet<Arc<str>>,
}

impl Numberings {
    /// The number of the next message in a channel.
    pub(super) fn next(&mut self, channel: &Channel, now: u64) -> Number {
        if !self.channels.contains_key(channel) {
            self.begin(channel, now);
        }
        let Some(numbering) = self.channels.get_mut(channel) else { return Number::default() };
        if numbering.last == numbering.before {
            numbering.next_at = now;
        }
        numbering.last += 1;
        numbering.last_at = now;
        self.highest = self.highest.max(numbering.last);
        if !mem::replace(&mut numbering.is_listed, true) {
            self.unannounced.push_back(channel.clone());
        }
        Number { sequence: numbering.last, since_first: numbering.last - numbering.first }
    }

    fn begin(&mut self, channel: &Channel, now: u64) {
        while self.channels.len() >= NUMBERINGS && self.forget_one(u64::MAX) {}
        let first = self.highest + 1;
        let numbering = Numbering {
            first,
            first_at: now,
            before: first - 1,
            next_at: now,
            last: first - 1,
            last_at: now,
            is_listed: false,
        };
        self.channels.insert(channel.clone(), numbering);
        self.quiet.push_back((now, channel.clone()));
    }

    /// Forgets the first channel of the queue if nothing has been published there since
    /// `until`. Returns whether there may be another one to forget.
    fn forget_one(&mut self, until: u64) -> bool {
        let Some((looked_at, channel)) = self.quiet.pop_front() else { return false };
        let Some(numbering) = self.channels.get(&channel) else { return true };
        if until != u64::MAX && numbering.last_at > until {
            let (at, is_due) = (numbering.last_at, looked_at <= until);
            self.quiet.push_back((at, channel));
            return is_due;
        }
        self.channels.remove(&channel);
        true
    }

    /// The history of a room has come so far.
    pub(super) fn stored(&mut self, room: &Arc<str>, position: Position, now: u64) {
        if self.stored.len() < NUMBERINGS || self.stored.contains_key(room) {
            self.stored.insert(room.clone(), (position, now));
            self.unannounced_stored.insert(room.clone());
        }
    }

    /// Everything that is known is to be announced again.
    pub(super) fn announce_all(&mut self, now: u64) {
        self.stored.retain(|_, (_, at)| at.saturating_add(NUMBERING_MS) > now);
        self.unannounced_stored = self.stored.keys().cloned().collect();
        let mut all: Vec<&Channel> = Vec::new();
        for (channel, numbering) in &mut self.channels {
            if !mem::replace(&mut numbering.is_listed, true) {
                all.push(channel);
            }
        }
        all.sort();
        self.unannounced.extend(all.into_iter().cloned());
    }

    /// What the next heartbeat announces: numbers only if all that have one were published.
    pub(super) fn announcements(&mut self, is_numbered: bool, now: u64) -> Vec<Announcement> {
        if let Some(until) = now.checked_sub(NUMBERING_MS) {
            while self.quiet.front().is_some_and(|(at, _)| *at <= until) && self.forget_one(until) {
            }
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        while found.len() < ANNOUNCEMENTS && bytes < ANNOUNCEMENT_BYTES {
            let numbered = |this: &mut Self| is_numbered.then(|| this.numbered(now)).flatten();
            let Some(announcement) = self.position().or_else(|| numbered(self)) else { break };
            bytes += announcement.wire_bytes();
            found.push(announcement);
        }
        found
    }

    fn position(&mut self) -> Option<Announcement> {
        loop {
            let room = self.unannounced_stored.pop_first()?;
            if let Some((position, _)) = self.stored.get(&room) {
                return Some(Announcement::Stored(room, *position));
            }
        }
    }

    fn numbered(&mut self, now: u64) -> Option<Announcement> {
        loop {
            let channel = self.unannounced.pop_front()?;
            // What has been forgotten meanwhile is not announced.
            let Some(numbering) = self.channels.get_mut(&channel) else { continue };
            numbering.is_listed = false;
            let numbered = Numbered {
                first: numbering.first,
                first_age_ms: now.saturating_sub(numbering.first_at),
                before: numbering.before,
                next_age_ms: now.saturating_sub(numbering.next_at),
                last: numbering.last,
                last_age_ms: now.saturating_sub(numbering.last_at),
            };
            numbering.before = numbering.last;
            return Some(Announcement::Numbered(channel, numbered));
        }
    }
}
