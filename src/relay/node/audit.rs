//! Which histories are to be looked at, so that each is in every round. Knows no history.

use std::sync::Arc;

use super::settings::{AUDIT_MS, AUDIT_ROUNDS};

/// A round through all rooms with history, a part at a time.
#[derive(Debug, Default)]
pub(super) struct Audit {
    rooms: Vec<Arc<str>>,
    /// How many rooms the round began with, and when.
    count: usize,
    since: u64,
    rounds: u64,
}

impl Audit {
    /// The rooms that are due. `all` are those of the next round.
    pub(super) fn due(&mut self, now: u64, all: impl FnOnce() -> Vec<Arc<str>>) -> Vec<Arc<str>> {
        let passed = now.saturating_sub(self.since);
        if self.rooms.is_empty() && passed >= AUDIT_MS {
            self.rooms = all();
            (self.count, self.since) = (self.rooms.len(), now);
            self.rounds += 1;
            return Vec::new();
        }
        let left = AUDIT_MS.saturating_sub(passed) * self.count as u64 / AUDIT_MS;
        self.rooms.split_off(self.rooms.len().min(left as usize))
    }

    /// Whether those that are due are looked at in any case.
    pub(super) fn is_whole(&self) -> bool {
        self.rounds.is_multiple_of(AUDIT_ROUNDS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_room_is_due_once_in_each_round_and_few_at_once() {
        let all: Vec<Arc<str>> = (0..600).map(|room| room.to_string().into()).collect();
        let (mut audit, mut seen) = (Audit::default(), BTreeMap::new());
        for now in (AUDIT_MS..4 * AUDIT_MS + 500).step_by(250) {
            let due = audit.due(now, || all.clone());
            assert!(due.len() <= 31, "{} at once", due.len());
            for room in due {
                *seen.entry(room).or_insert(0) += 1;
            }
        }
        assert!(seen.len() == 600 && seen.values().all(|count| (2..=3).contains(count)));
    }
}
