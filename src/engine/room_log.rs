//! The log of a room: ready frames in the order in which they were published,
//! and the cursors' arithmetic. Knows no members and no sockets.
//!
//! A publish appends one frame, whatever the number of members. A member's
//! cursor is the number of the first entry that it has not been sent; the
//! entries between a cursor and the end are one run of bytes in most cases.
//!
//! Invariant: `base <= cursor <= base + entries.len()` for every cursor that is
//! still used, and the bytes of entry `i` end where those of `i + 1` begin.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::batch::Slice;

/// The number of an entry. Wraps; a lag is far shorter than half its range.
pub(crate) type Cursor = u32;

/// No connection is excepted.
pub(crate) const NOBODY: u32 = u32::MAX;

/// One published frame.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The shard's sequence number of the publication.
    pub(crate) sequence: u64,
    /// Where its bytes end, counted from the log's beginning.
    end: u64,
    /// The slot of the connection that shall not get it.
    pub(crate) except: u32,
    /// What it replaces in a conflated queue.
    pub(crate) key: Option<Box<str>>,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    bytes: Bytes,
}

/// Frames that some member has not been sent yet.
#[derive(Debug, Default)]
pub(crate) struct RoomLog {
    base: Cursor,
    /// Where the bytes of the first entry begin.
    base_offset: u64,
    entries: VecDeque<Entry>,
    segments: VecDeque<Segment>,
    /// Being written: what lies behind the last segment.
    open: BytesMut,
    open_start: u64,
}

/// Slices for one connection; more than a few only after a long lag.
pub(crate) type Slices<'a> = SmallVec<[Slice<'a>; 8]>;

impl RoomLog {
    /// The cursor of one who has been sent everything.
    pub(crate) fn end(&self) -> Cursor {
        self.base.wrapping_add(self.entries.len() as u32)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where frames are appended. Whatever is written must be told to
    /// [`RoomLog::commit`] before anything else is asked of the log.
    pub(crate) fn open(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    /// Makes what was written to [`RoomLog::open`] since the last call an entry.
    pub(crate) fn commit(&mut self, sequence: u64, except: u32, key: Option<&str>) {
        let end = self.open_start + self.open.len() as u64;
        self.entries.push_back(Entry { sequence, end, except, key: key.map(Into::into) });
    }

    /// Appends a frame by reference.
    pub(crate) fn append_shared(
        &mut self,
        frame: Bytes,
        sequence: u64,
        except: u32,
        key: Option<&str>,
    ) {
        self.freeze();
        let start = self.open_start;
        self.open_start += frame.len() as u64;
        self.segments.push_back(Segment { start, bytes: frame });
        self.commit(sequence, except, key);
    }

    /// Turns what is open into a segment, so that it can be sliced.
    pub(crate) fn freeze(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let bytes = self.open.split().freeze();
        let start = self.open_start;
        self.open_start += bytes.len() as u64;
        self.segments.push_back(Segment { start, bytes });
    }

    /// How many entries lie between `cursor` and the end.
    pub(crate) fn behind(&self, cursor: Cursor) -> u32 {
        let behind = self.end().wrapping_sub(cursor);
        debug_assert!(behind as usize <= self.entries.len(), "a cursor outside the log");
        behind
    }

    fn index(&self, cursor: Cursor) -> usize {
        cursor.wrapping_sub(self.base) as usize
    }

    fn offset(&self, index: usize) -> u64 {
        if index == 0 { self.base_offset } else { self.entries[index - 1].end }
    }

    /// Where the bytes of the entry at `cursor` begin, counted from the log's
    /// beginning: the end of all bytes if `cursor` is the end.
    pub(crate) fn offset_of(&self, cursor: Cursor) -> u64 {
        self.offset(self.index(cursor))
    }

    /// The entry at `cursor`, `None` at the end.
    pub(crate) fn entry(&self, cursor: Cursor) -> Option<&Entry> {
        self.entries.get(self.index(cursor))
    }

    /// Bytes from `cursor` to the end, excepted frames included.
    pub(crate) fn bytes_behind(&self, cursor: Cursor) -> usize {
        (self.open_start + self.open.len() as u64 - self.offset(self.index(cursor))) as usize
    }

    /// Bytes of the entries from `from` up to `to`.
    pub(crate) fn bytes_between(&self, from: Cursor, to: Cursor) -> usize {
        (self.offset(self.index(to)) - self.offset(self.index(from))) as usize
    }

    /// Adds the bytes of the entries from `from` up to `to` to `slices` and says
    /// how many those are. What is open must have been frozen.
    pub(crate) fn slices<'a>(&'a self, from: Cursor, to: Cursor, slices: &mut Slices<'a>) -> usize {
        let (start, end) = (self.offset(self.index(from)), self.offset(self.index(to)));
        debug_assert!(end <= self.open_start, "slices of an open log");
        if start == end {
            return 0;
        }
        let first = match self.segments.len() {
            1 => 0,
            _ => self.segments.partition_point(|segment| segment.start <= start) - 1,
        };
        for segment in self.segments.range(first..) {
            if segment.start >= end {
                break;
            }
            let low = start.saturating_sub(segment.start) as usize;
            let high = ((end - segment.start) as usize).min(segment.bytes.len());
            slices.push(Slice::new(&segment.bytes, low..high));
        }
        (end - start) as usize
    }

    /// Adds the entries from `from` up to `to` that are not excepted for `slot`.
    pub(crate) fn slices_except<'a>(
        &'a self,
        from: Cursor,
        to: Cursor,
        slot: u32,
        slices: &mut Slices<'a>,
    ) -> usize {
        let mut bytes = 0;
        let mut start = from;
        let mut at = from;
        while at != to {
            let next = at.wrapping_add(1);
            if self.entries[self.index(at)].except == slot {
                bytes += self.slices(start, at, slices);
                start = next;
            }
            at = next;
        }
        bytes + self.slices(start, to, slices)
    }

    /// Forgets the entries before `cursor`, which every member has been sent.
    pub(crate) fn trim(&mut self, cursor: Cursor) {
        let gone = self.index(cursor);
        if gone == 0 {
            return;
        }
        self.base_offset = self.offset(gone);
        self.base = cursor;
        self.entries.drain(..gone);
        while self
            .segments
            .front()
            .is_some_and(|first| first.start + first.bytes.len() as u64 <= self.base_offset)
        {
            self.segments.pop_front();
        }
        if self.entries.is_empty() {
            self.give_back();
        }
    }

    /// Keeps little of the memory of a burst.
    fn give_back(&mut self) {
        debug_assert!(self.segments.is_empty() && self.open.is_empty());
        if self.entries.capacity() > 64 {
            self.entries = VecDeque::new();
        }
        if self.segments.capacity() > 16 {
            self.segments = VecDeque::new();
        }
    }

    /// Lends the log a buffer to write to; see [`RoomLog::take_buffer`].
    pub(crate) fn lend_buffer(&mut self, buffer: BytesMut) {
        debug_assert!(self.open.is_empty());
        self.open = buffer;
    }

    /// Takes the write buffer back from a log that is empty, so that a quiet
    /// room owns no bytes.
    pub(crate) fn take_buffer(&mut self) -> BytesMut {
        debug_assert!(self.is_empty() && self.open.is_empty());
        std::mem::take(&mut self.open)
    }

    /// Whether it has a buffer worth keeping.
    pub(crate) fn has_buffer(&self) -> bool {
        self.open.capacity() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(log: &mut RoomLog, text: &str, except: u32) {
        let sequence = u64::from(log.end());
        log.open().extend_from_slice(text.as_bytes());
        log.commit(sequence, except, None);
    }

    fn read(log: &RoomLog, from: Cursor, to: Cursor, slot: u32) -> (String, usize) {
        let mut slices = Slices::new();
        log.slices_except(from, to, slot, &mut slices);
        let bytes: Vec<u8> = slices.iter().flat_map(|s| s.as_slice().to_vec()).collect();
        (String::from_utf8(bytes).unwrap(), slices.len())
    }

    #[test]
    fn many_entries_are_one_run_of_bytes() {
        let mut log = RoomLog::default();
        for text in ["a", "bb", "ccc"] {
            append(&mut log, text, NOBODY);
        }
        log.freeze();
        assert_eq!(read(&log, 0, 3, 7), ("abbccc".into(), 1));
        assert_eq!(read(&log, 1, 2, 7), ("bb".into(), 1));
        assert_eq!(log.bytes_behind(1), 5);
        assert_eq!(log.bytes_between(0, 2), 3);
    }

    #[test]
    fn what_is_excepted_is_a_hole() {
        let mut log = RoomLog::default();
        for (text, except) in [("a", NOBODY), ("b", 7), ("c", NOBODY), ("d", 7)] {
            append(&mut log, text, except);
        }
        log.freeze();
        assert_eq!(read(&log, 0, 4, 7), ("ac".into(), 2));
        assert_eq!(read(&log, 0, 4, 8), ("abcd".into(), 1));
    }

    #[test]
    fn a_run_over_several_segments_is_several_slices() {
        let mut log = RoomLog::default();
        append(&mut log, "aa", NOBODY);
        log.freeze();
        log.append_shared(Bytes::from_static(b"BIG"), 1, NOBODY, None);
        append(&mut log, "cc", NOBODY);
        log.freeze();
        assert_eq!(read(&log, 0, 3, 7), ("aaBIGcc".into(), 3));
        assert_eq!(read(&log, 2, 3, 7), ("cc".into(), 1));
    }

    #[test]
    fn trimming_keeps_exactly_what_a_cursor_needs() {
        let mut log = RoomLog::default();
        for round in 0..5 {
            append(&mut log, &format!("<{round}>"), NOBODY);
            log.freeze();
        }
        log.trim(3);
        assert_eq!(log.segments.len(), 2);
        assert_eq!(read(&log, 3, 5, 7), ("<3><4>".into(), 2));
        log.trim(5);
        assert!(log.is_empty() && log.segments.is_empty());
        append(&mut log, "next", NOBODY);
        log.freeze();
        assert_eq!(read(&log, 5, 6, 7), ("next".into(), 1));
    }

    #[test]
    fn cursors_wrap() {
        let mut log = RoomLog { base: u32::MAX - 1, ..RoomLog::default() };
        for text in ["a", "b", "c"] {
            append(&mut log, text, NOBODY);
        }
        log.freeze();
        assert_eq!(log.end(), 1);
        assert_eq!(log.behind(u32::MAX), 2);
        assert_eq!(read(&log, u32::MAX, 1, 7).0, "bc");
        log.trim(0);
        assert_eq!(read(&log, 0, 1, 7).0, "c");
    }
}
