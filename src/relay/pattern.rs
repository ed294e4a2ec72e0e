//! Which rooms a setting is for: names with `*` in them. Knows no setting.

use std::{fmt, str::FromStr};

/// A room name in which each `*` stands for any run of characters, none included.
/// There is no way to mean a star itself.
///
/// ```
/// use shardcast::relay::pattern::Pattern;
/// let pattern = Pattern::parse("chat:*:log").unwrap();
/// assert!(pattern.matches("chat:1:log") && pattern.matches("chat::log"));
/// assert!(!pattern.matches("chat:log") && !pattern.matches("chat:1:logs"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
}

/// The text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// It is empty, and no room has an empty name.
    Empty,
    /// It is longer than [`Pattern::MAX_BYTES`].
    TooLong,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a pattern has at least one character"),
            Self::TooLong => write!(f, "a pattern has at most {} bytes", Pattern::MAX_BYTES),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// The longest text, in bytes: twice that of a room's name.
    pub const MAX_BYTES: usize = 510;

    /// The pattern that is written as `text`.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match text.len() {
            0 => Err(PatternError::Empty),
            len if len > Self::MAX_BYTES => Err(PatternError::TooLong),
            _ => Ok(Self { text: text.into() }),
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the room `name` is meant. The time grows with the length of the name
    /// alone, whatever the stars: each part between two of them is looked for once.
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.text.split_once('*') else { return *self.text == *name };
        let Some(mut name) = name.strip_prefix(head) else { return false };
        let (parts, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in parts.split('*') {
            // The first place is as good as any later one. `str::find` is linear.
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(tail)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a pattern means, by definition.
    fn means(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| means(rest, &name[skip..])),
            Some((byte, rest)) => name.first() == Some(byte) && means(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_star_is_any_run_of_characters(pattern in "[ab*]{1,8}", name in "[ab*]{0,10}") {
            let found = Pattern::parse(&pattern).unwrap().matches(&name);
            prop_assert_eq!(found, means(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn a_pattern_is_neither_empty_nor_endless() {
        assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
        assert_eq!(Pattern::parse(&"*".repeat(511)), Err(PatternError::TooLong));
    }

    #[test]
    fn many_stars_take_no_longer_than_one() {
        // Backtracking would take 250 to the power of 100 steps.
        let pattern = Pattern::parse(&"a*".repeat(100)).unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(99))));
        assert!(
            !Pattern::parse(&format!("{}b", "*a".repeat(100))).unwrap().matches(&"a".repeat(255))
        );
    }
}
