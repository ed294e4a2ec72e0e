//! The page for people: every outcome with its figures and plots, in one file
//! that needs no other and follows the reader's light or dark.

use super::plot::{COLOURS, Drawing, WIDTH};
use super::plots::{self, escape};
use super::quantity::{PERCENTILES, Scale, value_text};
use super::table::told;
use crate::comparison::Comparison;
use crate::measure::Latency;
use crate::outcome::{Outcome, Unit};
use crate::provenance::Provenance;
use anyhow::{Context, Result};
use indicatif::HumanCount;
use std::fmt::Write as _;
use std::path::Path;

const STYLE: &str = include_str!("style.css");

/// Writes the page, with what was compared on top.
pub(crate) fn write_html(
    path: &Path,
    provenance: &Provenance,
    outcomes: &[Outcome],
    comparison: Option<&Comparison>,
) -> Result<()> {
    let page = page(provenance, outcomes, comparison);
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn page(provenance: &Provenance, outcomes: &[Outcome], comparison: Option<&Comparison>) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>shardcast load test</title><style>{STYLE}</style></head><body>\n\
         <h1>shardcast load test</h1>\n<p>{}</p>\n<pre>{}</pre>\n",
        escape(&provenance.machine()),
        escape(&provenance.command)
    );
    if let Some(comparison) = comparison {
        compared(comparison, outcomes, &mut page);
    } else {
        for outcome in outcomes {
            section(outcome, &mut page);
        }
    }
    page.push_str("</body></html>\n");
    page
}

/// One outcome.
fn section(outcome: &Outcome, page: &mut String) {
    let _ = writeln!(page, "<section><h2>{}</h2>", escape(outcome.scenario));
    settings(outcome, page);
    violations(outcome, page);
    let figures = outcome.figures.iter().map(|figure| {
        let value = value_text(figure.value, figure.unit);
        format!("<tr><td>{}</td><td>{value}</td></tr>", escape(&figure.label))
    });
    table(&figures.collect::<String>(), page);
    let latencies: Vec<_> =
        outcome.latencies.iter().map(|known| (known.label.to_owned(), &known.latency)).collect();
    percentiles(&latencies, page);
    for drawing in plots::of_outcome(outcome) {
        figure(&drawing, page);
    }
    page.push_str("</section>\n");
}

/// All servers of a comparison: bars, and the curves of their first round.
fn compared(comparison: &Comparison, outcomes: &[Outcome], page: &mut String) {
    let Comparison { scenario, base, rounds, .. } = comparison;
    let base = escape(base);
    let _ = writeln!(page, "<section><h2>{scenario}, {rounds} rounds against {base}</h2>");
    let _ = writeln!(page, "<p>{}; beside it the median of the figure itself.</p>", meaning());
    if let Some(first) = outcomes.first() {
        settings(first, page);
    }
    for outcome in outcomes {
        violations(outcome, page);
    }
    let round = plots::first_round(comparison, outcomes);
    percentiles(&plots::latencies_of_round(round), page);
    for drawing in plots::of_comparison(comparison, outcomes) {
        figure(&drawing, page);
    }
    page.push_str("</section>\n");
}

/// What a ratio is, as the beginning of a sentence.
fn meaning() -> String {
    let meaning = Comparison::RATIO_MEANING;
    let mut letters = meaning.chars();
    let first = letters.next().map_or(String::new(), |first| first.to_uppercase().to_string());
    escape(&format!("{first}{}", letters.as_str()))
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

/// A table that scrolls by itself where the page is narrower than it.
fn table(rows: &str, page: &mut String) {
    let _ = writeln!(page, "<div class=\"scroll\"><table>{rows}</table></div>");
}

fn percentiles(latencies: &[(String, &Latency)], page: &mut String) {
    let latencies = latencies.iter().filter(|(_, latency)| !latency.histogram().is_empty());
    let latencies: Vec<_> = latencies.collect();
    if latencies.is_empty() {
        return;
    }
    let all = latencies.iter().flat_map(|(_, latency)| told(latency));
    let scale = Scale::of(Unit::Nanoseconds, all);
    let mut rows = String::from("<tr><th>latency</th>");
    for (name, _) in PERCENTILES {
        let _ = write!(rows, "<th>{}</th>", name.replace('_', "."));
    }
    rows.push_str("<th>max</th><th>count</th></tr>");
    for (label, latency) in latencies {
        let _ = write!(rows, "<tr><td>{label}</td>");
        for value in told(latency) {
            let _ = write!(rows, "<td>{}</td>", scale.text(value));
        }
        let _ = write!(rows, "<td>{}</td></tr>", HumanCount(latency.histogram().len()));
    }
    table(&rows, page);
}

fn figure(drawing: &Drawing, page: &mut String) {
    let Drawing { title, height, elements, names } = drawing;
    let _ = write!(
        page,
        "<figure><figcaption>{title}</figcaption><div class=\"scroll\">\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{elements}</svg>\
         </div><p class=\"legend\">"
    );
    for (at, name) in names.iter().enumerate() {
        let _ = write!(page, r#"<span class="c{}">■</span> {name} "#, at % COLOURS);
    }
    page.push_str("</p></figure>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn provenance() -> Provenance {
        Provenance {
            date: "2026-01-02T03:04:05Z".to_owned(),
            version: "9.8.7",
            cpu: "Some CPU".to_owned(),
            cores: 2,
            kernel: "6.1".to_owned(),
            command: "loadtest echo --require 'rate>1'".to_owned(),
        }
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
        let page = page(&provenance(), &[outcome], None);
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
    fn the_circumstances_of_a_run_are_on_its_page() {
        let page = page(&provenance(), &[outcome("shardcast")], None);
        for wanted in ["2026-01-02T03:04:05Z", "9.8.7", "Some CPU", "Linux 6.1", "'rate&gt;1'"] {
            assert!(page.contains(wanted), "{wanted} is missing");
        }
    }

    #[test]
    fn no_table_is_wider_than_a_phone_without_scrolling_by_itself() {
        let page = page(&provenance(), &[outcome("shardcast")], None);
        assert_eq!(page.matches("<table").count(), 2);
        assert_eq!(page.matches("<div class=\"scroll\"><table").count(), 2);
        assert!(page.contains(".scroll { overflow-x: auto"), "the style lacks it");
        assert!(page.contains("initial-scale=1"), "the page is shown as on a desktop");
    }

    #[test]
    fn a_comparison_has_a_bar_per_server() {
        let servers = ["limit".to_owned(), "shardcast-epoll".to_owned()];
        let rounds = [vec![outcome("limit"), outcome("shardcast-epoll")]];
        let comparison = Comparison::new(&servers, "limit", &rounds).unwrap();
        let page = page(&provenance(), &rounds.concat(), Some(&comparison));
        assert_eq!(page.matches("class=\"bar").count(), 2);
        assert!(page.contains("ratio to limit") && page.contains("shardcast-epoll"));
        assert!(page.contains("median of per-round ratios"), "what is a ratio?");
        assert_self_contained(&page);
    }
}
