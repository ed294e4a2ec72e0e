//! Time as the engine knows it: an argument, in ticks. Reads no clock.

use std::time::Duration;

/// Time in ticks of [`TICK_MS`] since the engine's start. Wraps after two years
/// of uptime; compared by wrapping difference.
pub(crate) type Tick = u32;

/// Length of a tick: precise enough for time-outs of tens of milliseconds.
pub(crate) const TICK_MS: u64 = 16;

/// The longest time that two ticks can be told to lie apart.
const MAX_TICKS: u64 = (u32::MAX / 4) as u64;

/// `a` is not after `b`.
pub(crate) fn reached(a: Tick, b: Tick) -> bool {
    b.wrapping_sub(a) < u32::MAX / 2
}

/// A time-out in ticks, rounded up.
pub(crate) fn ticks(timeout: Duration) -> Tick {
    (timeout.as_millis() as u64).div_ceil(TICK_MS).min(MAX_TICKS) as Tick
}

/// The time of a turn, taken once by the shard and handed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the engine's start, by the monotonic clock.
    pub since_start_ms: u64,
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
}

impl Now {
    pub(crate) fn tick(self) -> Tick {
        (self.since_start_ms / TICK_MS) as Tick
    }

    /// The tick at which `timeout` is over for certain.
    pub(crate) fn tick_after(self, timeout: Duration) -> Tick {
        self.tick().wrapping_add(ticks(timeout) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_to_whole_ticks() {
        assert_eq!(ticks(Duration::from_millis(1)), 1);
        assert_eq!(ticks(Duration::from_millis(16)), 1);
        assert_eq!(ticks(Duration::from_millis(17)), 2);
    }
}
