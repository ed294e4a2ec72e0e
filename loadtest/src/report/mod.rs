//! Results: one [`Outcome`] per scenario, printed as a table, written as JSON
//! and as a page with plots. Keys are stable names; labels are for people.

mod html;
mod json;
mod plot;
mod table;

pub(crate) use html::write_html;
pub(crate) use json::write_json;
pub(crate) use table::{time_text, value_text};

use crate::comparison::Comparison;
use crate::measure::{Latency, Losses, Usage};
use crate::share::Series;
use indicatif::HumanCount;
use serde_json::{Map, Value};

/// The percentiles that are told.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9)];

/// How a figure is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number of things.
    Count,
    /// Things per second.
    PerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Of a whole, 1.0 being all.
    Share,
}

/// One number of a result.
#[derive(Clone, Debug)]
struct Figure {
    key: String,
    label: String,
    value: f64,
    unit: Unit,
}

/// What a scenario found.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    scenario: &'static str,
    settings: Map<String, Value>,
    figures: Vec<Figure>,
    latencies: Vec<(&'static str, &'static str, Latency)>,
    series: Series,
    violations: Vec<String>,
}

impl Outcome {
    /// An outcome without figures yet.
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            settings: Map::new(),
            figures: Vec::new(),
            latencies: Vec::new(),
            series: Series::default(),
            violations: Vec::new(),
        }
    }

    /// Notes under which setting it was found.
    pub(crate) fn setting(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.settings.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a number.
    pub(crate) fn figure(&mut self, key: &str, label: &str, value: f64, unit: Unit) -> &mut Self {
        self.figures.push(Figure { key: key.to_owned(), label: label.to_owned(), value, unit });
        self
    }

    /// Adds a distribution.
    pub(crate) fn latency(&mut self, key: &'static str, label: &'static str, latency: &Latency) {
        self.latencies.push((key, label, latency.clone()));
    }

    /// Adds the messages over time.
    pub(crate) fn series(&mut self, series: &Series) {
        self.series = series.clone();
    }

    /// The name of the scenario.
    pub(crate) fn scenario(&self) -> &'static str {
        self.scenario
    }

    /// The number called `key`, and how it is told.
    pub(crate) fn figure_of(&self, key: &str) -> Option<(f64, Unit, &str)> {
        let figure = self.figures.iter().find(|figure| figure.key == key)?;
        Some((figure.value, figure.unit, &figure.label))
    }

    /// The keys of all numbers, in their order.
    pub(crate) fn figure_keys(&self) -> impl Iterator<Item = &str> {
        self.figures.iter().map(|figure| &*figure.key)
    }

    /// The distribution called `key`, or the first if that is `None`.
    pub(crate) fn latency_of(&self, key: Option<&str>) -> Option<&Latency> {
        let mut latencies = self.latencies.iter();
        let found = latencies.find(|(known, ..)| key.is_none_or(|key| key == *known));
        found.map(|(.., latency)| latency)
    }

    /// Adds what was used per each of `count` things, such as "message".
    pub(crate) fn usage(&mut self, usage: Usage, count: u64, thing: &str) {
        let wall = usage.wall_ns as f64;
        if let Some(server_ns) = usage.server_cpu_ns {
            let each = server_ns as f64 / count.max(1) as f64;
            let key = format!("server_cpu_ns_per_{thing}");
            let label = format!("server CPU per {thing}");
            self.figure(&key, &label, each, Unit::Nanoseconds);
            let busy = server_ns as f64 / wall;
            self.figure("server_cpu_busy", "server CPU busy", busy, Unit::Share);
        }
        if let Some(client_ns) = usage.client_cpu_ns {
            let busy = client_ns as f64 / wall;
            self.figure("client_cpu_busy", "client CPU busy", busy, Unit::Share);
        }
    }

    /// Adds something that must not be.
    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Adds a violation if `count` is not zero.
    pub(crate) fn forbid(&mut self, count: u64, what: &str) {
        if count > 0 {
            self.violation(format!("{} {what}", HumanCount(count)));
        }
    }

    /// Adds a violation if connections were lost.
    pub(crate) fn forbid_losses(&mut self, losses: &Losses) {
        if losses.count() > 0 {
            self.violation(format!("connections lost: {losses}"));
        }
    }

    /// Whether nothing happened that must not.
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// The kernel's release.
fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_in_the_table() {
        let mut outcome = Outcome::new("fanout");
        outcome.setting("connections", 10);
        outcome.figure("rate", "deliveries", 1234.0, Unit::PerSecond);
        outcome.forbid(0, "messages lost");
        assert!(outcome.is_clean());
        outcome.forbid(3, "messages lost");
        assert!(!outcome.is_clean());
        let table = outcome.to_string();
        assert!(table.contains("1,234/s"), "{table}");
        assert!(table.contains("VIOLATION: 3 messages lost"), "{table}");
    }
}
