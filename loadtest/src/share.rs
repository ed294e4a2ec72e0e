//! What one client process does for a scenario, and what it brings home. A
//! scenario is divided into shares that do not talk to each other; what they
//! found is merged at the end, so that one process and several give the same
//! figures.

use crate::clock::nanoseconds;
use crate::limits::{SERIES_BUCKETS, SERIES_STEP};
use crate::measure::{Latency, Losses};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Stands for "not everyone was reached" among the times of last deliveries.
const NEVER_NS: u64 = u64::MAX;

/// The part of a scenario that one process plays.
///
/// Called in this order: [`Share::open`], [`Share::run`], [`Share::finish`].
/// All shares end one step before any begins the next; connections stay open
/// until the share is dropped.
pub(crate) trait Share {
    /// Prepares the load.
    fn open(&mut self) -> Result<()>;

    /// Is the load: the time and the processor time of this step are counted.
    fn run(&mut self) -> Result<()>;

    /// Waits for stragglers and tells what was found.
    fn finish(&mut self) -> Result<Part>;
}

/// What a share found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Numbers that add up over shares.
    counts: BTreeMap<String, u64>,
    latencies: BTreeMap<String, Latency>,
    /// Connections lost.
    pub(crate) losses: Losses,
    /// Some of the answers that were not expected.
    pub(crate) strange: Vec<String>,
    /// Messages over time.
    pub(crate) series: Series,
    /// For each publication the time to its last delivery.
    last_ns: Vec<u64>,
    /// When the load ended: the latest of all shares.
    pub(crate) ended_ns: u64,
}

impl Part {
    /// Adds to the number called `key`.
    pub(crate) fn count(&mut self, key: &str, value: u64) {
        *self.counts.entry(key.to_owned()).or_default() += value;
    }

    /// The number called `key`, 0 if nothing was ever added.
    pub(crate) fn counted(&self, key: &str) -> u64 {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// Adds a distribution.
    pub(crate) fn latency(&mut self, key: &str, latency: &Latency) {
        let known = self.latencies.entry(key.to_owned()).or_insert_with(Latency::new);
        known.merge(latency);
    }

    /// The distribution called `key`; empty if none was added.
    pub(crate) fn latency_of(&self, key: &str) -> Latency {
        self.latencies.get(key).cloned().unwrap_or_else(Latency::new)
    }

    /// Adds for each publication the time to its last delivery, if there was one.
    pub(crate) fn last(&mut self, last: impl Iterator<Item = Option<u64>>) {
        self.last_ns = last.map(|it| it.unwrap_or(NEVER_NS)).collect();
    }

    /// The times to the last delivery of all publications that reached everyone.
    pub(crate) fn last_latency(&self) -> Latency {
        let mut latency = Latency::new();
        for last_ns in self.last_ns.iter().filter(|it| **it != NEVER_NS) {
            latency.record(*last_ns);
        }
        latency
    }

    /// That of all shares together.
    pub(crate) fn merge(parts: Vec<Self>) -> Self {
        let mut whole = Self::default();
        for part in parts {
            for (key, value) in &part.counts {
                whole.count(key, *value);
            }
            for (key, latency) in &part.latencies {
                whole.latency(key, latency);
            }
            whole.losses.merge(&part.losses);
            whole.strange.extend(part.strange);
            whole.series.merge(&part.series);
            if whole.last_ns.is_empty() {
                whole.last_ns = part.last_ns;
            } else {
                for (all, one) in whole.last_ns.iter_mut().zip(part.last_ns) {
                    *all = one.max(*all);
                }
            }
            whole.ended_ns = whole.ended_ns.max(part.ended_ns);
        }
        whole
    }
}

/// Messages counted in equal steps of time. Bounded: what comes after the last
/// step counts as in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Series {
    begun_ns: u64,
    /// The length of a step; 0 in a series that counts nothing.
    step_ns: u64,
    counts: Vec<u64>,
}

impl Series {
    /// A series from `begun_ns` on for a load of about `duration`.
    pub(crate) fn new(begun_ns: u64, duration: Duration) -> Self {
        let step = (duration / SERIES_BUCKETS as u32).max(SERIES_STEP);
        Self { begun_ns, step_ns: nanoseconds(step), counts: Vec::new() }
    }

    /// Counts a message at `at_ns`.
    pub(crate) fn add(&mut self, at_ns: u64) {
        let Some(step) = at_ns.saturating_sub(self.begun_ns).checked_div(self.step_ns) else {
            return;
        };
        let step = (step as usize).min(2 * SERIES_BUCKETS - 1);
        if step >= self.counts.len() {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
    }

    /// Points of seconds since the beginning and messages per second. The last
    /// step is left out: it is rarely a whole one.
    pub(crate) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let step_s = self.step_ns as f64 / 1e9;
        let whole = self.counts.len().saturating_sub(1);
        let counts = self.counts[..whole].iter().enumerate();
        counts.map(move |(at, count)| ((at as f64 + 0.5) * step_s, *count as f64 / step_s))
    }

    fn merge(&mut self, other: &Self) {
        if self.step_ns == 0 {
            *self = other.clone();
            return;
        }
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Loss;

    fn part(value: u64, last: [Option<u64>; 2]) -> Part {
        let mut part = Part::default();
        part.count("delivered", value);
        let mut latency = Latency::new();
        latency.record(value * 1000);
        part.latency("delivery", &latency);
        part.losses.add(&Loss::Closed(1001));
        part.last(last.into_iter());
        part.series = Series::new(0, Duration::from_secs(1));
        part.series.add(value);
        part
    }

    #[test]
    fn two_shares_are_one_whole_even_after_a_way_as_json() {
        let parts = [part(1, [Some(10), Some(40)]), part(2, [Some(30), None])];
        let parts = parts.map(|part| {
            let text = serde_json::to_string(&part).unwrap();
            serde_json::from_str(&text).unwrap()
        });
        let whole = Part::merge(parts.into());
        assert_eq!(whole.counted("delivered"), 3);
        assert_eq!(whole.latency_of("delivery").histogram().len(), 2);
        assert_eq!(whole.losses.of(&Loss::Closed(1001)), 2);
        let last = whole.last_latency();
        assert_eq!((last.histogram().len(), last.histogram().max()), (1, 30));
        assert_eq!(whole.series.counts, [2]);
    }

    #[test]
    fn a_series_is_bounded_and_leaves_out_its_broken_end() {
        let mut series = Series::new(1_000, Duration::from_secs(1));
        for at_ns in [1_000, 100_000_999, 100_001_000, u64::MAX] {
            series.add(at_ns);
        }
        assert_eq!(series.counts.len(), 2 * SERIES_BUCKETS);
        let rates: Vec<_> = series.points().take(2).map(|(_, rate)| rate).collect();
        assert_eq!(rates, [20.0, 10.0]);
    }
}
