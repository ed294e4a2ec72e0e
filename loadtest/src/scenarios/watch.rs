//! When a scenario has come to its end: nothing moves any more, or nothing may come
//! after the last; and how fast things went until then.

use crate::client::{Swarm, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::STALL;
use anyhow::Result;
use std::time::Duration;

/// How long [`linger`] listens.
const LINGER: Duration = Duration::from_millis(300);

/// Notices when nothing moves any more.
#[derive(Debug)]
pub(super) struct Watch {
    seen: u64,
    since_ns: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { seen: 0, since_ns: now_ns() }
    }

    /// Says whether `count` has stood still for as long as a server may be
    /// silent.
    pub(super) fn is_stalled(&mut self, count: u64) -> bool {
        if count != self.seen {
            self.seen = count;
            self.since_ns = now_ns();
        }
        now_ns() - self.since_ns >= nanoseconds(STALL)
    }

    /// When to look again at the latest.
    pub(super) fn deadline_ns(&self) -> u64 {
        self.since_ns + nanoseconds(STALL)
    }
}

/// Listens for a moment after the last message that was due: one too many
/// comes after it.
pub(super) fn linger<T: Traffic>(swarm: &mut Swarm, traffic: &mut T) -> Result<()> {
    let end_ns = now_ns() + nanoseconds(LINGER);
    while now_ns() < end_ns {
        swarm.turn(end_ns, traffic)?;
    }
    Ok(())
}

/// Events per second.
pub(super) fn per_second(count: u64, wall_ns: u64) -> f64 {
    count as f64 * 1e9 / wall_ns.max(1) as f64
}
