//! An outcome, or a comparison, as a table for people.

use super::quantity::{PERCENTILES, Scale, value_text};
use crate::comparison::Comparison;
use crate::outcome::{Distribution, Outcome, Unit};
use indicatif::HumanCount;
use std::fmt;

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
            writeln!(f, "  {:<40} {value:>16}", figure.label)?;
        }
        if !self.latencies.is_empty() {
            write!(f, "  {:<34}", "latency")?;
            for name in ["p50", "p90", "p99", "p99.9", "max"] {
                write!(f, " {name:>10}")?;
            }
            writeln!(f, " {:>12}", "count")?;
        }
        let scale = latency_scale(&self.latencies);
        for Distribution { label, latency, .. } in &self.latencies {
            write!(f, "    {label:<32}")?;
            for value in told(latency) {
                write!(f, " {:>10}", scale.text(value))?;
            }
            writeln!(f, " {:>12}", HumanCount(latency.histogram().len()).to_string())?;
        }
        for violation in &self.violations {
            writeln!(f, "  VIOLATION: {violation}")?;
        }
        Ok(())
    }
}

/// The percentiles of one distribution that are told, and its maximum.
pub(super) fn told(latency: &crate::measure::Latency) -> impl Iterator<Item = f64> {
    let histogram = latency.histogram();
    let percentiles = PERCENTILES.iter().map(|(_, at)| histogram.value_at_percentile(*at));
    percentiles.chain([histogram.max()]).map(|value| value as f64)
}

/// The unit in which all of `latencies` are told.
pub(super) fn latency_scale(latencies: &[Distribution]) -> Scale {
    Scale::of(Unit::Nanoseconds, latencies.iter().flat_map(|known| told(&known.latency)))
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { scenario, base, rounds, metrics } = self;
        writeln!(f, "\ncompare {scenario}: medians of {rounds} rounds, ratios to {base}")?;
        writeln!(f, "  {}", Comparison::RATIO_MEANING)?;
        for metric in metrics {
            writeln!(f, "\n  {:<24} {:>16} {:>24}", metric.label, "median", "ratio")?;
            let scale = Scale::of(metric.unit, metric.rows.iter().map(|row| row.value));
            for row in &metric.rows {
                let value = scale.text(row.value);
                let ratio = row.ratio.to_string();
                writeln!(f, "    {:<22} {value:>16} {ratio:>24}", row.server)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latency;

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

    #[test]
    fn latencies_of_one_table_have_one_unit() {
        let mut outcome = Outcome::new("echo");
        let mut latency = Latency::new();
        latency.record(8_600_000);
        latency.record(10_600_000);
        outcome.latency("round_trip", "round trip", &latency);
        let table = outcome.to_string();
        let line = table.lines().find(|line| line.contains("round trip")).unwrap();
        assert!(line.contains(" 8.60 ms") && line.contains(" 10.6 ms"), "{line}");
    }
}
