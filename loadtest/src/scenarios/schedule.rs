//! When which publication is due: a fixed rate, whatever the server does, so
//! that a server that stalls is charged for every message it kept waiting.
//! Pure.

use crate::limits::PUBLICATIONS;
use anyhow::{Result, ensure};
use std::time::Duration;

/// One publication of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Publication {
    /// The room.
    pub(super) room: usize,
    /// Which of the room's publishers sends it.
    pub(super) publisher: usize,
    /// Its number among that publisher's.
    pub(super) sequence: u32,
    /// When it is due.
    pub(super) due_ns: u64,
}

/// Publications at a fixed rate, room after room, publisher after publisher.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    begin_ns: u64,
    per_second: u64,
    rooms: u64,
    publishers: u64,
    issued: u64,
    total: u64,
}

impl Schedule {
    /// `rate` publications per second into each of `rooms`, for `duration` from
    /// `begin_ns` on.
    pub(super) fn new(
        begin_ns: u64,
        rate: u32,
        rooms: usize,
        publishers: usize,
        duration: Duration,
    ) -> Result<Self> {
        let per_second = u64::from(rate) * rooms as u64;
        let total = per_second * duration.as_secs();
        ensure!(
            total <= PUBLICATIONS,
            "{total} publications are too many for one run; {PUBLICATIONS} are not"
        );
        Ok(Self {
            begin_ns,
            per_second,
            rooms: rooms as u64,
            publishers: publishers as u64,
            issued: 0,
            total,
        })
    }

    /// Moves the beginning, which must come before the first is taken.
    pub(super) fn begin_at(&mut self, begin_ns: u64) {
        debug_assert_eq!(self.issued, 0);
        self.begin_ns = begin_ns;
    }

    /// When the next is due; `None` after the last.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        let after = u128::from(self.issued) * 1_000_000_000 / u128::from(self.per_second);
        (self.issued < self.total).then_some(self.begin_ns + after as u64)
    }

    /// The next one, if it is due at `now_ns`.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<Publication> {
        let due_ns = self.next_due_ns().filter(|due| *due <= now_ns)?;
        let (turn, room) = (self.issued / self.rooms, self.issued % self.rooms);
        self.issued += 1;
        Some(Publication {
            room: room as usize,
            publisher: (turn % self.publishers) as usize,
            sequence: (turn / self.publishers) as u32,
            due_ns,
        })
    }

    /// When a publication of which the room, the publisher and the number are known
    /// was due.
    pub(super) fn due_ns_of(&self, room: usize, publisher: usize, sequence: u32) -> u64 {
        let turn = u64::from(sequence) * self.publishers + publisher as u64;
        let issued = turn * self.rooms + room as u64;
        self.begin_ns + (u128::from(issued) * 1_000_000_000 / u128::from(self.per_second)) as u64
    }

    /// How many have been taken.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    /// How many there are per second, in all rooms.
    pub(super) fn per_second(&self) -> u64 {
        self.per_second
    }

    /// How many there are in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_publisher_of_every_room_numbers_its_own_without_a_gap() {
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(1000, 7, 3, 2, second).unwrap();
        let mut next: HashMap<(usize, usize), u32> = HashMap::new();
        let mut last_ns = 0;
        while let Some(it) = schedule.take_due(u64::MAX) {
            assert!(it.due_ns >= last_ns);
            last_ns = it.due_ns;
            let expected = next.entry((it.room, it.publisher)).or_default();
            assert_eq!(it.sequence, *expected);
            *expected += 1;
            assert_eq!(schedule.due_ns_of(it.room, it.publisher, it.sequence), it.due_ns);
        }
        assert_eq!(schedule.issued(), 21);
        assert_eq!(next.len(), 6);
        assert!(last_ns < 1000 + 1_000_000_000);
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(0, 10, 1, 1, second).unwrap();
        assert!(schedule.take_due(0).is_some());
        assert_eq!(schedule.take_due(99_999_999), None);
        assert_eq!(schedule.next_due_ns(), Some(100_000_000));
        assert!(schedule.take_due(100_000_000).is_some());
    }
}
