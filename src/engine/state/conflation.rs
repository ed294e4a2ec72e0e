//! Which publications replace which in a queue that is conflated: for each
//! group and key the newest that waits. Knows no bytes.
//!
//! Nothing moves when a publication is replaced: its entry stays where it is until
//! it is popped, or until so many were replaced that the queue is packed anew. So
//! replacing costs one look-up, whatever the queue's length.
//!
//! Invariant: an entry is alive if nothing newer has claimed its record.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::waiting::{Record, Sequence, Waiting};

/// What a record is counted as beside its key's text: itself, its place in the
/// table, and what both may have reserved.
const RECORD_BYTES: usize = size_of::<KeyState>() * 5 / 4 + 16;

/// What the key's allocation is counted as beside its text.
const KEY_BYTES: usize = 16;

/// What is known of one group's key.
#[derive(Debug)]
struct KeyState {
    /// The serial number of the group.
    serial: u64,
    key: Option<Box<str>>,
    /// The highest sequence that was claimed for it: older entries are replaced, even
    /// if the newest has gone.
    claimed: Sequence,
    /// The newest entry, while it waits.
    newest: Option<Waiting>,
    /// Entries of the queue that are of this record.
    entries: u32,
}

impl KeyState {
    fn cost(&self) -> usize {
        RECORD_BYTES + self.key.as_ref().map_or(0, |key| KEY_BYTES + key.len())
    }
}

/// The records of one queue: by group and key, which entry is the newest.
#[derive(Debug, Default)]
pub(crate) struct Conflation {
    records: Vec<KeyState>,
    table: HashTable<Record>,
    hasher: foldhash::fast::RandomState,
    /// What the records that have entries are counted as.
    kept: usize,
    /// Records that have none.
    vacant: usize,
    /// Entries that were replaced and not popped yet.
    replaced: usize,
    /// Bytes of those in segments that others keep.
    pub(super) wasted: usize,
    /// Entries came in that were not held against the newest.
    unconflated: bool,
}

impl Conflation {
    /// Bytes that are kept for what waits.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept
    }

    /// What a record that has entries is counted as.
    pub(super) fn cost(&self, record: Record) -> usize {
        self.records[record as usize].cost()
    }

    /// The record of a group's key, made if there is none.
    pub(crate) fn record(&mut self, serial: u64, key: Option<&str>) -> Record {
        let hash = self.hasher.hash_one((serial, key));
        let records = &self.records;
        let known = self.table.find(hash, |record| {
            let known = &records[*record as usize];
            known.serial == serial && known.key.as_deref() == key
        });
        if let Some(record) = known {
            return *record;
        }
        let key = key.map(Into::into);
        self.add(KeyState { serial, key, claimed: 0, newest: None, entries: 0 })
    }

    fn add(&mut self, known: KeyState) -> Record {
        let record = self.records.len() as Record;
        if self.records.len() == self.records.capacity() {
            self.records.reserve_exact((self.records.len() / 4).max(4));
        }
        let hash = self.hasher.hash_one((known.serial, known.key.as_deref()));
        self.records.push(known);
        self.vacant += 1;
        let (records, hasher) = (&self.records, &self.hasher);
        self.table.insert_unique(hash, record, |record| {
            let known = &records[*record as usize];
            hasher.hash_one((known.serial, known.key.as_deref()))
        });
        record
    }

    /// Claims the record for the publication of that sequence. Refused if a newer one
    /// has claimed it.
    pub(crate) fn claim(&mut self, record: Record, sequence: Sequence) -> bool {
        let claimed = &mut self.records[record as usize].claimed;
        let is_newest = *claimed < sequence;
        *claimed = (*claimed).max(sequence);
        is_newest
    }

    /// An entry of this record comes into the queue.
    pub(crate) fn insert(&mut self, record: Record) {
        let known = &mut self.records[record as usize];
        known.entries += 1;
        if known.entries == 1 {
            self.kept += known.cost();
            self.vacant -= 1;
        }
    }

    /// An entry of this record comes in that may be newer than the newest; see
    /// [`Conflation::take_unconflated`].
    pub(crate) fn insert_unconflated(&mut self, record: Record) {
        self.insert(record);
        self.unconflated = true;
    }

    /// Whether entries came in that were not held against the newest.
    pub(crate) fn take_unconflated(&mut self) -> bool {
        std::mem::take(&mut self.unconflated)
    }

    pub(crate) fn is_newer(&self, record: Record, entry: &Waiting) -> bool {
        self.records[record as usize].claimed < entry.sequence
    }

    /// Makes `entry` the newest of its record. Returns the one before, if it still
    /// waits: it is replaced.
    pub(crate) fn set_newest(&mut self, record: Record, entry: Waiting) -> Option<Waiting> {
        let known = &mut self.records[record as usize];
        known.claimed = known.claimed.max(entry.sequence);
        let before = known.newest.replace(entry);
        self.replaced += usize::from(before.is_some());
        before
    }

    /// Whether an entry was not replaced.
    pub(crate) fn is_alive(&self, entry: &Waiting) -> bool {
        let record = entry.by_record();
        record.is_none_or(|record| entry.sequence >= self.records[record as usize].claimed)
    }

    /// An entry goes out of the queue. Returns whether it was alive.
    pub(crate) fn remove(&mut self, entry: &Waiting) -> bool {
        let Some(record) = entry.by_record() else { return true };
        let is_alive = self.is_alive(entry);
        let known = &mut self.records[record as usize];
        if known.newest.is_some_and(|newest| newest.sequence == entry.sequence) {
            known.newest = None;
        }
        known.entries -= 1;
        if known.entries == 0 {
            self.kept -= known.cost();
            self.vacant += 1;
        }
        self.replaced -= usize::from(!is_alive);
        is_alive
    }

    /// Whether a quarter of a queue of so many `entries` and `bytes`, or of the
    /// records, is there for nothing.
    pub(crate) fn is_sparse(&self, entries: usize, bytes: usize) -> bool {
        self.replaced > entries / 4
            || self.wasted > bytes / 4
            || self.vacant > self.records.len() / 4 + 8
    }

    /// Takes over the record of one entry of a queue that is being packed.
    pub(super) fn take_over(&mut self, from: &Self, record: Record) -> Record {
        let known = &from.records[record as usize];
        let record = self.record(known.serial, known.key.as_deref());
        self.insert(record);
        self.unconflated |= from.unconflated;
        self.records[record as usize].claimed = known.claimed;
        record
    }

    /// Whether `entry` is the newest of its record.
    pub(super) fn is_newest(&self, record: Record, entry: &Waiting) -> bool {
        self.records[record as usize].newest.is_some_and(|newest| newest == *entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::state::{segments::Place, waiting::Tag};

    #[test]
    fn a_record_is_counted_with_its_key_while_it_has_entries() {
        let mut conflation = Conflation::default();
        let key = "k".repeat(1000);
        let (keyed, plain) = (conflation.record(1, Some(&key)), conflation.record(1, None));
        assert_eq!(conflation.kept_bytes(), 0, "nothing waits");
        conflation.insert(plain);
        let one = conflation.kept_bytes();
        assert!(one >= size_of::<KeyState>(), "{one}");
        conflation.insert(keyed);
        conflation.insert(keyed);
        let all = conflation.kept_bytes();
        assert!((2 * one + key.len()..2 * one + key.len() + 64).contains(&all), "{all}");
        for (record, left) in [(keyed, all), (keyed, one), (plain, 0)] {
            let tag = Tag::record(record);
            conflation.remove(&Waiting { sequence: 0, place: Place::default(), tag });
            assert_eq!(conflation.kept_bytes(), left);
        }
    }

    #[test]
    fn a_queue_is_packed_once_a_quarter_of_it_is_there_for_nothing() {
        let of = |replaced, wasted, vacant| Conflation {
            vacant,
            replaced,
            wasted,
            ..Conflation::default()
        };
        assert!(!of(3, 250, 8).is_sparse(12, 1000));
        assert!(of(4, 0, 0).is_sparse(12, 1000), "entries that were replaced");
        assert!(of(0, 251, 0).is_sparse(12, 1000), "bytes of them");
        assert!(of(0, 0, 9).is_sparse(12, 1000), "records without an entry");
    }
}
