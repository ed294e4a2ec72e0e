//! A coarse timer wheel with lazy re-insertion. Time is an argument. Knows no
//! connection's state.
//!
//! Each connection has one entry that counts: the one whose tick it remembers.
//! Activity moves no entry; when an entry comes up, its connection says whether
//! anything is due and when to look again. An entry that no longer counts (its
//! connection has gone or asked for an earlier look) is recognised by its owner
//! and dropped.

use crate::{
    engine::types::time::{Tick, reached},
    id::ConnId,
};

/// Slots of the wheel: a horizon of 16 s. An entry beyond it is looked at once
/// per turn of the wheel.
const SLOTS: u32 = 1024;

const WORDS: usize = SLOTS as usize / 64;

/// Entries by the tick at which they come up.
///
/// Invariant: every entry lies in the slot of a tick in `(turned, turned +
/// SLOTS]`.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Box<[Vec<ConnId>]>,
    /// One bit for each slot that has entries, so that a turn finds the next
    /// one in a few words.
    occupied: [u64; WORDS],
    /// Up to and including this tick, everything has come up.
    turned: Tick,
    /// What came up and has not been taken yet.
    due: Vec<(ConnId, Tick)>,
    entries: usize,
}

impl Wheel {
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            occupied: [0; WORDS],
            turned: now,
            due: Vec::new(),
            entries: 0,
        }
    }

    /// Turns an empty wheel to `now` at once, so that what is inserted next is
    /// placed by the present time.
    pub(crate) fn catch_up(&mut self, now: Tick) {
        if self.entries == 0 && self.due.is_empty() {
            self.turned = now;
        }
    }

    /// Adds an entry for `id` that comes up at `at`, or earlier if that is past
    /// the horizon. Returns the tick at which it will, for the owner to remember.
    pub(crate) fn insert(&mut self, id: ConnId, at: Tick) -> Tick {
        let ahead = at.wrapping_sub(self.turned);
        let ahead = if ahead == 0 || ahead > u32::MAX / 2 { 1 } else { ahead.min(SLOTS) };
        let tick = self.turned.wrapping_add(ahead);
        let slot = (tick % SLOTS) as usize;
        self.slots[slot].push(id);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.entries += 1;
        tick
    }

    /// The next entry that has come up by `now`, with the tick it was set to.
    pub(crate) fn take_due(&mut self, now: Tick) -> Option<(ConnId, Tick)> {
        while self.due.is_empty() && self.turned != now && reached(self.turned, now) {
            if self.entries == 0 {
                self.turned = now;
                break;
            }
            self.turned = self.turned.wrapping_add(1);
            let index = (self.turned % SLOTS) as usize;
            self.occupied[index / 64] &= !(1 << (index % 64));
            let slot = &mut self.slots[index];
            self.entries -= slot.len();
            self.due.extend(slot.drain(..).map(|id| (id, self.turned)));
            // A burst must not be paid for by every later turn of the wheel.
            if slot.capacity() > 64 {
                slot.shrink_to(64);
            }
        }
        self.due.pop()
    }

    /// Ticks until the next entry comes up, `None` if there is none.
    pub(crate) fn next_in(&self, now: Tick) -> Option<u32> {
        if !self.due.is_empty() {
            return Some(0);
        }
        if self.entries == 0 {
            return None;
        }
        let behind = now.wrapping_sub(self.turned);
        let first = (self.turned.wrapping_add(1) % SLOTS) as usize;
        // The word in which the next slot lies comes twice: its upper bits
        // first, its lower bits after a whole turn of the wheel.
        (0..=WORDS).find_map(|step| {
            let word = (first / 64 + step) % WORDS;
            let upper = u64::MAX << (first % 64);
            let seen = match step {
                0 => upper,
                WORDS => !upper,
                _ => u64::MAX,
            };
            let bits = self.occupied[word] & seen;
            (bits != 0).then(|| {
                let slot = word as u32 * 64 + bits.trailing_zeros();
                let ahead = slot.wrapping_sub(first as u32) % SLOTS + 1;
                ahead.saturating_sub(behind)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId::new(0, slot, 0)
    }

    #[test]
    fn entries_come_up_at_their_tick_and_not_before() {
        let mut wheel = Wheel::new(100);
        let at = wheel.insert(id(1), 110);
        assert_eq!(at, 110);
        assert_eq!(wheel.next_in(100), Some(10));
        assert_eq!(wheel.take_due(109), None);
        assert_eq!(wheel.take_due(110), Some((id(1), 110)));
        assert_eq!(wheel.take_due(5000), None);
        assert_eq!(wheel.next_in(5000), None);
    }

    #[test]
    fn beyond_the_horizon_an_entry_comes_up_early_and_in_the_past_at_once() {
        let mut wheel = Wheel::new(0);
        assert_eq!(wheel.insert(id(1), 100_000), SLOTS);
        assert_eq!(wheel.insert(id(2), 0), 1);
        assert_eq!(wheel.insert(id(3), 0u32.wrapping_sub(5)), 1);
        assert_eq!(wheel.take_due(1).map(|(_, at)| at), Some(1));
        assert_eq!(wheel.take_due(1).map(|(_, at)| at), Some(1));
        assert_eq!(wheel.take_due(1), None);
    }

    #[test]
    fn the_wheel_keeps_turning_when_ticks_wrap() {
        let start = u32::MAX - 3;
        let mut wheel = Wheel::new(start);
        let at = wheel.insert(id(1), 4);
        assert_eq!(at, 4);
        assert_eq!(wheel.take_due(3), None);
        assert_eq!(wheel.take_due(4), Some((id(1), 4)));
    }

    #[test]
    fn the_next_entry_is_found_wherever_it_lies() {
        for turned in [0, 5, 63, 64, 1000, 1023, 4096 + 17] {
            for ahead in [1, 2, 60, 64, 65, 700, 1023, 1024] {
                let mut wheel = Wheel::new(turned);
                wheel.insert(id(1), turned + ahead);
                assert_eq!(wheel.next_in(turned), Some(ahead), "{turned} + {ahead}");
            }
        }
    }

    #[test]
    fn a_long_pause_loses_nothing() {
        let mut wheel = Wheel::new(0);
        for slot in 0..3000 {
            wheel.insert(id(slot), slot);
        }
        let mut seen = 0;
        while wheel.take_due(1_000_000).is_some() {
            seen += 1;
        }
        assert_eq!(seen, 3000);
    }

    #[test]
    fn a_burst_of_entries_at_one_tick_leaves_little_reserved() {
        let mut wheel = Wheel::new(0);
        for slot in 0..3000 {
            wheel.insert(id(slot), 10);
        }
        while wheel.take_due(10).is_some() {}
        assert!(wheel.slots.iter().all(|slot| slot.capacity() <= 64));
    }
}
