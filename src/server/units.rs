//! Sizes and times as people write them in flags: `64k`, `10s`. Each is shown
//! in the form in which it can be given. Knows no flag by name.

use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes: plain, or with `k` (KiB) or `m` (MiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) usize);

impl ByteSize {
    /// No message, queue or request head is larger: each is held in memory, for
    /// every connection.
    const MOST: usize = 1024 * MIB;
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Longer suffixes first, where one ends in another.
const SIZES: [(&str, usize); 4] = [("kib", KIB), ("mib", MIB), ("k", KIB), ("m", MIB)];

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let suffixed = SIZES.iter().find_map(|(suffix, unit)| {
            let number = lower.strip_suffix(suffix)?;
            Some((number, *unit))
        });
        let (number, unit) = suffixed.unwrap_or((&lower, 1));
        let number = whole(number).ok_or("not a size such as 4096, 64k or 1m")?;
        match usize::try_from(number).ok().and_then(|number| number.checked_mul(unit)) {
            Some(bytes) if bytes <= Self::MOST => Ok(Self(bytes)),
            _ => Err("more than 1024m"),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            bytes if bytes % MIB == 0 => write!(f, "{}m", bytes / MIB),
            bytes if bytes % KIB == 0 => write!(f, "{}k", bytes / KIB),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// A time with its unit: `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeSpan(pub(super) Duration);

impl TimeSpan {
    /// A time-out of more than a day is a slip of the finger.
    const MOST: Duration = Duration::from_hours(24);

    /// For a time that must be above zero.
    pub(super) fn positive(text: &str) -> Result<Self, &'static str> {
        let time: Self = text.parse()?;
        if time.0.is_zero() { Err("must be above zero") } else { Ok(time) }
    }
}

/// Units in milliseconds; longer suffixes first, where one ends in another.
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

impl FromStr for TimeSpan {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if whole(text).is_some() {
            return Err("a time needs a unit, such as 500ms, 10s or 2m");
        }
        let suffixed = TIMES.iter().find_map(|(suffix, unit_ms)| {
            let number = whole(text.strip_suffix(suffix)?)?;
            Some((number, *unit_ms))
        });
        let (number, unit_ms) = suffixed.ok_or("not a time such as 500ms, 10s or 2m")?;
        match number.checked_mul(unit_ms).map(Duration::from_millis) {
            Some(time) if time <= Self::MOST => Ok(Self(time)),
            _ => Err("more than 24h"),
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

/// Digits and nothing else: no sign, no blank.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number too long for 64 bits is above every bound.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<usize, &'static str> {
        text.parse().map(|ByteSize(bytes)| bytes)
    }

    fn time(text: &str) -> Result<Duration, &'static str> {
        text.parse().map(|TimeSpan(time)| time)
    }

    #[test]
    fn a_size_is_bytes_or_has_a_binary_suffix() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64k", 65_536), ("64KiB", 65_536), ("2M", 2 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "k", "-1", "+1", "1.5k", "1 k", "1g", "0x10", "1kk"] {
            assert_eq!(size(text), Err("not a size such as 4096, 64k or 1m"), "{text:?}");
        }
        for text in ["1025m", "99999999999999999999", "99999999999999999999m"] {
            assert_eq!(size(text), Err("more than 1024m"), "{text:?}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        for (text, ms) in
            [("0s", 0), ("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("24h", 86_400_000)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(time("10"), Err("a time needs a unit, such as 500ms, 10s or 2m"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "s", "-1s", "1.5s", "10 s", "10d", "ten"] {
            assert_eq!(time(text), Err("not a time such as 500ms, 10s or 2m"), "{text:?}");
        }
        assert_eq!(TimeSpan::positive("0s"), Err("must be above zero"));
        for text in ["25h", "99999999999999999999s"] {
            assert_eq!(time(text), Err("more than 24h"), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_can_be_given() {
        for bytes in [0, 1, 1000, 1024, 512_000, 1 << 20, (1 << 20) + 1] {
            assert_eq!(size(&ByteSize(bytes).to_string()), Ok(bytes));
        }
        for ms in [0, 1, 999, 1000, 60_000, 54_321] {
            let wanted = Duration::from_millis(ms);
            assert_eq!(time(&TimeSpan(wanted).to_string()), Ok(wanted));
        }
    }
}
