//! The file of results for programs.

use super::{Outcome, PERCENTILES};
use crate::measure::Latency;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes all outcomes of a run, with the machine they
/// come from, of which the run could use `cores`.
pub(crate) fn write_json(path: &Path, cores: usize, outcomes: &[Outcome]) -> Result<()> {
    let document = json!({
        "machine": { "cores": cores, "kernel": super::kernel() },
        "runs": outcomes.iter().map(outcome_json).collect::<Vec<_>>(),
    });
    let text = format!("{document:#}\n");
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One outcome as JSON.
fn outcome_json(outcome: &Outcome) -> Value {
    let figures: Map<_, _> =
        outcome.figures.iter().map(|figure| (figure.key.clone(), json!(figure.value))).collect();
    let latencies: Map<_, _> = outcome
        .latencies
        .iter()
        .map(|(key, _, latency)| ((*key).to_owned(), latency_json(latency)))
        .collect();
    let over_time: Vec<_> = outcome.series.points().map(|(at, rate)| json!([at, rate])).collect();
    json!({
        "scenario": outcome.scenario,
        "settings": outcome.settings,
        "figures": figures,
        "latency_ns": latencies,
        "per_second_over_time": over_time,
        "violations": outcome.violations,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_in_the_json() {
        let mut outcome = Outcome::new("fanout");
        outcome.forbid(3, "messages lost");
        assert_eq!(outcome_json(&outcome)["violations"][0], "3 messages lost");
    }
}
