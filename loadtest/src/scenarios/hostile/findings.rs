//! What a case found: figures, those that have a bar held against it, as lines
//! of a table. Pure.

use crate::measure::Latency;
use crate::outcome::Unit;
use crate::report::value_text;
use std::fmt;

/// One figure. With a bar it is a promise: at most that much.
#[derive(Clone, Debug)]
struct Line {
    what: String,
    value: f64,
    unit: Unit,
    bar: Option<f64>,
}

impl Line {
    fn is_met(&self) -> bool {
        self.bar.is_none_or(|bar| self.value <= bar)
    }

    /// How far it is from its bar: above 1 if it is missed.
    fn strain(&self) -> f64 {
        match self.bar {
            None => -1.0,
            Some(bar) if self.value <= bar => self.value / bar.max(1.0),
            Some(bar) => 1.0 + self.value / bar.max(1.0),
        }
    }
}

/// All figures of a case.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    case: String,
    /// The server that it was found with.
    server: String,
    /// Precedes the names of figures.
    group: String,
    lines: Vec<Line>,
    notes: Vec<String>,
}

impl Findings {
    /// None yet for `case`, of a server called `server`.
    pub(super) fn new(case: String, server: String) -> Self {
        Self { case, server, group: String::new(), lines: Vec::new(), notes: Vec::new() }
    }

    /// Puts `name` before what is added from now on, if it is not empty.
    pub(super) fn group(&mut self, name: &str) {
        self.group = if name.is_empty() { String::new() } else { format!("{name}: ") };
    }

    /// Adds a figure that is only told.
    pub(super) fn figure(&mut self, what: &str, value: f64, unit: Unit) {
        self.add(what, value, unit, None);
    }

    /// Adds a figure that must be at most `bar`.
    pub(super) fn at_most(&mut self, what: &str, value: f64, unit: Unit, bar: f64) {
        self.add(what, value, unit, Some(bar));
    }

    fn add(&mut self, what: &str, value: f64, unit: Unit, bar: Option<f64>) {
        let what = format!("{}{what}", self.group);
        self.lines.push(Line { what, value, unit, bar });
    }

    /// Adds a number of things that must not be.
    pub(super) fn none(&mut self, what: &str, count: u64) {
        self.at_most(what, count as f64, Unit::Count, 0.0);
    }

    /// Adds a percentile that must be at most `bar_ms`, if there is one.
    pub(super) fn percentile(&mut self, what: &str, latency: &Latency, of: f64, bar_ms: f64) {
        if latency.histogram().is_empty() {
            return;
        }
        let value = latency.histogram().value_at_percentile(of);
        self.at_most(what, value as f64, Unit::Nanoseconds, bar_ms * 1e6);
    }

    /// Adds a line of text.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text: String = text.into();
        self.notes.push(format!("{}{text}", self.group));
    }

    /// Adds the first of the reasons why something failed.
    pub(super) fn note_first(&mut self, who: &str, reasons: &[String]) {
        if let Some(reason) = reasons.first() {
            self.note(format!("{who}: {reason}"));
        }
    }

    /// Whether every bar is met.
    pub(crate) fn is_met(&self) -> bool {
        self.lines.iter().all(Line::is_met)
    }

    /// One sentence for each bar that is missed.
    pub(crate) fn missed(&self) -> impl Iterator<Item = String> {
        let missed = self.lines.iter().filter(|line| !line.is_met());
        missed.map(|line| {
            let value = value_text(line.value, line.unit);
            let bar = value_text(line.bar.unwrap_or_default(), line.unit);
            format!("{}: {}: {value}, at most {bar} is allowed", self.case, line.what)
        })
    }

    /// The line of this case in a table of all: the figure that is nearest to
    /// its bar or farthest beyond it.
    pub(crate) fn summary(&self) -> String {
        let strained = self.lines.iter().max_by(|a, b| a.strain().total_cmp(&b.strain()));
        let Some(line) = strained else {
            return format!("{:<16} nothing found", self.case);
        };
        let value = value_text(line.value, line.unit);
        let bar = line.bar.map_or("-".to_owned(), |bar| value_text(bar, line.unit));
        let verdict = match (self.is_met(), line.bar) {
            (true, Some(_)) => "met",
            (true, None) => "-",
            (false, _) => "NOT MET",
        };
        format!("{:<16} {:<46} {value:>12} {bar:>12}  {verdict}", self.case, line.what)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}  ({})", self.case, self.server)?;
        for line in &self.lines {
            let value = value_text(line.value, line.unit);
            write!(f, "  {:<46} {value:>14}", line.what)?;
            match line.bar {
                None => writeln!(f)?,
                Some(bar) => {
                    let verdict = if line.is_met() { "met" } else { "NOT MET" };
                    writeln!(f, "  <= {:<12} {verdict}", value_text(bar, line.unit))?;
                }
            }
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_told_and_leads_the_summary() {
        let mut findings = Findings::new("case".to_owned(), "server".to_owned());
        findings.figure("messages sent", 1e9, Unit::Count);
        findings.at_most("resident", 900.0, Unit::Bytes, 1_000.0);
        assert!(findings.is_met());
        assert!(findings.summary().contains("resident"), "{}", findings.summary());
        findings.none("messages lost", 3);
        assert!(!findings.is_met());
        assert_eq!(findings.missed().count(), 1);
        let summary = findings.summary();
        assert!(summary.contains("messages lost") && summary.ends_with("NOT MET"), "{summary}");
    }
}
