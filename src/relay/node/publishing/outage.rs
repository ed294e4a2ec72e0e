//! What waits for the broker, in order, within bounds of bytes and age. Knows not when it
//! may go.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    super::super::{broker::Channel, wire::Number},
    appends::Append,
};
use crate::cluster::Receipt;

/// What is to be published.
pub(in super::super) enum Item {
    /// In a channel that is numbered.
    Plain {
        channel: Channel,
        message: Bytes,
        /// Of a publication, which may go with others in one message.
        number: Option<Number>,
        receipt: Option<Receipt>,
        once: Option<Box<str>>,
    },
    /// In a room with history.
    Append(Append),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Plain { message, .. } => message.len(),
            Self::Append(append) => append.message.len(),
        }
    }

    fn is_for_a_node(&self) -> bool {
        matches!(self, Self::Plain { channel: Channel::Node(_), .. })
    }
}

/// What waits.
pub(super) struct Held {
    pub(super) item: Item,
    /// Its place among all that was published.
    pub(super) order: u64,
    /// When it was, in milliseconds.
    pub(super) at: u64,
}

/// All of it.
pub(super) struct Outage {
    bytes_max: usize,
    age_max_ms: u64,
    /// In the order of `Held::order`.
    held: VecDeque<Held>,
    /// What it takes.
    bytes: usize,
    /// How many of it are for one node.
    for_nodes: usize,
}

impl Held {
    fn bytes(&self) -> usize {
        self.item.bytes() + size_of::<Self>()
    }
}

impl Outage {
    pub(super) fn new(bytes_max: usize, age_max_ms: u64) -> Self {
        Self { bytes_max, age_max_ms, held: VecDeque::new(), bytes: 0, for_nodes: 0 }
    }

    /// How many wait, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.held.len(), self.bytes)
    }

    /// Keeps what was published: in its place, which most often is the last.
    pub(super) fn insert(&mut self, held: Held) {
        self.bytes += held.bytes();
        self.for_nodes += usize::from(held.item.is_for_a_node());
        let place = match self.held.back() {
            Some(last) if last.order > held.order => {
                self.held.partition_point(|other| other.order < held.order)
            }
            _ => self.held.len(),
        };
        self.held.insert(place, held);
    }

    /// Takes out those of which `may_go` says so, in order.
    pub(super) fn release(&mut self, may_go: impl Fn(&Item) -> bool) -> Vec<Held> {
        let all = std::mem::take(&mut self.held).into_iter();
        let (going, staying): (Vec<Held>, Vec<Held>) = all.partition(|held| may_go(&held.item));
        self.held = staying.into();
        for held in &going {
            self.is_gone(held);
        }
        going
    }

    /// Whether the oldest is beyond the bounds.
    pub(super) fn has_excess(&self, now: u64) -> bool {
        self.held.front().is_some_and(|oldest| {
            self.bytes > self.bytes_max || oldest.at.saturating_add(self.age_max_ms) < now
        })
    }

    /// Takes out the oldest if it is beyond the bounds.
    pub(super) fn pop_excess(&mut self, now: u64) -> Option<Held> {
        let oldest = if self.has_excess(now) { self.held.pop_front() } else { None }?;
        self.is_gone(&oldest);
        Some(oldest)
    }

    fn is_gone(&mut self, held: &Held) {
        self.bytes -= held.bytes();
        self.for_nodes -= usize::from(held.item.is_for_a_node());
    }

    /// Whether something with a number waits that is for one node.
    pub(super) fn has_some_for_nodes(&self) -> bool {
        self.for_nodes > 0
    }

    /// When the oldest will be too old.
    pub(super) fn next_tick(&self) -> u64 {
        let oldest = self.held.front();
        let drop_at = oldest.map_or(u64::MAX, |held| held.at.saturating_add(self.age_max_ms));
        drop_at.saturating_add(1)
    }
}
