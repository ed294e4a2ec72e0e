//! What a scenario found: figures, distributions, messages over time, charts and
//! violations. Data only: how it is shown is the report's. Keys are stable names,
//! labels are for people.

use crate::measure::{Latency, Losses, Usage};
use crate::share::Series;
use indicatif::HumanCount;
use serde_json::{Map, Value};

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
    /// How many times another figure.
    Ratio,
}

/// One number of a result.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) key: String,
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

/// A distribution with its key and its label.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) latency: Latency,
}

/// How the axes of a chart are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axes {
    /// Both by powers of ten.
    Logarithmic,
    /// Both evenly, from 0 on.
    Linear,
    /// Evenly from 0 on, and upwards by powers of ten.
    LogarithmicUpwards,
}

/// Lines over two axes, all of one unit.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_label: &'static str,
    pub(crate) unit: Unit,
    pub(crate) axes: Axes,
    /// A name and its points for each.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// What a scenario found.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: &'static str,
    pub(crate) settings: Map<String, Value>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) latencies: Vec<Distribution>,
    pub(crate) series: Series,
    pub(crate) charts: Vec<Chart>,
    pub(crate) violations: Vec<String>,
}

impl Outcome {
    /// An outcome without figures yet.
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            settings: Map::new(),
            figures: Vec::new(),
            latencies: Vec::new(),
            series: Series::default(),
            charts: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Notes under which setting it was found.
    pub(crate) fn setting(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.settings.insert(key.to_owned(), value.into());
        self
    }

    /// The setting called `key`, if it is a text.
    pub(crate) fn setting_of(&self, key: &str) -> Option<&str> {
        self.settings.get(key)?.as_str()
    }

    /// Adds a number.
    pub(crate) fn figure(&mut self, key: &str, label: &str, value: f64, unit: Unit) -> &mut Self {
        self.figures.push(Figure { key: key.to_owned(), label: label.to_owned(), value, unit });
        self
    }

    /// Adds a distribution.
    pub(crate) fn latency(&mut self, key: &'static str, label: &'static str, latency: &Latency) {
        self.latencies.push(Distribution { key, label, latency: latency.clone() });
    }

    /// Adds the messages over time.
    pub(crate) fn series(&mut self, series: &Series) {
        self.series = series.clone();
    }

    /// Adds a plot of its own.
    pub(crate) fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    /// The number called `key`.
    pub(crate) fn figure_of(&self, key: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.key == key)
    }

    /// The distribution called `key`, or the first if that is `None`.
    pub(crate) fn latency_of(&self, key: Option<&str>) -> Option<&Latency> {
        let mut latencies = self.latencies.iter();
        let found = latencies.find(|known| key.is_none_or(|key| key == known.key));
        found.map(|known| &known.latency)
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
}
