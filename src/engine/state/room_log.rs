//! The log of a room: ready frames in the order in which they were published,
//! and the cursors' arithmetic. Knows no members and no sockets.
//!
//! A publish appends one frame, whatever the number of members. A member's
//! cursor is the number of the first entry that it has not been sent; the
//! entries between a cursor and the end are one run of bytes in most cases.
//!
//! Invariant: the bytes of entry `i` end where those of `i + 1` begin, and the
//! segments and what is open cover those of all entries without a gap.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

pub(crate) use super::entries::{Cursor, NOBODY};
use super::entries::{Entries, grow};
use crate::batch::Slice;

#[cfg(test)]
mod tests;

/// A segment below this is small: its place and its share of a buffer may cost
/// more than its bytes.
const SMALL_SEGMENT_BYTES: usize = 1024;

/// So many small segments in a row are made one. Each byte is copied about as
/// often as this goes into [`SMALL_SEGMENT_BYTES`], and only while someone lags.
const SMALL_SEGMENTS: usize = 32;

#[derive(Debug)]
struct Segment {
    start: u64,
    bytes: Bytes,
}

/// Frames that some member has not been sent yet.
#[derive(Debug, Default)]
pub(crate) struct RoomLog {
    entries: Entries,
    segments: VecDeque<Segment>,
    /// Segments at the end that are small.
    small: usize,
    /// Being written: what lies behind the last segment.
    open: BytesMut,
    open_start: u64,
}

/// Slices for one connection; more than a few only for one that has long been behind.
pub(crate) type Slices<'a> = SmallVec<[Slice<'a>; 8]>;

impl RoomLog {
    /// The cursor of one who has been sent everything.
    pub(crate) fn end(&self) -> Cursor {
        self.entries.end()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What stands beside the bytes.
    pub(crate) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Where frames are appended. Whatever is written must be told to
    /// [`RoomLog::commit`] before anything else is asked of the log.
    pub(crate) fn open(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    /// Makes what was written to [`RoomLog::open`] since the last call an entry.
    pub(crate) fn commit(&mut self, sequence: u64, except: u32, key: Option<&str>) {
        let end = self.open_start + self.open.len() as u64;
        self.entries.push(sequence, end, except, key);
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
        self.add_segment(start, frame);
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
        self.add_segment(start, bytes);
    }

    fn add_segment(&mut self, start: u64, bytes: Bytes) {
        let small = bytes.len() < SMALL_SEGMENT_BYTES;
        grow(&mut self.segments);
        self.segments.push_back(Segment { start, bytes });
        self.small = if small { self.small + 1 } else { 0 };
        if self.small >= SMALL_SEGMENTS {
            self.join_small();
        }
    }

    /// Makes the small segments at the end one, which gives back the rest of the
    /// buffers that they were written to.
    fn join_small(&mut self) {
        let from = self.segments.len() - self.small;
        let parts = self.segments.range(from..);
        let len = parts.clone().map(|segment| segment.bytes.len()).sum();
        let mut joined = Vec::with_capacity(len);
        parts.for_each(|segment| joined.extend_from_slice(&segment.bytes));
        self.segments.truncate(from + 1);
        if let Some(last) = self.segments.back_mut() {
            last.bytes = joined.into();
        }
        self.small = usize::from(len < SMALL_SEGMENT_BYTES);
    }

    /// How many entries lie between `cursor` and the end.
    pub(crate) fn behind(&self, cursor: Cursor) -> u32 {
        self.entries.behind(cursor)
    }

    /// Bytes of the frames from `cursor` to the end, excepted ones included.
    #[cfg(test)]
    pub(crate) fn bytes_behind(&self, cursor: Cursor) -> usize {
        self.bytes_between(cursor, self.end())
    }

    /// Bytes of the frames from `from` up to `to`.
    pub(crate) fn bytes_between(&self, from: Cursor, to: Cursor) -> usize {
        (self.entries.offset(to) - self.entries.offset(from)) as usize
    }

    /// What the entries from `from` up to `to` are counted as in a budget: their
    /// frames, themselves and their keys. Needs no walk.
    pub(crate) fn cost_between(&self, from: Cursor, to: Cursor) -> usize {
        (self.entries.cost_at(to) - self.entries.cost_at(from)) as usize
    }

    /// The same from `cursor` to the end.
    pub(crate) fn cost_behind(&self, cursor: Cursor) -> usize {
        self.cost_between(cursor, self.end())
    }

    /// Bytes of memory that the log keeps: payload, entries and keys with what is
    /// reserved for more of them. Needs no walk.
    pub(crate) fn kept_bytes(&self) -> usize {
        let first = self.segments.front().map_or(self.open_start, |first| first.start);
        (self.open_start - first) as usize
            + self.open.capacity()
            + self.segments.capacity() * size_of::<Segment>()
            + self.entries.kept_bytes()
    }

    /// Adds the bytes of the entries from `from` up to `to` to `slices` and says
    /// how many those are. What is open must have been frozen.
    pub(crate) fn slices<'a>(&'a self, from: Cursor, to: Cursor, slices: &mut Slices<'a>) -> usize {
        let (start, end) = (self.entries.offset(from), self.entries.offset(to));
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

    /// The frame at `cursor`, which must not be the end. It lies in one segment. What
    /// is open must have been frozen.
    pub(crate) fn frame(&self, cursor: Cursor) -> Slice<'_> {
        let start = self.entries.offset(cursor);
        let end = self.entries.offset(cursor.wrapping_add(1));
        let found = self.segments.partition_point(|segment| segment.start <= start) - 1;
        let Segment { start: first, bytes } = &self.segments[found];
        Slice::new(bytes, (start - first) as usize..(end - first) as usize)
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
            if self.entries.except(at) == slot {
                bytes += self.slices(start, at, slices);
                start = next;
            }
            at = next;
        }
        bytes + self.slices(start, to, slices)
    }

    /// Forgets the entries before `cursor`, which every member has been sent.
    pub(crate) fn trim(&mut self, cursor: Cursor) {
        let base = self.entries.trim(cursor);
        while self
            .segments
            .pop_front_if(|first| first.start + first.bytes.len() as u64 <= base)
            .is_some()
        {}
        self.small = self.small.min(self.segments.len());
        if self.entries.is_empty() && self.segments.capacity() > 16 {
            debug_assert!(self.segments.is_empty() && self.open.is_empty());
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
