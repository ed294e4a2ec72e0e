//! How much memory a shard keeps of what peers and handles sent, by what keeps it.
//! For who holds it against the bounds; the engine itself decides nothing by it.

use std::ops::AddAssign;

/// Bytes that a shard, or all of them together, keep of what was sent to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// In rooms' logs: frames, entries, keys and what is reserved for more.
    pub logs: usize,
    /// In the connections' own queues, and in this turn's direct sends.
    pub queues: usize,
    /// Read of held connections and not looked at.
    pub parked: usize,
    /// Parts of messages and of request heads.
    pub partial: usize,
    /// Charged in the windows between shards and from handles: in mailboxes, and what
    /// members have not taken of it. Some of that lies in the logs too.
    pub underway: usize,
}

impl Kept {
    /// The sum.
    pub fn total(&self) -> usize {
        self.logs + self.queues + self.parked + self.partial + self.underway
    }
}

impl AddAssign for Kept {
    fn add_assign(&mut self, other: Self) {
        self.logs += other.logs;
        self.queues += other.queues;
        self.parked += other.parked;
        self.partial += other.partial;
        self.underway += other.underway;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_shards_keep_is_added_up_by_what_keeps_it() {
        let one = Kept { logs: 1, queues: 20, parked: 300, partial: 4000, underway: 50_000 };
        let mut both = Kept::default();
        both += one;
        assert_eq!((both, both.total()), (one, 54_321));
        both += one;
        let twice = Kept { logs: 2, queues: 40, parked: 600, partial: 8000, underway: 100_000 };
        assert_eq!((both, both.total()), (twice, 108_642));
    }
}
