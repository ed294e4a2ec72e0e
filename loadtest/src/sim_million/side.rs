//! What both sides are told and what they tell. Knows neither the engine nor the
//! simulated driver.

use crate::measure::resident;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Members of a room that is not the room of all.
pub(super) const ROOM: usize = 1_000;

/// Connections of one shard at most, whole rooms: as a machine with many cores
/// would divide them. A simulated driver looks at all of them in each turn.
pub(super) const PER_SHARD: usize = 16_000;

/// What all together publish, and how often each kind is measured; odd, so that
/// there is a median.
pub(super) const PAYLOAD: &str = "twenty bytes of text";
pub(super) const REPEATS: usize = 3;

/// What is done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Phase {
    /// All connect, upgrade and join both rooms.
    Open,
    /// One member of each room of a thousand publishes.
    Rooms,
    /// One member publishes to all.
    Everyone,
    /// Everybody is pinged and answers.
    Heartbeat,
    /// Everybody is told that the server ends.
    Drain,
}

/// What one side found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Found {
    /// Resident bytes that the open connections added.
    pub(super) grown: u64,
    /// Nanoseconds that the thread has run in each phase.
    pub(super) took_ns: Vec<(Phase, u64)>,
}

impl Found {
    pub(super) fn took(&self, phase: Phase) -> f64 {
        let took = self.took_ns.iter().find(|(known, _)| *known == phase);
        took.map_or(0.0, |(_, ns)| *ns as f64)
    }
}

/// How connections are divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    pub(super) connections: usize,
}

impl Division {
    pub(super) fn shards(self) -> usize {
        self.connections.div_ceil(PER_SHARD)
    }

    /// How many connections there are on each shard.
    pub(super) fn per_shard(self) -> impl Iterator<Item = usize> {
        (0..self.shards()).map(move |shard| PER_SHARD.min(self.connections - shard * PER_SHARD))
    }
}

/// Resident bytes of this process.
pub(super) fn resident_now() -> u64 {
    resident(std::process::id()).unwrap_or(0)
}

/// The median cost of `REPEATS` runs, after one that is not counted.
pub(super) fn median_ns(mut run: impl FnMut() -> Result<u64>) -> Result<u64> {
    run()?;
    let mut all = (0..REPEATS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    all.sort_unstable();
    Ok(all[REPEATS / 2])
}
