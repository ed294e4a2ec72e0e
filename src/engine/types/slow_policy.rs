//! What happens to a connection that takes its messages too slowly. Knows no queue:
//! `backpressure` acts by it.

/// What to do with a connection that takes its messages more slowly than they
/// are sent to it, once [`Limits::queue_bytes`](crate::Limits::queue_bytes) is exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum SlowPolicy {
    /// Close it with 1013 (try again later): it missed nothing until then, and
    /// it knows that it missed what follows.
    #[default]
    Close,
    /// Drop its oldest waiting messages until a quarter of the budget is free: it
    /// sees the newest, with gaps.
    DropOldest,
    /// Drop what arrives from the moment its queue is full until a quarter of the
    /// budget is free again: it sees an unbroken beginning, then a gap.
    DropNewest,
    /// Keep only the newest waiting message for each room and key (a message
    /// without a key: for each room); if that leaves less than a quarter of the
    /// budget free, drop the oldest. Answers to the connection itself are not
    /// replaced.
    Conflate,
}

impl SlowPolicy {
    /// Every policy, for flags and tests.
    pub const ALL: [Self; 4] = [Self::Close, Self::DropOldest, Self::DropNewest, Self::Conflate];

    /// Its name in flags and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::Conflate => "conflate",
        }
    }

    /// The policy of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_by_its_name() {
        for policy in SlowPolicy::ALL {
            assert_eq!(SlowPolicy::by_name(policy.name()), Some(policy));
        }
    }
}
