//! The entries of a room's log: each frame's place among all publications, where
//! its bytes end, whom it leaves out and what it replaces. Knows no bytes.
//!
//! Sixteen bytes an entry: with frames of one byte, entries are what a log
//! consists of. Keys are rare and lie beside.
//!
//! Invariant: `first <= cursor <= first + list.len()` for every cursor that is
//! still used (in the cursor's wrapping arithmetic), and both sequence and end
//! ascend.

use std::collections::VecDeque;

/// The number of an entry. Wraps; a log is far shorter than half its range.
pub(crate) type Cursor = u32;

/// No connection is excepted.
pub(crate) const NOBODY: u32 = u32::MAX;

/// What an entry is counted as, beside its payload and key: its size, and the
/// quarter that the queue grows by at a time.
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>() * 5 / 4;

/// What a key is counted as, beside its text: its place and an allocation.
const KEY_BYTES: usize = size_of::<Keyed>() * 5 / 4 + 16;

/// Entries for which an empty log keeps the room.
const KEPT_ENTRIES: usize = 192;

/// The lowest 48 bits of a number that is known to lie less than 2^48 above
/// another.
#[derive(Clone, Copy, Debug)]
struct Low48([u16; 3]);

impl Low48 {
    fn of(number: u64) -> Self {
        Self([number as u16, (number >> 16) as u16, (number >> 32) as u16])
    }

    fn above(self, base: u64) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        let number = low | middle << 16 | high << 32;
        base + (number.wrapping_sub(base) & ((1 << 48) - 1))
    }
}

/// One published frame.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The shard's sequence number of the publication.
    sequence: Low48,
    /// Where its bytes end, counted from the log's beginning.
    end: Low48,
    /// The slot of the connection that shall not get it.
    except: u32,
}

/// The key of an entry that has one.
#[derive(Debug)]
struct Keyed {
    /// The entry's number, which does not wrap.
    number: u64,
    /// What this key and all before it are counted as.
    end: u64,
    key: Box<str>,
}

/// The entries that some member has not been sent yet.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// Entries that were forgotten.
    first: u64,
    /// Where the bytes of the first entry begin.
    base_offset: u64,
    /// No entry's sequence is lower.
    base_sequence: u64,
    /// What the forgotten keys were counted as.
    base_keys: u64,
    list: VecDeque<Entry>,
    /// In ascending order.
    keys: VecDeque<Keyed>,
}

impl Entries {
    /// The cursor of one who has been sent everything.
    pub(crate) fn end(&self) -> Cursor {
        (self.first as Cursor).wrapping_add(self.list.len() as u32)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    #[cfg(test)]
    pub(crate) fn begin_at(&mut self, first: u64) {
        self.first = first;
    }

    #[cfg(test)]
    pub(crate) fn begin_at_offset(&mut self, offset: u64) {
        self.base_offset = offset;
    }

    /// Adds an entry whose bytes end at `end`.
    pub(crate) fn push(&mut self, sequence: u64, end: u64, except: u32, key: Option<&str>) {
        if self.list.is_empty() {
            self.base_sequence = sequence;
        }
        if let Some(key) = key {
            let number = self.first + self.list.len() as u64;
            let before = self.keys.back().map_or(self.base_keys, |last| last.end);
            let end = before + (KEY_BYTES + key.len()) as u64;
            grow(&mut self.keys);
            self.keys.push_back(Keyed { number, end, key: key.into() });
        }
        grow(&mut self.list);
        let (sequence, end) = (Low48::of(sequence), Low48::of(end));
        self.list.push_back(Entry { sequence, end, except });
    }

    /// How many entries lie between `cursor` and the end.
    pub(crate) fn behind(&self, cursor: Cursor) -> u32 {
        let behind = self.end().wrapping_sub(cursor);
        debug_assert!(behind as usize <= self.list.len(), "a cursor outside the log");
        behind
    }

    fn index(&self, cursor: Cursor) -> usize {
        cursor.wrapping_sub(self.first as Cursor) as usize
    }

    /// Where the bytes of the entry at `cursor` begin.
    pub(crate) fn offset(&self, cursor: Cursor) -> u64 {
        match self.index(cursor) {
            0 => self.base_offset,
            index => self.list[index - 1].end.above(self.base_offset),
        }
    }

    /// The sequence number of the entry at `cursor`, `None` at the end.
    pub(crate) fn publication(&self, cursor: Cursor) -> Option<u64> {
        let entry = self.list.get(self.index(cursor))?;
        Some(entry.sequence.above(self.base_sequence))
    }

    /// The slot that shall not get the entry at `cursor`, or [`NOBODY`].
    pub(crate) fn except(&self, cursor: Cursor) -> u32 {
        self.list.get(self.index(cursor)).map_or(NOBODY, |entry| entry.except)
    }

    /// How many of the entries from `from` up to `to` `slot` shall not get.
    pub(crate) fn excepted(&self, from: Cursor, to: Cursor, slot: u32) -> u32 {
        let entries = self.list.range(self.index(from)..self.index(to));
        entries.filter(|entry| entry.except == slot).count() as u32
    }

    /// Where the `max`th of the entries from `from` up to `to` that `slot` shall not
    /// get ends, or `to`, and how many of those lie before.
    pub(crate) fn before_hole(
        &self,
        from: Cursor,
        to: Cursor,
        slot: u32,
        max: u32,
    ) -> (Cursor, u32) {
        let (mut at, mut excepted) = (from, 0);
        while at != to && excepted < max {
            excepted += u32::from(self.except(at) == slot);
            at = at.wrapping_add(1);
        }
        (at, excepted)
    }

    /// Whether any entry has a key.
    pub(crate) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The number of the first key at or behind `cursor`.
    fn first_key(&self, cursor: Cursor) -> usize {
        if self.keys.is_empty() {
            return 0;
        }
        let number = self.first + self.index(cursor) as u64;
        self.keys.partition_point(|keyed| keyed.number < number)
    }

    /// What the entry at `cursor` replaces in a conflated queue.
    pub(crate) fn key(&self, cursor: Cursor) -> Option<&str> {
        let keyed = self.keys.get(self.first_key(cursor))?;
        (keyed.number == self.first + self.index(cursor) as u64).then_some(&*keyed.key)
    }

    /// What all entries before `cursor` that there ever were are counted as:
    /// payload, entries and keys. Never goes back.
    pub(crate) fn cost_at(&self, cursor: Cursor) -> u64 {
        let keys = match self.first_key(cursor) {
            0 => self.base_keys,
            next => self.keys[next - 1].end,
        };
        let entries = self.first + self.index(cursor) as u64;
        self.offset(cursor) + entries * ENTRY_BYTES as u64 + keys
    }

    /// The first cursor from `from` on whose entry is not `ahead`, which must hold
    /// for none behind one for which it does not. Costs the logarithm of the way.
    pub(crate) fn seek(&self, from: Cursor, ahead: impl Fn(Cursor) -> bool) -> Cursor {
        let max = self.behind(from);
        let is_ahead = |index: u32| ahead(from.wrapping_add(index));
        let (mut low, mut high) = (0, 1);
        while high <= max && is_ahead(high - 1) {
            (low, high) = (high, high.saturating_mul(2));
        }
        high = max.min(high - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_ahead(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        from.wrapping_add(low)
    }

    /// Forgets the entries before `cursor`. Returns where the bytes of the rest
    /// begin.
    pub(crate) fn trim(&mut self, cursor: Cursor) -> u64 {
        let gone = self.index(cursor);
        if gone > 0 {
            self.base_offset = self.offset(cursor);
            self.base_sequence = self.publication(cursor).unwrap_or_default();
            self.first += gone as u64;
            self.list.drain(..gone);
            while let Some(keyed) = self.keys.pop_front_if(|keyed| keyed.number < self.first) {
                self.base_keys = keyed.end;
            }
            shrink(&mut self.list, KEPT_ENTRIES);
            shrink(&mut self.keys, 0);
        }
        self.base_offset
    }

    /// Bytes of memory, but for the payload.
    pub(crate) fn kept_bytes(&self) -> usize {
        let text = |end: u64| (end - self.base_keys) as usize - self.keys.len() * KEY_BYTES;
        self.list.capacity() * size_of::<Entry>()
            + self.keys.capacity() * size_of::<Keyed>()
            + self.keys.back().map_or(0, |last| text(last.end) + self.keys.len() * 16)
    }
}

/// Makes room for one more, and a quarter: doubling would waste half of what a
/// budget allows.
pub(crate) fn grow<T>(queue: &mut VecDeque<T>) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact((queue.len() / 4).max(4));
    }
}

/// Gives back what a queue that has become shorter does not need, so that its
/// capacity is at most 11/8 of its length, or `kept`. Costs little for each
/// element that went, since an eighth must have gone since the last time.
pub(crate) fn shrink<T>(queue: &mut VecDeque<T>, kept: usize) {
    let (len, capacity) = (queue.len(), queue.capacity());
    if capacity > kept.max(8) && capacity > len + len / 8 * 3 {
        queue.shrink_to(if len < kept { 0 } else { len + len / 4 });
    }
}
