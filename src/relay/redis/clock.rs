//! The relay's clock, read once per turn of its thread. Everything below gets the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds that begin at Unix time and never go back, whatever is done to the
/// system's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_ms: u64,
}

impl Default for Clock {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_ms: since.as_millis() as u64 }
    }
}

impl Clock {
    /// The time, in milliseconds.
    pub fn now(&self) -> u64 {
        self.start_ms + self.start.elapsed().as_millis() as u64
    }

    /// When it will be `time`.
    pub fn at(&self, time: u64) -> Instant {
        self.start + Duration::from_millis(time.saturating_sub(self.start_ms))
    }
}
