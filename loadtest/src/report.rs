//! Results: one [`Outcome`] per scenario, printed as a table and written as
//! JSON. Keys are stable names; labels are for people.

use crate::measure::{Latency, Losses, Usage};
use anyhow::{Context, Result};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::{Map, Value, json};
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

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

    fn json(&self) -> Value {
        let figures: Map<_, _> =
            self.figures.iter().map(|figure| (figure.key.clone(), json!(figure.value))).collect();
        let latencies: Map<_, _> = self
            .latencies
            .iter()
            .map(|(key, _, latency)| ((*key).to_owned(), latency_json(latency)))
            .collect();
        json!({
            "scenario": self.scenario,
            "settings": self.settings,
            "figures": figures,
            "latency_ns": latencies,
            "violations": self.violations,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.scenario)?;
        for (index, (key, value)) in self.settings.iter().enumerate() {
            let separator = if index == 0 { "  (" } else { ", " };
            let text = value.as_str().map_or(value.to_string(), str::to_owned);
            write!(f, "{separator}{key} {text}")?;
        }
        writeln!(f, "{}", if self.settings.is_empty() { "" } else { ")" })?;
        for figure in &self.figures {
            let value = value_text(figure.value, figure.unit);
            writeln!(f, "  {:<34} {value:>16}", figure.label)?;
        }
        if !self.latencies.is_empty() {
            write!(f, "  {:<34}", "latency")?;
            for name in ["p50", "p90", "p99", "p99.9", "max"] {
                write!(f, " {name:>10}")?;
            }
            writeln!(f, " {:>12}", "count")?;
        }
        for (_, label, latency) in &self.latencies {
            let histogram = latency.histogram();
            write!(f, "    {label:<32}")?;
            for (_, percentile) in PERCENTILES {
                let value = histogram.value_at_percentile(percentile);
                write!(f, " {:>10}", time_text(value as f64))?;
            }
            let count = HumanCount(histogram.len()).to_string();
            writeln!(f, " {:>10} {count:>12}", time_text(histogram.max() as f64))?;
        }
        for violation in &self.violations {
            writeln!(f, "  VIOLATION: {violation}")?;
        }
        Ok(())
    }
}

fn latency_json(latency: &Latency) -> Value {
    let histogram = latency.histogram();
    let mut told: Map<_, _> = PERCENTILES
        .iter()
        .map(|(name, at)| ((*name).to_owned(), json!(histogram.value_at_percentile(*at))))
        .collect();
    told.insert("max".to_owned(), json!(histogram.max()));
    told.insert("mean".to_owned(), json!(histogram.mean()));
    told.insert("count".to_owned(), json!(histogram.len()));
    told.into()
}

fn value_text(value: f64, unit: Unit) -> String {
    let whole = || HumanCount(value.max(0.0).round() as u64);
    match unit {
        Unit::Count => whole().to_string(),
        Unit::PerSecond => format!("{}/s", whole()),
        Unit::Nanoseconds => time_text(value),
        Unit::Bytes if value < 10_240.0 => format!("{value:.0} B"),
        Unit::Bytes => HumanBytes(value as u64).to_string(),
        Unit::Share => format!("{:.0} %", value * 100.0),
    }
}

fn time_text(value_ns: f64) -> String {
    match value_ns {
        ns if ns < 10_000.0 => format!("{ns:.0} ns"),
        ns if ns < 10_000_000.0 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 10_000_000_000.0 => format!("{:.1} ms", ns / 1e6),
        ns if ns < 120e9 => format!("{:.1} s", ns / 1e9),
        ns => HumanDuration(Duration::from_nanos(ns as u64)).to_string(),
    }
}

/// Writes all outcomes of a run, with the machine they come from, of which the
/// run could use `cores`.
pub(crate) fn write_json(path: &Path, cores: usize, outcomes: &[Outcome]) -> Result<()> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let document = json!({
        "machine": { "cores": cores, "kernel": kernel.trim() },
        "runs": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    let mut text = String::new();
    writeln!(text, "{document:#}")?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_in_the_table_and_in_the_json() {
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
        assert_eq!(outcome.json()["violations"][0], "3 messages lost");
    }
}
