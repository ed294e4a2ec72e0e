//! What has arrived and waits to be taken, in order, and all of one connection at
//! once. Knows no ring and no bytes.

use std::{collections::VecDeque, io};

use super::buffers::Chunk;
use crate::id::ConnId;

/// Bits of a completion's name that belong to the connection. Above them is the
/// kind of operation.
const ID_BITS: u32 = 56;

/// A connection as a completion names it: its id without the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag(u64);

impl Tag {
    pub(super) const fn of(id: ConnId) -> Self {
        Self::from_bits(id.to_u64())
    }

    /// The connection that a completion names; the bits above are of no interest.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << ID_BITS) - 1))
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) const fn slot(self) -> u32 {
        ConnId::from_u64(self.0).slot()
    }
}

/// What has arrived on a connection.
#[derive(Debug)]
pub(super) enum Received {
    Chunk(Chunk),
    /// The peer will send nothing more.
    End,
    /// There was no buffer to receive into.
    NoBuffer,
    /// It was cancelled.
    Cancelled,
    Failed(io::Error),
}

/// An arrival, and whether the receive goes on.
#[derive(Debug)]
struct Arrival {
    tag: Tag,
    /// `None` once it was taken out of order.
    what: Option<(Received, bool)>,
    /// The number of the one before it of the same connection, if that still waits.
    before: u32,
}

/// A line of arrivals.
///
/// Each has a number, counted from the beginning of the line's life. Those of one
/// connection are linked backwards, so that they are found without looking at the
/// others. A link that is out of date points outside the line, or at an arrival of
/// another connection: numbers come round only after 2^32 arrivals.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    line: VecDeque<Arrival>,
    /// The number of the first in `line`.
    first: u32,
    /// Those that have not been taken.
    count: usize,
    /// By slot: the number of the last.
    last: Vec<u32>,
}

impl Arrivals {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, tag: Tag, received: Received, goes_on: bool) {
        let slot = tag.slot() as usize;
        if self.last.len() <= slot {
            // Before the first in line, which is as good as none.
            self.last.resize(slot + 1, self.first.wrapping_sub(1));
        }
        let number = self.first.wrapping_add(self.line.len() as u32);
        let before = std::mem::replace(&mut self.last[slot], number);
        self.line.push_back(Arrival { tag, what: Some((received, goes_on)), before });
        self.count += 1;
    }

    /// The first, and whether its receive goes on.
    pub(super) fn pop(&mut self) -> Option<(Tag, Received, bool)> {
        loop {
            let Arrival { tag, what, .. } = self.line.pop_front()?;
            self.first = self.first.wrapping_add(1);
            if let Some((received, goes_on)) = what {
                self.count -= 1;
                return Some((tag, received, goes_on));
            }
        }
    }

    /// Whether something of `tag` waits. What is taken out of order is all of a
    /// connection, so its last says it for all.
    pub(super) fn has(&self, tag: Tag) -> bool {
        let Some(&last) = self.last.get(tag.slot() as usize) else { return false };
        let at = self.line.get(last.wrapping_sub(self.first) as usize);
        at.is_some_and(|arrival| arrival.tag == tag && arrival.what.is_some())
    }

    /// All of `tag`, in order.
    pub(super) fn take(&mut self, tag: Tag) -> Vec<(Received, bool)> {
        let mut taken = Vec::new();
        let Some(&last) = self.last.get(tag.slot() as usize) else { return taken };
        let mut behind = self.line.len();
        let mut number = last;
        loop {
            let index = number.wrapping_sub(self.first) as usize;
            if index >= behind || self.line[index].tag != tag {
                break;
            }
            taken.extend(self.line[index].what.take());
            (behind, number) = (index, self.line[index].before);
        }
        self.count -= taken.len();
        taken.reverse();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::sim::Rng;

    fn tag(slot: u32) -> Tag {
        Tag::of(ConnId::new(0, slot, 1))
    }

    /// The number that a test's arrival carries.
    fn number(received: &Received) -> i32 {
        let Received::Failed(error) = received else { panic!("{received:?}") };
        error.raw_os_error().unwrap()
    }

    #[test]
    fn each_is_taken_once_and_those_of_one_connection_in_order() {
        let mut rng = Rng::new(1);
        // Numbers come round on the way.
        let mut arrivals = Arrivals { first: u32::MAX - 500, ..Arrivals::default() };
        let mut model: Vec<(u32, i32)> = Vec::new();
        for next in 0..5_000 {
            let slot = rng.below(20) as u32;
            arrivals.push(tag(slot), Received::Failed(io::Error::from_raw_os_error(next)), true);
            model.push((slot, next));
            if rng.chance(20) {
                let slot = rng.below(20) as u32;
                let taken = arrivals.take(tag(slot));
                let taken = taken.iter().map(|(received, _)| number(received));
                let wanted = model.iter().filter(|(of, _)| *of == slot).map(|(_, number)| *number);
                assert!(taken.eq(wanted));
                model.retain(|(of, _)| *of != slot);
            }
            let slot = rng.below(25) as u32;
            assert_eq!(arrivals.has(tag(slot)), model.iter().any(|(of, _)| *of == slot));
            if rng.chance(40) && !model.is_empty() {
                let (of, received, _) = arrivals.pop().unwrap();
                assert_eq!((of.slot(), number(&received)), model.remove(0));
            }
            assert_eq!(arrivals.len(), model.len());
        }
        while let Some((of, received, _)) = arrivals.pop() {
            assert_eq!((of.slot(), number(&received)), model.remove(0));
        }
        assert!(model.is_empty());
    }

    #[test]
    fn what_came_for_a_slots_last_tenant_is_not_its_successors() {
        let mut arrivals = Arrivals::default();
        let successor = Tag::of(ConnId::new(0, 7, 2));
        arrivals.push(tag(7), Received::End, false);
        assert!(arrivals.take(successor).is_empty());
        arrivals.push(successor, Received::End, false);
        assert_eq!(arrivals.take(successor).len(), 1);
        assert_eq!(arrivals.len(), 1);
    }
}
