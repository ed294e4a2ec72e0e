//! Where the time of a turn comes from. The one place that reads the machine's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::engine::Now;

/// Where the time of a turn comes from.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Now;
}

/// The clocks of the machine, counted from the engine's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { since_start_ms: self.start.elapsed().as_millis() as u64, unix_ms: unix_ms() }
    }
}

/// Milliseconds of Unix time.
pub(crate) fn unix_ms() -> u64 {
    // Before 1970 only if the machine's clock was never set.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
