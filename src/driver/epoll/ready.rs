//! Who is read next. Connections of which the kernel has just told something and
//! those that were read to the bound and may have more take turns, so a flood waits
//! behind whoever has had nothing yet. So do those of which nothing was read before:
//! a burst of new connections, whose first bytes cost the most, waits behind those
//! that are served. Knows ids and counts; no sockets.
//!
//! A turn goes in rounds. A round reads each listed connection once, however much
//! it has; the next round reads those that have more. So the place of a connection
//! in the line never depends on how much it sends.

use std::collections::VecDeque;

use crate::id::ConnId;

/// What one turn may read.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnBounds {
    /// Connections in one round.
    pub(super) ids: usize,
    /// Rounds: reads of one connection.
    pub(super) rounds: u32,
    /// Bytes, but for what the last read has above.
    pub(super) bytes: usize,
}

/// Connections that may have something to read, each at most once (those that have
/// left aside).
#[derive(Debug)]
pub(super) struct ReadyList {
    /// Not read since the kernel told of them, or since their hold ended.
    fresh: VecDeque<ConnId>,
    /// Read before, as far as their place in the line allowed.
    unfinished: VecDeque<ConnId>,
    /// The same in the present round: for the next.
    later: VecDeque<ConnId>,
    /// Never read.
    new: VecDeque<ConnId>,
    /// Which list was the last to have its turn.
    last_list: usize,
    bounds: TurnBounds,
    /// What is left of the turn: of the round, of the rounds, of the bytes.
    left: TurnBounds,
}

impl ReadyList {
    pub(super) fn new(bounds: TurnBounds) -> Self {
        let left = TurnBounds { ids: 0, rounds: 0, bytes: 0 };
        let [fresh, unfinished, later, new] = [const { VecDeque::new() }; 4];
        Self { fresh, unfinished, later, new, last_list: 1, bounds, left }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty()
            && self.unfinished.is_empty()
            && self.later.is_empty()
            && self.new.is_empty()
    }

    /// There may be something to read of `id`, for the first time if it `is_new`.
    pub(super) fn add(&mut self, id: ConnId, is_new: bool) {
        if is_new { self.new.push_back(id) } else { self.fresh.push_back(id) }
    }

    /// There may be more to read of `id`, which has been read.
    pub(super) fn put_back(&mut self, id: ConnId) {
        self.later.push_back(id);
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.left = TurnBounds { ids: 0, ..self.bounds };
    }

    /// So many bytes were read.
    pub(super) fn count(&mut self, bytes: usize) {
        self.left.bytes = self.left.bytes.saturating_sub(bytes);
    }

    /// The next to be read in this turn.
    pub(super) fn next(&mut self) -> Option<ConnId> {
        if self.left.bytes == 0 {
            return None;
        }
        if self.left.ids == 0 {
            self.left.rounds = self.left.rounds.checked_sub(1)?;
            self.unfinished.append(&mut self.later);
            let listed = self.fresh.len() + self.unfinished.len() + self.new.len();
            self.left.ids = self.bounds.ids.min(listed);
        }
        self.left.ids = self.left.ids.checked_sub(1)?;
        let mut lists = [&mut self.new, &mut self.fresh, &mut self.unfinished];
        (0..lists.len()).find_map(|_| {
            self.last_list = (self.last_list + 1) % lists.len();
            lists[self.last_list].pop_front()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId::new(0, slot, 1)
    }

    fn list(ids: usize, rounds: u32, bytes: usize) -> ReadyList {
        ReadyList::new(TurnBounds { ids, rounds, bytes })
    }

    #[test]
    fn whoever_comes_is_read_next_and_those_with_more_still_are() {
        let mut list = list(100, 1, 1000);
        (0..10).for_each(|slot| list.put_back(id(slot)));
        for turn in 0..20 {
            list.add(id(100 + turn), false);
            list.add(id(200 + turn), false);
            list.begin_turn();
            let two = [list.next().unwrap(), list.next().unwrap()];
            assert!(two.contains(&id(100 + turn)) || turn > 0, "{two:?}");
            let flooder = two.iter().find(|id| id.slot() < 10).unwrap();
            assert_eq!(flooder.slot(), turn % 10);
            list.put_back(*flooder);
        }
    }

    #[test]
    fn whoever_was_read_before_does_not_wait_behind_a_burst_of_new_connections() {
        let mut list = list(100, 1, 1000);
        (0..50).for_each(|slot| list.add(id(slot), true));
        let mut new = 0..50;
        for turn in 100..120 {
            list.add(id(turn), false);
            list.begin_turn();
            let two = [list.next().unwrap(), list.next().unwrap()];
            assert!(two.contains(&id(turn)), "{two:?}");
            assert!(two.contains(&id(new.next().unwrap())), "{two:?}");
        }
    }

    #[test]
    fn a_turn_reads_each_as_often_as_there_are_rounds() {
        let mut list = list(100, 3, 1000);
        (0..4).for_each(|slot| list.add(id(slot), slot % 2 == 0));
        for _ in 0..5 {
            list.begin_turn();
            let mut reads = [0; 4];
            while let Some(id) = list.next() {
                reads[id.slot() as usize] += 1;
                list.put_back(id);
            }
            assert_eq!(reads, [3; 4]);
        }
    }

    #[test]
    fn a_turn_ends_with_its_bytes_or_its_ids_and_the_next_goes_on_behind() {
        let mut by_bytes = list(100, 4, 3);
        let mut by_ids = list(3, 1, 1000);
        for list in [&mut by_bytes, &mut by_ids] {
            (0..7).for_each(|slot| list.put_back(id(slot)));
            let mut order = Vec::new();
            for _ in 0..7 {
                list.begin_turn();
                while let Some(id) = list.next() {
                    list.count(1);
                    list.put_back(id);
                    order.push(id.slot());
                }
            }
            assert_eq!(order, (0..7).cycle().take(21).collect::<Vec<_>>());
        }
    }
}
