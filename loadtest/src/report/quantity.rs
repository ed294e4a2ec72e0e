//! Numbers with their units, for people. Values that are read side by side share
//! one unit. Pure.

use crate::outcome::Unit;
use indicatif::HumanCount;

/// The percentiles that are told.
pub(super) const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9)];

const TIMES: [(f64, &str); 4] = [(1.0, " ns"), (1e3, " µs"), (1e6, " ms"), (1e9, " s")];
const SIZES: [(f64, &str); 4] =
    [(1.0, " B"), (1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB")];

/// One unit of measurement for several values of one quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    divisor: f64,
    suffix: &'static str,
    /// Whether fractions mean anything.
    whole: bool,
}

impl Scale {
    /// The unit in which the geometric mean of `values` has one to three digits
    /// before the point.
    pub(crate) fn of(unit: Unit, values: impl IntoIterator<Item = f64>) -> Self {
        let (count, sum) = values
            .into_iter()
            .filter(|value| *value > 0.0)
            .fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value.ln()));
        let middle = (sum / f64::from(count.max(1))).exp();
        let fitting = |units: &[(f64, &'static str)]| {
            // A hair below the boundary rounds up to it.
            let fits = units.iter().rev().find(|(divisor, _)| middle >= divisor * 0.9995);
            *fits.unwrap_or(&units[0])
        };
        let ((divisor, suffix), whole) = match unit {
            Unit::Count => ((1.0, ""), true),
            Unit::PerSecond => ((1.0, "/s"), true),
            Unit::Nanoseconds => (fitting(&TIMES), false),
            Unit::Bytes => (fitting(&SIZES), false),
            Unit::Share => ((0.01, " %"), true),
            Unit::Ratio => ((1.0, ""), false),
        };
        Self { divisor, suffix, whole }
    }

    /// `value` with three digits that mean something, and the unit.
    pub(crate) fn text(&self, value: f64) -> String {
        let value = value / self.divisor;
        let digits = match value.abs() {
            _ if self.whole || value == 0.0 => 0,
            99.95.. => 0,
            9.995.. => 1,
            0.9995.. => 2,
            _ => 3,
        };
        // Nanoseconds and bytes have no smaller parts.
        let digits = if matches!(self.suffix, " ns" | " B") && value >= 9.995 { 0 } else { digits };
        let number = match digits {
            0 => HumanCount(value.max(0.0).round() as u64).to_string(),
            _ => format!("{value:.digits$}"),
        };
        format!("{number}{}", self.suffix)
    }
}

/// A number with its unit, for people.
pub(crate) fn value_text(value: f64, unit: Unit) -> String {
    Scale::of(unit, [value]).text(value)
}

/// A time for people.
pub(crate) fn time_text(value_ns: f64) -> String {
    value_text(value_ns, Unit::Nanoseconds)
}

/// A round value at an axis: without digits behind the point that are zero.
pub(super) fn tick_text(value: f64, unit: Unit) -> String {
    let text = value_text(value, unit);
    let (number, suffix) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    if suffix.is_empty() { number.to_owned() } else { format!("{number} {suffix}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_side_by_side_share_one_unit() {
        let values = [8_650_800.0, 10_600_000.0];
        let scale = Scale::of(Unit::Nanoseconds, values);
        assert_eq!(values.map(|value| scale.text(value)), ["8.65 ms", "10.6 ms"]);
        let wide = [900.0, 40_000.0, 3_000_000.0];
        let scale = Scale::of(Unit::Nanoseconds, wide);
        assert_eq!(wide.map(|value| scale.text(value)), ["0.900 µs", "40.0 µs", "3,000 µs"]);
        let bytes = Scale::of(Unit::Bytes, [5_000.0, 20_000.0]);
        assert_eq!(bytes.text(5_000.0), "4.88 KiB");
    }

    #[test]
    fn a_unit_changes_where_the_number_would_have_four_digits() {
        let texts = [0.0, 999.0, 1_000.0, 8_650_800.0, 10_600_000.0, 2e9].map(time_text);
        assert_eq!(texts, ["0 ns", "999 ns", "1.00 µs", "8.65 ms", "10.6 ms", "2.00 s"]);
        assert_eq!(value_text(0.25, Unit::Share), "25 %");
        assert_eq!(value_text(1.234, Unit::Ratio), "1.23");
        assert_eq!(value_text(1234.4, Unit::PerSecond), "1,234/s");
    }

    #[test]
    fn round_values_at_an_axis_have_no_zeros_behind_the_point() {
        let texts = [1.0, 1e3, 1e4, 1e5, 1e9].map(|ns| tick_text(ns, Unit::Nanoseconds));
        assert_eq!(texts, ["1 ns", "1 µs", "10 µs", "100 µs", "1 s"]);
        assert_eq!(tick_text(10_000.0, Unit::Count), "10,000");
    }
}
