//! What happened in each second of a load. Bounded: what comes after the last second
//! counts as in it.

use crate::measure::Latency;
use crate::outcome::{Axes, Chart, Unit};
use std::time::Duration;

/// One second.
#[derive(Clone, Debug)]
struct Second {
    published: u64,
    near: Latency,
    far: Latency,
    lost: u64,
}

/// All seconds from the beginning on.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    begun_ns: u64,
    seconds: Vec<Second>,
}

impl Timeline {
    /// A timeline of `duration` from `begun_ns` on.
    pub(super) fn new(begun_ns: u64, duration: Duration) -> Self {
        let empty = Second { published: 0, near: Latency::new(), far: Latency::new(), lost: 0 };
        Self { begun_ns, seconds: vec![empty; duration.as_secs().max(1) as usize] }
    }

    fn at(&mut self, at_ns: u64) -> &mut Second {
        let second = at_ns.saturating_sub(self.begun_ns) / 1_000_000_000;
        let last = self.seconds.len() - 1;
        &mut self.seconds[last.min(second as usize)]
    }

    /// A publication was written.
    pub(super) fn published(&mut self, at_ns: u64) {
        self.at(at_ns).published += 1;
    }

    /// A delivery, on the publisher's own node if it is `near`.
    pub(super) fn delivered(&mut self, at_ns: u64, latency_ns: u64, near: bool) {
        let second = self.at(at_ns);
        let latency = if near { &mut second.near } else { &mut second.far };
        latency.record(latency_ns);
    }

    /// A publication that was due then never came to another node.
    pub(super) fn lost(&mut self, due_ns: u64) {
        self.at(due_ns).lost += 1;
    }

    /// Latencies on the publisher's own node within some seconds.
    pub(super) fn near_within(&self, from: usize, to: usize) -> Latency {
        let mut all = Latency::new();
        for second in self.seconds.iter().take(to).skip(from) {
            all.merge(&second.near);
        }
        all
    }

    /// Throughput and loss, and latency, over time.
    pub(super) fn charts(&self, what: &str) -> [Chart; 2] {
        let line = |name: &str, value: &dyn Fn(&Second) -> Option<f64>| {
            let points = self.seconds.iter().enumerate();
            let points = points.filter_map(|(at, second)| Some((at as f64, value(second)?)));
            (name.to_owned(), points.collect())
        };
        let count = |latency: &Latency| Some(latency.histogram().len() as f64);
        let at = |latency: &Latency, quantile: f64| {
            let histogram = latency.histogram();
            (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64)
        };
        let rates = Chart {
            title: format!("Messages, {what}"),
            x_label: "seconds",
            unit: Unit::PerSecond,
            axes: Axes::Linear,
            lines: vec![
                line("published", &|second| Some(second.published as f64)),
                line("on the publisher's node", &|second| count(&second.near)),
                line("on other nodes", &|second| count(&second.far)),
                line("lost, by when due", &|second| Some(second.lost as f64)),
            ],
        };
        let latencies = Chart {
            title: format!("Latency, {what}"),
            x_label: "seconds",
            unit: Unit::Nanoseconds,
            axes: Axes::LogarithmicUpwards,
            lines: vec![
                line("publisher's node, p50", &|second| at(&second.near, 0.5)),
                line("publisher's node, p99", &|second| at(&second.near, 0.99)),
                line("other nodes, p50", &|second| at(&second.far, 0.5)),
                line("other nodes, p99", &|second| at(&second.far, 0.99)),
            ],
        };
        [rates, latencies]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_the_last_second_counts_as_in_it() {
        let mut timeline = Timeline::new(5, Duration::from_secs(2));
        timeline.published(5);
        timeline.lost(u64::MAX);
        timeline.delivered(0, 7, true);
        let [rates, _] = timeline.charts("x");
        let of =
            |name: &str| rates.lines.iter().find(|(known, _)| known == name).unwrap().1.clone();
        assert_eq!(of("published"), [(0.0, 1.0), (1.0, 0.0)]);
        assert_eq!(of("lost, by when due"), [(0.0, 0.0), (1.0, 1.0)]);
        assert_eq!(timeline.near_within(0, 1).histogram().len(), 1);
        assert_eq!(timeline.near_within(1, 9).histogram().len(), 0);
    }
}
