//! Rules for rooms as flags have them. Knows no flag by name.

use super::units::TimeSpan;
use crate::relay::{
    broker::HistoryLimits,
    node::HistoryRule,
    pattern::{Pattern, PatternError},
};

/// The rooms that a rule is for.
pub(super) fn pattern(text: &str) -> Result<Pattern, PatternError> {
    Pattern::parse(text)
}

/// A rule as flags have it: `PATTERN=COUNT,TIME`. The pattern may have `=` in it.
pub(super) fn history_rule(text: &str) -> Result<HistoryRule, String> {
    let form = "not of the form PATTERN=COUNT,TIME, such as news:*=1000,5m";
    let (pattern, limits) = text.rsplit_once('=').ok_or(form)?;
    let (count, age) = limits.split_once(',').ok_or(form)?;
    let pattern = Pattern::parse(pattern).map_err(|error| error.to_string())?;
    let count = count.parse::<u64>().ok().filter(|count| (1..=MAX_COUNT).contains(count));
    let count = count.ok_or_else(|| format!("the count is not a number from 1 to {MAX_COUNT}"))?;
    let TimeSpan(age) = TimeSpan::positive(age).map_err(|error| format!("the time is {error}"))?;
    Ok(HistoryRule { pattern, limits: HistoryLimits { count, age_ms: age.as_millis() as u64 } })
}

/// More publications than that no room keeps: a client that comes back gets all of them
/// at once.
const MAX_COUNT: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_pattern_a_count_and_a_time() {
        let rule = history_rule("a=b*=20,5m").unwrap();
        assert_eq!(rule.pattern.as_str(), "a=b*");
        assert_eq!(rule.limits, HistoryLimits { count: 20, age_ms: 300_000 });
        for (wrong, why) in [
            ("news", "not of the form"),
            ("news=20", "not of the form"),
            ("=20,5m", "at least one character"),
            ("news=0,5m", "the count is not a number from 1"),
            ("news=20,5", "the time is"),
            ("news=20,0s", "the time is"),
        ] {
            assert!(history_rule(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
