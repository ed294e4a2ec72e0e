//! `--require`: what a run must reach, such as `p99_us<1000`. Pure.

use crate::outcome::Outcome;
use std::fmt;
use std::str::FromStr;

/// One requirement: `[SCENARIO.]NAME OP NUMBER`.
///
/// NAME is a figure of the JSON output, such as `rate` or
/// `server_cpu_ns_per_message`, or `[LATENCY.]PERCENTILE_UNIT` such as
/// `p99_us`, `last.p99_9_ms`, `max_us`. Without LATENCY it is the first one of
/// the scenario.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Requirement {
    path: Vec<String>,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

/// The signs, longer ones before those that they begin with.
const SIGNS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::More),
    ("=", Comparison::Equal),
];

/// What became of a requirement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The outcome has nothing of that name.
    Absent,
    /// It holds.
    Met,
    /// It does not, the value being this.
    Missed(f64),
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = SIGNS.iter().find_map(|(sign, comparison)| {
            let (name, bound) = text.split_once(sign)?;
            Some((name.trim(), *comparison, bound.trim()))
        });
        let (name, comparison, bound) =
            found.ok_or("a requirement is NAME, a sign and a number, as in `p99_us<1000`")?;
        let bound = bound.replace(['_', ','], "").parse::<f64>();
        let bound = bound.ok().filter(|bound| bound.is_finite());
        let bound = bound.ok_or_else(|| format!("`{text}` does not end in a number"))?;
        let path: Vec<_> = name.split('.').map(str::to_owned).collect();
        if path.len() > 3 || path.iter().any(String::is_empty) {
            return Err(format!("`{name}` is not [SCENARIO.][LATENCY.]NAME"));
        }
        Ok(Self { path, comparison, bound })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, comparison)| *comparison == self.comparison);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.path.join("."), self.bound)
    }
}

impl Requirement {
    /// Holds `outcome` against it.
    pub(crate) fn judge(&self, outcome: &Outcome) -> Verdict {
        let Some(value) = self.value(outcome) else {
            return Verdict::Absent;
        };
        let is_met = match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::More => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Equal => (value - self.bound).abs() < 1e-9,
        };
        if is_met { Verdict::Met } else { Verdict::Missed(value) }
    }

    fn value(&self, outcome: &Outcome) -> Option<f64> {
        let parts: Vec<_> = self.path.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [scenario, rest @ ..] if *scenario == outcome.scenario && !rest.is_empty() => {
                value(outcome, rest)
            }
            rest => value(outcome, rest),
        }
    }
}

fn value(outcome: &Outcome, path: &[&str]) -> Option<f64> {
    match path {
        [name] => {
            let figure = outcome.figure_of(name).map(|figure| figure.value);
            figure.or_else(|| latency(outcome, None, name))
        }
        [key, name] => latency(outcome, Some(key), name),
        _ => None,
    }
}

/// The latency of a name such as `p99_us`; a distribution without an entry has
/// none.
fn latency(outcome: &Outcome, key: Option<&str>, name: &str) -> Option<f64> {
    let (which, unit) = name.rsplit_once('_')?;
    let unit_ns = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let histogram = outcome.latency_of(key)?.histogram();
    if histogram.is_empty() {
        return None;
    }
    let value_ns = match which {
        "max" => histogram.max() as f64,
        "mean" => histogram.mean(),
        percentile => {
            let percentile = percentile.strip_prefix('p')?.replace('_', ".").parse().ok()?;
            let is_percentile = (0.0..=100.0).contains(&percentile);
            is_percentile.then(|| histogram.value_at_percentile(percentile) as f64)?
        }
    };
    Some(value_ns / unit_ns)
}

/// Notes in `outcomes` what was missed: in the outcome that missed it, or in
/// the last if no outcome has anything of that name. Gives it too.
pub(crate) fn enforce(requirements: &[Requirement], outcomes: &mut [Outcome]) -> Vec<String> {
    let mut missed = Vec::new();
    for requirement in requirements {
        let mut is_known = false;
        for outcome in outcomes.iter_mut() {
            match requirement.judge(outcome) {
                Verdict::Absent => continue,
                Verdict::Met => {}
                Verdict::Missed(value) => {
                    missed.push(format!("required {requirement}, but it is {value:.3}"));
                    outcome.violation(missed[missed.len() - 1].clone());
                }
            }
            is_known = true;
        }
        if let (false, Some(last)) = (is_known, outcomes.last_mut()) {
            missed.push(format!("required {requirement}, which was not measured"));
            last.violation(missed[missed.len() - 1].clone());
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latency;
    use crate::outcome::Unit;

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new("fanout");
        outcome.figure("rate", "deliveries", 5_000.0, Unit::PerSecond);
        for (key, factor) in [("delivery", 1_000), ("last", 1_000_000)] {
            let mut latency = Latency::new();
            for value in 1..=100 {
                latency.record(value * factor);
            }
            outcome.latency(key, key, &latency);
        }
        outcome.latency("lag", "never", &Latency::new());
        outcome
    }

    #[track_caller]
    fn judged(text: &str) -> Verdict {
        text.parse::<Requirement>().unwrap().judge(&outcome())
    }

    #[test]
    fn figures_and_percentiles_are_held_against_their_bounds() {
        for met in [
            "rate>4_999",
            "rate >= 5000",
            "rate=5000",
            "p99_us<100",
            "p50_us<=50.1",
            "last.p99_ms < 100",
            "fanout.last.max_ms>99",
            "fanout.rate==5,000",
            "p99_9_us<101",
        ] {
            assert_eq!(judged(met), Verdict::Met, "{met}");
        }
        for missed in ["rate<5000", "p99_us<99", "last.p50_ms>51"] {
            assert!(matches!(judged(missed), Verdict::Missed(_)), "{missed}");
        }
        for absent in ["speed>1", "p99<1", "p101_us<1", "other.p99_us<1", "lag.p99_us<1"] {
            assert_eq!(judged(absent), Verdict::Absent, "{absent}");
        }
    }

    #[test]
    fn what_is_not_a_requirement_is_refused() {
        for text in ["p99_us", "p99_us<", "p99_us<fast", "<5", "a.b.c.d<1", "a..b<1", "rate<NaN"] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_missed_or_never_measured_is_a_violation() {
        let requirements = ["p99_us<1", "speed>1", "rate>1"].map(|text| text.parse().unwrap());
        let mut outcomes = [outcome()];
        enforce(&requirements[2..], &mut outcomes);
        assert!(outcomes[0].is_clean());
        enforce(&requirements, &mut outcomes);
        let table = outcomes[0].to_string();
        assert!(table.contains("required p99_us<1, but it is 99"), "{table}");
        assert!(table.contains("required speed>1, which was not measured"), "{table}");
    }
}
