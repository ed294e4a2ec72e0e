//! The file of results for programs.

use super::quantity::PERCENTILES;
use crate::comparison::Comparison;
use crate::measure::Latency;
use crate::outcome::{Chart, Outcome};
use crate::provenance::Provenance;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes all outcomes of a run and what was compared, with the circumstances.
pub(crate) fn write_json(
    path: &Path,
    provenance: &Provenance,
    outcomes: &[Outcome],
    comparison: Option<&Comparison>,
) -> Result<()> {
    let mut document = provenance.json();
    document["runs"] = outcomes.iter().map(outcome_json).collect();
    if let Some(comparison) = comparison {
        document["comparison"] = comparison_json(comparison);
    }
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
        .map(|known| (known.key.to_owned(), latency_json(&known.latency)))
        .collect();
    let over_time: Vec<_> = outcome.series.points().map(|(at, rate)| json!([at, rate])).collect();
    json!({
        "scenario": outcome.scenario,
        "settings": outcome.settings,
        "figures": figures,
        "latency_ns": latencies,
        "per_second_over_time": over_time,
        "charts": outcome.charts.iter().map(chart_json).collect::<Vec<_>>(),
        "violations": outcome.violations,
    })
}

fn chart_json(chart: &Chart) -> Value {
    let lines: Map<_, _> =
        chart.lines.iter().map(|(name, points)| (name.clone(), json!(points))).collect();
    json!({ "title": chart.title, "x": chart.x_label, "lines": lines })
}

fn comparison_json(comparison: &Comparison) -> Value {
    let metrics: Map<_, _> = comparison
        .metrics
        .iter()
        .map(|metric| {
            let rows = metric.rows.iter().map(|row| {
                let ratio = &row.ratio;
                let ratio = json!({ "median": ratio.median, "min": ratio.min, "max": ratio.max });
                (row.server.clone(), json!({ "median": row.value, "ratio": ratio }))
            });
            (metric.key.clone(), Value::Object(rows.collect()))
        })
        .collect();
    json!({
        "scenario": comparison.scenario,
        "base": comparison.base,
        "ratio": Comparison::RATIO_MEANING,
        "rounds": comparison.rounds,
        "metrics": metrics,
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
