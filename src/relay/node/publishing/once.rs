//! Which keys were published in channels without history, so that a repeat is not
//! published again. Bounded in number and time.

use std::collections::VecDeque;

use super::super::{super::broker::Channel, map::Map, settings::ONCE_KEYS};
use crate::cluster::Receipt;

/// So many repeats wait to be told what became of the first.
const WAITING: usize = 16;

type Key = (Channel, Box<str>);

/// One key.
struct Known {
    at: u64,
    /// Whether the first still waits for the broker.
    is_held: bool,
    /// Repeats that came meanwhile.
    waiting: Vec<Receipt>,
}

pub(super) struct Once {
    window_ms: u64,
    known: Map<Key, Known>,
    /// When each was known, and some that are not known any more.
    order: VecDeque<(u64, Key)>,
}

/// Whether a publication is the first with its key.
pub(super) enum First {
    Yes,
    /// It is not; to be told so.
    Repeated(Option<Receipt>),
    /// It is not, and is told when the first has gone to the broker or was dropped.
    Waits,
}

impl Once {
    pub(super) fn new(window_ms: u64) -> Self {
        Self { window_ms, known: Map::default(), order: VecDeque::new() }
    }

    pub(super) fn first(
        &mut self,
        channel: &Channel,
        key: &str,
        receipt: Option<Receipt>,
        now: u64,
    ) -> First {
        self.forget_old(now);
        let key = (channel.clone(), key.into());
        if let Some(known) = self.known.get_mut(&key) {
            return match receipt {
                Some(receipt) if known.is_held && known.waiting.len() < WAITING => {
                    known.waiting.push(receipt);
                    First::Waits
                }
                receipt => First::Repeated(receipt),
            };
        }
        self.order.push_back((now, key.clone()));
        self.known.insert(key, Known { at: now, is_held: false, waiting: Vec::new() });
        while self.order.len() > ONCE_KEYS {
            self.forget_oldest();
        }
        First::Yes
    }

    pub(super) fn is_held(&mut self, channel: &Channel, key: &str) {
        if let Some(known) = self.known.get_mut(&(channel.clone(), key.into())) {
            known.is_held = true;
        }
    }

    /// The first has gone to the broker. Returns the repeats that waited.
    pub(super) fn is_sent(&mut self, channel: &Channel, key: &str) -> Vec<Receipt> {
        let key = (channel.clone(), key.into());
        let Some(known) = self.known.get_mut(&key) else { return Vec::new() };
        if known.is_held {
            // Its place in the order may be gone.
            known.is_held = false;
            self.order.push_back((known.at, key));
        }
        std::mem::take(&mut known.waiting)
    }

    /// The first was not published: the next one with its key is.
    pub(super) fn is_dropped(&mut self, channel: &Channel, key: &str) -> Vec<Receipt> {
        let known = self.known.remove(&(channel.clone(), key.into()));
        known.map_or_else(Vec::new, |known| known.waiting)
    }

    pub(super) fn forget_old(&mut self, now: u64) {
        let window_ms = self.window_ms;
        let is_old = |at: u64| at.saturating_add(window_ms) <= now;
        while self.order.front().is_some_and(|(at, _)| is_old(*at)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at, key)) = self.order.pop_front() else { return };
        // It may be known anew since. The repeats of one that is held are never told.
        if self.known.get(&key).is_some_and(|known| known.at == at && !known.is_held) {
            self.known.remove(&key);
        }
    }
}
