//! An outcome as a table for people.

use super::{Outcome, PERCENTILES, Unit};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use std::fmt;
use std::time::Duration;

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

/// A number with its unit, for people.
pub(crate) fn value_text(value: f64, unit: Unit) -> String {
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

/// A time for people.
pub(crate) fn time_text(value_ns: f64) -> String {
    match value_ns {
        ns if ns < 10_000.0 => format!("{ns:.0} ns"),
        ns if ns < 10_000_000.0 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 10_000_000_000.0 => format!("{:.1} ms", ns / 1e6),
        ns if ns < 120e9 => format!("{:.1} s", ns / 1e9),
        ns => HumanDuration(Duration::from_nanos(ns as u64)).to_string(),
    }
}
