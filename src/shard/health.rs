//! Whether the shards turn, told without asking them: a shard that hangs could not
//! answer.

use std::{sync::Arc, time::Duration};

use super::clock::{Clock, SystemClock};
use crate::engine::{Process, Pulse};

/// A shard that has not turned for so long is unhealthy. A turn takes milliseconds
/// and is bounded by work; a second means that a handler blocks, or that the machine
/// has no processor time to give.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// How the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Open connections, as each shard counted them in its last turn.
    pub connections: u64,
    /// Rooms that have members.
    pub rooms: usize,
    /// The shard that has not turned for longest, and for how long, if that is more
    /// than a second.
    pub stalled: Option<(usize, Duration)>,
}

/// Tells how an engine is; see [`Running::health_check`](super::Running::health_check).
#[derive(Clone, Debug)]
pub struct HealthCheck {
    process: Arc<Process>,
    clock: SystemClock,
}

impl HealthCheck {
    pub(super) fn new(process: Arc<Process>, clock: SystemClock) -> Self {
        Self { process, clock }
    }

    /// For how long a shard should have turned and has not. A shard that has nothing
    /// to do is never late.
    #[cfg(feature = "server")]
    pub(crate) fn overdue(&self, shard: usize) -> Duration {
        let now_ms = self.clock.now().since_start_ms;
        let pulse = self.process.pulses.get(shard);
        Duration::from_millis(pulse.map_or(0, |pulse| pulse.overdue_ms(now_ms)))
    }

    /// Looks. Never waits for a shard.
    pub fn check(&self) -> Health {
        let now_ms = self.clock.now().since_start_ms;
        let pulses = &self.process.pulses;
        let overdue = pulses.iter().map(|pulse| pulse.overdue_ms(now_ms)).enumerate();
        let longest = overdue.max_by_key(|(_, overdue_ms)| *overdue_ms);
        let longest = longest.map(|(shard, ms)| (shard, Duration::from_millis(ms)));
        Health {
            connections: pulses.iter().map(Pulse::connections).sum(),
            rooms: self.process.directory.room_count(),
            stalled: longest.filter(|(_, overdue)| *overdue > STALLED_AFTER),
        }
    }
}
