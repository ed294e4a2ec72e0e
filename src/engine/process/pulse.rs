//! What a shard says of itself once per turn, so that others can tell whether it is
//! well without asking it. Knows no clock: the time is what the shard was given.

use std::sync::atomic::{AtomicU64, Ordering};

/// One shard's, in cache lines of its own (two: the processor fetches them in pairs):
/// no other shard writes near it, and it is read only when someone asks.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Pulse {
    /// When the shard turned last, or when it is to turn next at the latest, if it
    /// waits: milliseconds since the engine's start.
    due_ms: AtomicU64,
    connections: AtomicU64,
}

impl Pulse {
    /// Of a shard that has not begun.
    pub(crate) fn new() -> Self {
        Self { due_ms: AtomicU64::new(u64::MAX), connections: AtomicU64::new(0) }
    }

    /// The shard: a turn begins now, or is to begin by then. `u64::MAX`: only when
    /// something happens.
    pub(crate) fn set_due(&self, due_ms: u64) {
        self.due_ms.store(due_ms, Ordering::Relaxed);
    }

    /// The shard: it has so many open connections. Whoever has seen an effect of that
    /// outside also finds the number here.
    pub(crate) fn set_connections(&self, connections: u64) {
        self.connections.store(connections, Ordering::Release);
    }

    /// For how long the shard should have turned and has not.
    pub(crate) fn overdue_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.due_ms.load(Ordering::Relaxed))
    }

    /// How many connections were open when it last said so.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_overdue_in_a_long_turn_or_a_wait_that_does_not_end_but_not_while_it_may_wait() {
        let pulse = Pulse::new();
        assert_eq!(pulse.overdue_ms(5000), 0);
        pulse.set_due(1000);
        assert_eq!(pulse.overdue_ms(1250), 250);
        pulse.set_due(8000);
        assert_eq!((pulse.overdue_ms(7999), pulse.overdue_ms(8001)), (0, 1));
        pulse.set_due(u64::MAX);
        assert_eq!(pulse.overdue_ms(u64::MAX - 1), 0);
    }
}
