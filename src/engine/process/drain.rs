//! The end of the engine, lossless in two steps: first no shard takes anything in,
//! so that nothing more is published and what was published is mailed; when every
//! shard has said so, connections are closed, a slice each turn.
//!
//! ```text
//! Serving ─ asked ─► Quiescing ─ all shards quiet, all mail taken ─► Closing ─ no slot left ─► Closed
//! ```
//!
//! A shard ends when all its connections have gone, or at the drain's deadline.
//!
//! Knows no connections: whoever closes them says how far that has come. Knows no
//! clock: the time is an argument.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// What the shards of a process tell each other of its drain.
#[derive(Debug, Default)]
pub(crate) struct DrainSignal {
    requested: AtomicBool,
    /// One bit for each shard that takes in nothing more and has sent all mail.
    quiet: AtomicU64,
}

impl DrainSignal {
    /// Nobody comes in any more, and all who are in are to go: each shard sees it
    /// at its next turn.
    pub(crate) fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether [`DrainSignal::request`] was called.
    pub(crate) fn is_requested(&self) -> bool {
        // Acquire: what was sent to the shards before that is seen with it.
        self.requested.load(Ordering::Acquire)
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

/// The end of the engine on one shard: how far it has come, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    step: Step,
    /// When it is over whatever is left, by the process's clock; never while serving.
    deadline_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Serving,
    /// Nothing more is taken in; waiting for the other shards to say the same.
    Quiescing,
    /// Connections are being closed: those below this slot have been.
    Closing(u32),
    /// Every connection has been told.
    Closed,
}

impl Default for Drain {
    fn default() -> Self {
        Self { step: Step::Serving, deadline_ms: u64::MAX }
    }
}

impl Drain {
    /// Whether a drain has begun.
    pub(crate) fn has_begun(self) -> bool {
        self.step != Step::Serving
    }

    /// Whether nothing more is taken in, and no connection is being closed yet.
    pub(crate) fn is_quiescing(self) -> bool {
        self.step == Step::Quiescing
    }

    /// Whether connections are being closed, or have been.
    pub(crate) fn is_closing(self) -> bool {
        matches!(self.step, Step::Closing(_) | Step::Closed)
    }

    /// The first slot whose connection has not been closed, while connections are being
    /// closed.
    pub(crate) fn next_to_close(self) -> Option<u32> {
        match self.step {
            Step::Closing(slot) => Some(slot),
            Step::Serving | Step::Quiescing | Step::Closed => None,
        }
    }

    /// How long it may still take at `now_ms`.
    pub(crate) fn time_left(self, now_ms: u64) -> Duration {
        Duration::from_millis(self.deadline_ms.saturating_sub(now_ms))
    }

    /// Whether no client is read: a message of an open connection would still be
    /// handled.
    pub(crate) fn holds_clients(self) -> bool {
        matches!(self.step, Step::Quiescing | Step::Closing(_))
    }

    /// First step, if a drain is asked for: from `now_ms` on it may take `timeout`.
    /// Returns whether it begins now.
    pub(crate) fn begin(&mut self, signal: &DrainSignal, now_ms: u64, timeout: Duration) -> bool {
        let begins = !self.has_begun() && signal.is_requested();
        if begins {
            let deadline_ms = now_ms.saturating_add(timeout.as_millis() as u64);
            *self = Self { step: Step::Quiescing, deadline_ms };
        }
        begins
    }

    /// Second step.
    pub(crate) fn begin_closing(&mut self) {
        if !self.is_closing() {
            self.step = Step::Closing(0);
        }
    }

    /// Connections below `slot` have been closed; there is none at `end` or above.
    pub(crate) fn closed_below(&mut self, slot: u32, end: u32) {
        self.step = if slot >= end { Step::Closed } else { Step::Closing(slot) };
    }

    /// Whether a turn has something to do for it: a drain is asked for, or every shard
    /// is quiet.
    pub(crate) fn has_step(self, signal: &DrainSignal, all_shards: u64) -> bool {
        match self.step {
            Step::Serving => signal.is_requested(),
            Step::Quiescing => signal.quiet_shards() == all_shards,
            Step::Closing(_) | Step::Closed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_closes_nothing_before_all_are_quiet() {
        let (signal, mut drain) = (DrainSignal::default(), Drain::default());
        let begin = |drain: &mut Drain| drain.begin(&signal, 0, Duration::ZERO);
        assert!(!begin(&mut drain) && !drain.holds_clients());
        signal.request();
        assert!(drain.has_step(&signal, 0b11) && begin(&mut drain) && !begin(&mut drain));
        assert!(signal.quiesce(0) && !signal.quiesce(0));
        assert!(drain.holds_clients() && !drain.is_closing() && !drain.has_step(&signal, 0b11));
        signal.quiesce(1);
        assert!(drain.has_step(&signal, 0b11));
        drain.begin_closing();
        assert!(drain.is_closing() && drain.holds_clients());
        drain.closed_below(5, 7);
        assert_eq!(drain.next_to_close(), Some(5));
        drain.closed_below(7, 7);
        assert!(drain.is_closing() && !drain.holds_clients());
    }

    #[test]
    fn a_drain_may_take_its_time_out_from_when_it_begins() {
        let (signal, mut drain) = (DrainSignal::default(), Drain::default());
        assert!(drain.time_left(1000) > Duration::from_secs(1_000_000));
        signal.request();
        drain.begin(&signal, 5000, Duration::from_secs(2));
        drain.begin(&signal, 6000, Duration::from_secs(2));
        drain.begin_closing();
        assert_eq!(drain.time_left(6000), Duration::from_secs(1));
        assert_eq!(drain.time_left(8000), Duration::ZERO);
    }
}
