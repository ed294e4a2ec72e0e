//! The page for people: every outcome with its figures and plots, in one file
//! that needs no other and follows the reader's light or dark.

use super::plot::{self, Axis, Bar, Line};
use super::{Comparison, Outcome, PERCENTILES, time_text, value_text};
use crate::measure::Latency;
use anyhow::{Context, Result};
use indicatif::HumanCount;
use std::fmt::Write as _;
use std::path::Path;

const STYLE: &str = include_str!("style.css");

/// The percentiles at the marks of the curve: each is ten times rarer.
const RARITIES: [(f64, &str); 6] = [
    (0.0, "0 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
    (5.0, "99.999 %"),
];

/// Writes the page, with what was compared on top, about a machine of which the
/// run could use `cores`.
pub(crate) fn write_html(
    path: &Path,
    cores: usize,
    outcomes: &[Outcome],
    comparison: Option<&Comparison>,
) -> Result<()> {
    let page = page(cores, outcomes, comparison);
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn page(cores: usize, outcomes: &[Outcome], comparison: Option<&Comparison>) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>shardcast load test</title><style>{STYLE}</style></head><body>\n\
         <h1>shardcast load test</h1>\n<p>{cores} cores, Linux {}</p>\n",
        escape(&super::kernel())
    );
    if let Some(comparison) = comparison {
        compared(comparison, outcomes, &mut page);
    } else {
        for outcome in outcomes {
            told(outcome, &mut page);
        }
    }
    page.push_str("</body></html>\n");
    page
}

/// One outcome.
fn told(outcome: &Outcome, page: &mut String) {
    let _ = writeln!(page, "<section><h2>{}</h2>", escape(outcome.scenario));
    settings(outcome, page);
    violations(outcome, page);
    page.push_str("<table>");
    for figure in &outcome.figures {
        let value = value_text(figure.value, figure.unit);
        let _ = write!(page, "<tr><td>{}</td><td>{value}</td></tr>", escape(&figure.label));
    }
    page.push_str("</table>\n");
    let latencies =
        outcome.latencies.iter().filter(|(.., latency)| !latency.histogram().is_empty());
    let latencies: Vec<_> =
        latencies.map(|(_, label, latency)| ((*label).to_owned(), latency)).collect();
    if !latencies.is_empty() {
        percentiles(&latencies, page);
        page.push_str(&curves("Latency by percentile", &latencies));
    }
    let points: Vec<_> = outcome.series.points().collect();
    if points.len() > 1 {
        page.push_str(&over_time(&[("per second".to_owned(), points)]));
    }
    page.push_str("</section>\n");
}

/// All servers of a comparison: bars, and the curves of their first round.
fn compared(comparison: &Comparison, outcomes: &[Outcome], page: &mut String) {
    let Comparison { scenario, base, rounds, metrics } = comparison;
    let base_text = escape(base);
    let _ = writeln!(page, "<section><h2>{scenario}, {rounds} rounds against {base_text}</h2>");
    if let Some(first) = outcomes.first() {
        settings(first, page);
    }
    for outcome in outcomes {
        violations(outcome, page);
    }
    for metric in metrics {
        let bars = metric.rows.iter().map(|row| {
            let ratio = row.ratio;
            let value = value_text(row.value, metric.unit);
            let text = format!("{:.2} [{:.2}..{:.2}]  {value}", ratio.median, ratio.min, ratio.max);
            let range = (ratio.min, ratio.max);
            Bar { name: escape(&row.server), text, value: ratio.median, range }
        });
        let title = format!("{}, ratio to {base_text}", escape(&metric.label));
        page.push_str(&plot::bars(&title, &bars.collect::<Vec<_>>()));
    }
    let servers = metrics.first().map_or(0, |metric| metric.rows.len());
    let round: Vec<_> = outcomes.iter().take(servers).collect();
    let name = |outcome: &Outcome| {
        outcome.settings.get("server").and_then(|it| it.as_str()).map_or(String::new(), escape)
    };
    let latencies = round.iter().filter_map(|it| Some((name(it), it.latency_of(None)?)));
    let latencies: Vec<_> = latencies.collect();
    if !latencies.is_empty() {
        percentiles(&latencies, page);
        page.push_str(&curves("Latency by percentile, first round", &latencies));
    }
    let over: Vec<Line> = round.iter().map(|it| (name(it), it.series.points().collect())).collect();
    page.push_str(&over_time(&over));
    page.push_str("</section>\n");
}

fn settings(outcome: &Outcome, page: &mut String) {
    let settings = outcome.settings.iter().map(|(key, value)| {
        let value = value.as_str().map_or(value.to_string(), str::to_owned);
        format!("{} <b>{}</b>", escape(key), escape(&value))
    });
    let _ = writeln!(page, "<p>{}</p>", settings.collect::<Vec<_>>().join(" · "));
}

fn violations(outcome: &Outcome, page: &mut String) {
    for violation in &outcome.violations {
        let _ = writeln!(page, "<p class=\"violation\">{}</p>", escape(violation));
    }
}

fn percentiles(latencies: &[(String, &Latency)], page: &mut String) {
    page.push_str("<table><tr><th>latency</th>");
    for (name, _) in PERCENTILES {
        let _ = write!(page, "<th>{}</th>", name.replace('_', "."));
    }
    page.push_str("<th>max</th><th>count</th></tr>");
    for (label, latency) in latencies {
        let histogram = latency.histogram();
        let _ = write!(page, "<tr><td>{label}</td>");
        for (_, percentile) in PERCENTILES {
            let value = histogram.value_at_percentile(percentile) as f64;
            let _ = write!(page, "<td>{}</td>", time_text(value));
        }
        let most = time_text(histogram.max() as f64);
        let _ = write!(page, "<td>{most}</td><td>{}</td></tr>", HumanCount(histogram.len()));
    }
    page.push_str("</table>\n");
}

fn curves(title: &str, latencies: &[(String, &Latency)]) -> String {
    let lines: Vec<Line> =
        latencies.iter().map(|(label, latency)| (label.clone(), curve(latency))).collect();
    let highest = lines.iter().filter_map(|(_, points)| points.last()).map(|(at, _)| *at);
    let highest = highest.fold(1.0, f64::max).ceil().min(5.0);
    let ticks = RARITIES.iter().filter(|(at, _)| *at <= highest);
    let ticks = ticks.map(|(at, text)| (*at, (*text).to_owned())).collect();
    let x = Axis { label: "percentile", from: 0.0, to: highest, ticks };
    let values =
        || lines.iter().flat_map(|(_, points)| points).map(|(_, value)| 10f64.powf(*value));
    let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(1.0, f64::max));
    let y = Axis::logarithmic("latency", least, most, time_text);
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

fn over_time(lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let longest = points().map(|(at, _)| *at).fold(0.0, f64::max);
    let most = points().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let x =
        Axis::linear("seconds", longest, |value| format!("{}", (value * 100.0).round() / 100.0));
    let y = Axis::linear("per second", most, |value| HumanCount(value as u64).to_string());
    plot::lines("Throughput over time", &x, &y, lines)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;
    use crate::share::Series;
    use std::time::Duration;

    fn outcome(server: &str) -> Outcome {
        let mut outcome = Outcome::new("echo");
        outcome.setting("server", server);
        outcome.figure("rate", "messages", 1234.0, Unit::PerSecond);
        let mut latency = Latency::new();
        for value in 1..1000 {
            latency.record(value * 1000);
        }
        outcome.latency("round_trip", "round trip", &latency);
        let mut series = Series::new(0, Duration::from_secs(1));
        for at in 0..100 {
            series.add(at * 10_000_000);
        }
        outcome.series(&series);
        outcome
    }

    #[track_caller]
    fn assert_self_contained(page: &str) {
        for banned in ["http:", "https:", "src=", "href=", "url(", "@import", "NaN"] {
            assert!(!page.contains(banned), "{banned} is in the page");
        }
    }

    #[test]
    fn an_outcome_has_its_figures_curve_and_throughput() {
        let mut outcome = outcome("<shardcast>");
        outcome.violation("3 messages lost");
        let page = page(2, &[outcome], None);
        for wanted in [
            "1,234/s",
            "3 messages lost",
            "Latency by percentile",
            "99.9 %",
            "Throughput over time",
            "&lt;shardcast&gt;",
            "prefers-color-scheme",
        ] {
            assert!(page.contains(wanted), "{wanted} is missing");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        assert_self_contained(&page);
    }

    #[test]
    fn a_comparison_has_a_bar_per_server() {
        let servers = ["limit".to_owned(), "shardcast-epoll".to_owned()];
        let rounds = [vec![outcome("limit"), outcome("shardcast-epoll")]];
        let comparison = Comparison::new(&servers, "limit", &rounds).unwrap();
        let page = page(2, &rounds.concat(), Some(&comparison));
        assert_eq!(page.matches("class=\"bar").count(), 2);
        assert!(page.contains("ratio to limit") && page.contains("shardcast-epoll"));
        assert_self_contained(&page);
    }
}
