//! Tells time in which the process stood still from time in which its shards waited or
//! worked. Reads no clock: what it says is an argument.

use std::time::Duration;

use crate::engine::{Limits, Now};

/// Time in which the process did not run: stopped, or paused with its machine. The
/// engine's clock leaves it out, so that all deadlines move by it.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    /// The clock at the beginning of the last turn.
    last_ms: u64,
    /// How long the present wait may take.
    asked_ms: Option<u64>,
    /// All such time so far.
    lost_ms: u64,
    /// How much of the last standstill counts as a wait, until that is told.
    waited: Duration,
}

impl Standstill {
    /// The time for the engine when the clock says `now`.
    pub(super) fn corrected(&mut self, now: Now) -> Now {
        let gap = now.since_start_ms.saturating_sub(self.last_ms);
        self.last_ms = now.since_start_ms;
        if let Some(asked) = self.asked_ms
            && gap.saturating_sub(asked) > Limits::STANDSTILL_MS
        {
            self.lost_ms += gap - asked;
            self.waited = Duration::from_millis(asked);
        }
        Now { since_start_ms: now.since_start_ms - self.lost_ms, ..now }
    }

    /// The clock at the beginning of the turn, this time included.
    pub(super) fn clock_ms(&self) -> u64 {
        self.last_ms
    }

    /// The shard is about to wait, so long at the most.
    pub(super) fn before_wait(&mut self, timeout: Option<Duration>) {
        self.asked_ms = timeout.map(|timeout| timeout.as_millis() as u64);
    }

    /// How much of a standstill since the last call counts as a wait.
    pub(super) fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}
