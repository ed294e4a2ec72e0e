//! What any thread may know of a relay: whether it is ready, why not, and what it has
//! counted. Does nothing itself.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a relay tells of itself. Made not ready: it has not reached its broker yet.
#[derive(Debug)]
pub struct RelayStatus {
    /// Why it is not ready: the cause's name, and a text.
    reasons: Mutex<BTreeMap<&'static str, String>>,
    /// What it counts.
    pub counters: RelayCounters,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters and levels, each since the start.
        #[derive(Debug, Default)]
        pub struct RelayCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl RelayCounters {
            /// Each with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Messages given to the broker.
    published,
    /// Messages of other nodes that arrived.
    received,
    /// Own messages that came back.
    own,
    /// Publications that were dropped because the broker was away too long or too much
    /// was published meanwhile.
    dropped,
    /// Publications that the broker refused.
    refused,
    /// Publications that were repeats of others.
    repeated,
    /// Times at which messages of another node were missing.
    gaps,
    /// How many those were, as far as is known.
    lost,
    /// Messages of a form that is not known, or of no form.
    foreign,
    /// Connections to the broker that were made anew.
    reconnects,
    /// Recoveries that were whole, and those that were not.
    recovered,
    /// See `recovered`.
    not_recovered,
    /// Now: publications that wait for the broker.
    queued,
    /// Now: their bytes.
    queued_bytes,
    /// Now: other nodes whose heartbeats arrive.
    nodes,
    /// The last heartbeat's way through the broker and back, in microseconds.
    lag_us,
}

impl RelayCounters {
    /// So many more.
    pub fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    /// What a level is now.
    pub fn set(level: &AtomicU64, now: u64) {
        level.store(now, Ordering::Relaxed);
    }
}

impl Default for RelayStatus {
    fn default() -> Self {
        let reasons = BTreeMap::from([("broker", "not connected yet".to_owned())]);
        Self { reasons: Mutex::new(reasons), counters: RelayCounters::default() }
    }
}

impl RelayStatus {
    fn reasons_locked(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages pass in both directions.
    pub fn is_ready(&self) -> bool {
        self.reasons_locked().is_empty()
    }

    /// Why it is not ready: one sentence for each cause, without a full stop.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons_locked().values().cloned().collect()
    }

    /// Sets or clears one cause. Returns whether that changed anything.
    pub fn set(&self, cause: &'static str, reason: Option<String>) -> bool {
        let mut reasons = self.reasons_locked();
        match reason {
            Some(reason) => reasons.insert(cause, reason.clone()) != Some(reason),
            None => reasons.remove(cause).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_no_cause_is_left() {
        let status = RelayStatus::default();
        assert!(!status.is_ready());
        assert!(status.set("heartbeat", Some("no heartbeat for 900 ms".to_owned())));
        assert!(status.set("broker", None) && !status.set("broker", None));
        assert_eq!(status.reasons(), ["no heartbeat for 900 ms"]);
        assert!(status.set("heartbeat", None) && status.is_ready());
    }
}
