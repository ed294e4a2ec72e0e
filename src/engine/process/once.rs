//! Requests that were carried out, so that a client which repeats one, because it has not
//! seen the answer, publishes once. Knows names and times; not what was asked.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use hashbrown::HashSet;

use crate::engine::types::limits::Limits;

/// The requests of all connections of a process within the idempotency window.
#[derive(Debug, Default)]
pub(crate) struct OnceTable(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    keys: HashSet<Box<str>, foldhash::fast::RandomState>,
    /// The same, in the order in which they came, with the time at which they are
    /// forgotten.
    by_time: VecDeque<(u64, Box<str>)>,
}

impl OnceTable {
    /// Whether `key` is seen for the first time within the window. It is remembered from
    /// now on; the oldest are forgotten beyond [`Limits::ONCE_KEYS`].
    pub(crate) fn is_first(&self, key: &str, now_ms: u64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((until_ms, oldest)) = seen.by_time.front()
            && (*until_ms <= now_ms || seen.by_time.len() >= Limits::ONCE_KEYS)
        {
            let oldest = oldest.clone();
            seen.keys.remove(&oldest);
            seen.by_time.pop_front();
        }
        if !seen.keys.insert(key.into()) {
            return false;
        }
        seen.by_time.push_back((now_ms + Limits::ONCE_WINDOW_MS, key.into()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_first_again_when_its_time_is_over_or_too_many_came_behind_it() {
        let table = OnceTable::default();
        assert!(table.is_first("a", 0) && !table.is_first("a", Limits::ONCE_WINDOW_MS - 1));
        assert!(table.is_first("a", Limits::ONCE_WINDOW_MS));
        for key in 0..Limits::ONCE_KEYS {
            assert!(table.is_first(&key.to_string(), Limits::ONCE_WINDOW_MS));
        }
        assert!(table.is_first("a", Limits::ONCE_WINDOW_MS));
        assert_eq!(table.0.lock().unwrap().keys.len(), Limits::ONCE_KEYS);
    }
}
