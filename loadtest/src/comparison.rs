//! What several servers did with the same load, round after round, as ratios
//! to one of them: within a round, because what disturbs a machine disturbs
//! neighbours in time alike. Pure.

use crate::outcome::{Figure, Outcome, Unit};
use anyhow::{Context, Result, ensure};
use std::fmt;

/// One server against the base.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The server's name.
    pub(crate) server: String,
    /// The median over all rounds.
    pub(crate) value: f64,
    /// Its ratio to the base.
    pub(crate) ratio: Spread,
}

/// Where the ratios of all rounds lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One figure of all servers.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) key: String,
    pub(crate) label: String,
    pub(crate) unit: Unit,
    pub(crate) rows: Vec<Row>,
}

/// All that was compared.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) scenario: &'static str,
    /// The server to which all are compared.
    pub(crate) base: String,
    pub(crate) rounds: usize,
    pub(crate) metrics: Vec<Metric>,
}

impl Comparison {
    /// What is to be read beside every table of ratios.
    pub(crate) const RATIO_MEANING: &'static str = "a ratio is the median of per-round ratios \
        [least..most], each within one round; it need not be the quotient of two medians";

    /// Compares `rounds`, in each of which every one of `servers` has an
    /// outcome, in the order of `servers`.
    ///
    /// # Errors
    /// If there is no round, or `base` is not among the servers.
    pub(crate) fn new(servers: &[String], base: &str, rounds: &[Vec<Outcome>]) -> Result<Self> {
        let position = servers.iter().position(|server| server == base);
        let position = position.with_context(|| format!("{base} is not among the servers"))?;
        let first = rounds.first().and_then(|round| round.first()).context("no round")?;
        ensure!(rounds.iter().all(|round| round.len() == servers.len()), "a round is incomplete");
        let is_compared = |key: &&str| {
            *key == "rate" || *key == "resident_each" || key.starts_with("server_cpu_ns_per_")
        };
        let metrics = first
            .figures
            .iter()
            .map(|figure| figure.key.as_str())
            .filter(is_compared)
            .filter_map(|key| metric(servers, position, rounds, key))
            .collect();
        Ok(Self { scenario: first.scenario, base: base.to_owned(), rounds: rounds.len(), metrics })
    }
}

/// The metric called `key`, if every outcome has it.
fn metric(servers: &[String], base: usize, rounds: &[Vec<Outcome>], key: &str) -> Option<Metric> {
    let values = |server: usize| -> Option<Vec<f64>> {
        rounds.iter().map(|round| Some(round[server].figure_of(key)?.value)).collect()
    };
    let bases = values(base)?;
    let rows = servers.iter().enumerate().map(|(at, server)| {
        let values = values(at)?;
        let ratios = values.iter().zip(&bases).map(|(value, base)| value / base.max(1e-9));
        let ratio = Spread::of(ratios.collect());
        Some(Row { server: server.clone(), value: Spread::of(values).median, ratio })
    });
    let rows = rows.collect::<Option<Vec<_>>>()?;
    let Figure { label, unit, .. } = rounds[0][base].figure_of(key)?.clone();
    Some(Metric { key: key.to_owned(), label, unit, rows })
}

impl Spread {
    /// That of `values`, of which there is at least one.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self { median, min: values[0], max: values[values.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} [{:.2}..{:.2}]", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(rate: f64, cpu_ns: f64) -> Outcome {
        let mut outcome = Outcome::new("echo");
        outcome.figure("rate", "messages", rate, Unit::PerSecond);
        let key = "server_cpu_ns_per_message";
        outcome.figure(key, "server CPU per message", cpu_ns, Unit::Nanoseconds);
        outcome
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let servers = ["limit".to_owned(), "other".to_owned()];
        // The machine is twice as slow in the second round: no ratio shows it.
        let rounds = [
            vec![outcome(100.0, 10.0), outcome(50.0, 20.0)],
            vec![outcome(50.0, 20.0), outcome(25.0, 40.0)],
            vec![outcome(100.0, 10.0), outcome(60.0, 19.0)],
        ];
        let comparison = Comparison::new(&servers, "limit", &rounds).unwrap();
        let rate = &comparison.metrics[0].rows[1];
        assert_eq!(rate.ratio, Spread { median: 0.5, min: 0.5, max: 0.6 });
        let cpu = &comparison.metrics[1].rows;
        assert!((cpu[0].ratio.median - 1.0).abs() < 1e-9);
        assert!((cpu[1].value - 20.0).abs() < 1e-9 && (cpu[1].ratio.min - 1.9).abs() < 1e-9);
        assert!(Comparison::new(&servers, "absent", &rounds).is_err());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0, 10.0]);
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 10.0 });
    }
}
