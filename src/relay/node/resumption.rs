//! Which other nodes are to receive again before what waited for the broker is published.
//! Knows no message and no channel.

use std::collections::BTreeSet;

/// So long is waited for them, in milliseconds: the longest pause between two attempts to
/// connect (1 s), a heartbeat (250 ms), and as much for subscribing. Who comes back later
/// finds a gap.
const RESUME_MS: u64 = 1_500;

/// The time between the broker's return and that of the others.
#[derive(Debug, Default)]
pub(super) struct Resumption {
    awaited: BTreeSet<u64>,
    until: u64,
}

impl Resumption {
    /// The broker is there again. These nodes lived before it was away.
    pub(super) fn begin(&mut self, nodes: BTreeSet<u64>, now: u64) {
        self.awaited = nodes;
        self.until = now.saturating_add(RESUME_MS);
    }

    /// Nobody is waited for any longer.
    pub(super) fn end(&mut self) {
        self.awaited.clear();
    }

    /// Whether somebody is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// The node receives again. Returns whether it was the last that was waited for.
    pub(super) fn on_subscribed(&mut self, node: u64) -> bool {
        self.awaited.remove(&node) && self.awaited.is_empty()
    }

    /// Lets time pass. Returns whether it is over.
    pub(super) fn on_tick(&mut self, now: u64) -> bool {
        let is_over = self.is_waiting() && self.until <= now;
        if is_over {
            self.end();
        }
        is_over
    }

    /// When it is over at the latest.
    pub(super) fn next_tick(&self) -> u64 {
        if self.is_waiting() { self.until } else { u64::MAX }
    }
}
