//! The end of the engine, lossless in two steps: first no shard takes anything in,
//! so that nothing more is published and what was published is mailed; when every
//! shard has said so, connections are closed, a slice each turn.
//!
//! ```text
//! Serving ─ asked ─► Quiescing ─ all shards quiet, all mail taken ─► Closing ─ no slot left ─► Closed
//! ```
//!
//! Knows no connections: whoever closes them says how far that has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the shards of a process tell each other of its drain.
#[derive(Debug, Default)]
pub(crate) struct DrainSignal {
    asked: AtomicBool,
    /// One bit for each shard that takes in nothing more and has sent all mail.
    quiet: AtomicU64,
}

impl DrainSignal {
    /// Nobody comes in any more, and all who are in are to go: each shard sees it
    /// at its next turn.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Whether [`DrainSignal::ask`] was called.
    pub(crate) fn is_asked(&self) -> bool {
        // Acquire: what was sent to the shards before that is seen with it.
        self.asked.load(Ordering::Acquire)
    }

    /// The shard takes in nothing more from clients, and its mail to the others
    /// is in their mailboxes. Returns whether it had not said so before.
    pub(crate) fn quiesce(&self, shard: u8) -> bool {
        self.quiet.fetch_or(1 << shard, Ordering::SeqCst) >> shard & 1 == 0
    }

    /// The shards that have said so, one bit each. Whoever sees them all finds all
    /// mail in its mailbox.
    pub(crate) fn quiet_shards(&self) -> u64 {
        self.quiet.load(Ordering::Acquire)
    }
}

/// How far the end of the engine has come on one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drain {
    #[default]
    Serving,
    /// Nothing more is taken in; waiting for the other shards to say the same.
    Quiescing,
    /// Connections are being closed: those below this slot have been.
    Closing(u32),
    /// Every connection has been told.
    Closed,
}

impl Drain {
    /// Whether a drain has begun.
    pub(crate) fn has_begun(self) -> bool {
        self != Self::Serving
    }

    /// Whether connections are being closed, or have been.
    pub(crate) fn is_closing(self) -> bool {
        matches!(self, Self::Closing(_) | Self::Closed)
    }

    /// Whether no client is heard: an open connection's message would still be taken
    /// for one.
    pub(crate) fn holds_clients(self) -> bool {
        matches!(self, Self::Quiescing | Self::Closing(_))
    }

    /// First step, if a drain is asked for. Returns whether that is now.
    pub(crate) fn begin(&mut self, signal: &DrainSignal) -> bool {
        let begins = *self == Self::Serving && signal.is_asked();
        if begins {
            *self = Self::Quiescing;
        }
        begins
    }

    /// Second step.
    pub(crate) fn begin_closing(&mut self) {
        if !self.is_closing() {
            *self = Self::Closing(0);
        }
    }

    /// Connections below `slot` have been closed; there is none at `end` or above.
    pub(crate) fn closed_below(&mut self, slot: u32, end: u32) {
        *self = if slot >= end { Self::Closed } else { Self::Closing(slot) };
    }

    /// Whether a turn has something to do for it: a drain is asked for, or every shard
    /// is quiet.
    pub(crate) fn has_step(self, signal: &DrainSignal, all_shards: u64) -> bool {
        match self {
            Self::Serving => signal.is_asked(),
            Self::Quiescing => signal.quiet_shards() == all_shards,
            Self::Closing(_) | Self::Closed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_closes_nothing_before_all_are_quiet() {
        let (signal, mut drain) = (DrainSignal::default(), Drain::default());
        assert!(!drain.begin(&signal) && !drain.holds_clients());
        signal.ask();
        assert!(drain.has_step(&signal, 0b11) && drain.begin(&signal) && !drain.begin(&signal));
        assert!(signal.quiesce(0) && !signal.quiesce(0));
        assert!(drain.holds_clients() && !drain.is_closing() && !drain.has_step(&signal, 0b11));
        signal.quiesce(1);
        assert!(drain.has_step(&signal, 0b11));
        drain.begin_closing();
        assert!(drain.is_closing() && drain.holds_clients());
        drain.closed_below(5, 7);
        assert_eq!(drain, Drain::Closing(5));
        drain.closed_below(7, 7);
        assert!(drain.is_closing() && !drain.holds_clients());
    }
}
