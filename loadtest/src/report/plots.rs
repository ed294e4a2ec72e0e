//! Which plots an outcome and a comparison have: bars of ratios, latencies by
//! percentile, messages over time, charts of a scenario's own. For the page and
//! the picture alike.

use super::plot::{self, Axis, Bar, Drawing, Line};
use super::quantity::{Scale, tick_text};
use crate::comparison::Comparison;
use crate::measure::Latency;
use crate::outcome::{Axes, Chart, Outcome, Unit};
use indicatif::HumanCount;

/// The percentiles at the marks of the curve: each is ten times rarer.
const RARITIES: [(f64, &str); 6] = [
    (0.0, "0 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
    (5.0, "99.999 %"),
];

/// Those of one outcome.
pub(super) fn of_outcome(outcome: &Outcome) -> Vec<Drawing> {
    let latencies = outcome.latencies.iter();
    let latencies = latencies.filter(|known| !known.latency.histogram().is_empty());
    let latencies: Vec<_> =
        latencies.map(|known| (known.label.to_owned(), &known.latency)).collect();
    let mut drawings = Vec::new();
    if !latencies.is_empty() {
        drawings.push(curves("Latency by percentile", &latencies));
    }
    let points: Vec<_> = outcome.series.points().collect();
    if points.len() > 1 {
        drawings.push(over_time(&[("per second".to_owned(), points)]));
    }
    drawings.extend(outcome.charts.iter().map(chart));
    drawings
}

/// Those of a comparison of `outcomes`: bars, and the curves of the first round.
pub(super) fn of_comparison(comparison: &Comparison, outcomes: &[Outcome]) -> Vec<Drawing> {
    let mut drawings: Vec<_> = comparison
        .metrics
        .iter()
        .map(|metric| {
            let scale = Scale::of(metric.unit, metric.rows.iter().map(|row| row.value));
            let bars = metric.rows.iter().map(|row| Bar {
                name: escape(&row.server),
                text: format!("{}  {}", row.ratio, scale.text(row.value)),
                value: row.ratio.median,
                range: (row.ratio.min, row.ratio.max),
            });
            let title = format!("{}, ratio to {}", metric.label, comparison.base);
            plot::bars(&escape(&title), &bars.collect::<Vec<_>>())
        })
        .collect();
    let round = first_round(comparison, outcomes);
    let latencies = latencies_of_round(round);
    if !latencies.is_empty() {
        drawings.push(curves("Latency by percentile, first round", &latencies));
    }
    let lines = round.iter().map(|it| (server_of(it), it.series.points().collect()));
    drawings.push(over_time(&lines.collect::<Vec<_>>()));
    drawings
}

/// The outcomes of all servers in the first round.
pub(super) fn first_round<'a>(comparison: &Comparison, outcomes: &'a [Outcome]) -> &'a [Outcome] {
    let servers = comparison.metrics.first().map_or(0, |metric| metric.rows.len());
    &outcomes[..servers.min(outcomes.len())]
}

/// The first distribution of each server.
pub(super) fn latencies_of_round(round: &[Outcome]) -> Vec<(String, &Latency)> {
    round.iter().filter_map(|it| Some((server_of(it), it.latency_of(None)?))).collect()
}

fn server_of(outcome: &Outcome) -> String {
    outcome.setting_of("server").map_or(String::new(), escape)
}

fn curves(title: &str, latencies: &[(String, &Latency)]) -> Drawing {
    let lines: Vec<Line> =
        latencies.iter().map(|(label, latency)| (label.clone(), curve(latency))).collect();
    let highest = lines.iter().filter_map(|(_, points)| points.last()).map(|(at, _)| *at);
    let highest = highest.fold(1.0, f64::max).ceil().min(5.0);
    let ticks = RARITIES.iter().filter(|(at, _)| *at <= highest);
    let ticks = ticks.map(|(at, text)| (*at, (*text).to_owned())).collect();
    let x = Axis { label: "percentile", from: 0.0, to: highest, ticks };
    let (least, most) = span(lines.iter().flat_map(|(_, points)| points).map(|(_, y)| *y));
    let tick = |value| tick_text(value, Unit::Nanoseconds);
    let y = Axis::logarithmic("latency", 10f64.powf(least), 10f64.powf(most), tick);
    plot::lines(title, &x, &y, &lines)
}

/// Points of how rare a latency is, in powers of ten, and its logarithm.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    let histogram = latency.histogram();
    let rarest = (histogram.len().max(1) as f64).log10().min(5.0);
    let steps = (rarest * 20.0).ceil().max(1.0) as u32;
    let points = (0..=steps).map(|step| {
        let rarity = rarest * f64::from(step) / f64::from(steps);
        let value = histogram.value_at_quantile(1.0 - 10f64.powf(-rarity));
        (rarity, (value.max(1) as f64).log10())
    });
    points.collect()
}

fn over_time(lines: &[Line]) -> Drawing {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let longest = points().map(|(at, _)| *at).fold(0.0, f64::max);
    let most = points().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let x =
        Axis::linear("seconds", longest, |value| format!("{}", (value * 100.0).round() / 100.0));
    let y = Axis::linear("per second", most, |value| HumanCount(value as u64).to_string());
    plot::lines("Throughput over time", &x, &y, lines)
}

/// A chart of a scenario's own.
fn chart(chart: &Chart) -> Drawing {
    let points = || chart.lines.iter().flat_map(|(_, points)| points);
    let (from, to) = span(points().map(|(x, _)| *x));
    let (least, most) = span(points().map(|(_, y)| *y));
    let label = match chart.unit {
        Unit::Nanoseconds => "time",
        Unit::Bytes => "bytes",
        Unit::PerSecond => "per second",
        _ => "value",
    };
    let (powers_across, powers_up) = match chart.axes {
        Axes::Logarithmic => (true, true),
        Axes::Linear => (false, false),
        Axes::LogarithmicUpwards => (false, true),
    };
    let axis = |powers: bool, label, unit: Unit, least, most: f64| {
        let tick = |value| tick_text(value, unit);
        if powers {
            Axis::logarithmic(label, least, most, tick)
        } else {
            Axis::linear(label, most, tick)
        }
    };
    let x = axis(powers_across, chart.x_label, Unit::Count, from, to);
    let y = axis(powers_up, label, chart.unit, least, most);
    let place = |powers: bool, value: f64| if powers { value.max(1.0).log10() } else { value };
    let lines = chart.lines.iter().map(|(name, points)| {
        let points = points.iter().map(|(x, y)| (place(powers_across, *x), place(powers_up, *y)));
        (escape(name), points.collect())
    });
    plot::lines(&escape(&chart.title), &x, &y, &lines.collect::<Vec<_>>())
}

/// The least and the most of `values`; 1 and 1 if there is none.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) =
        values.fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
    if least > most { (1.0, 1.0) } else { (least, most) }
}

/// `text` as it may stand in an element.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
