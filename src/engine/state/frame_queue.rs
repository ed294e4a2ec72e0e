//! A connection's own queue: frames with an order, stored close together and
//! counted by what they cost. Knows no policy, no room and no socket.
//!
//! Small frames lie one behind the other in *segments* of up to 16 KiB, so that a
//! frame of two bytes costs its entry and two bytes, and frames that follow each
//! other leave as one slice. A large frame is a segment of its own: a reference
//! if it is a good part of its buffer, a copy else.
//!
//! Invariants: entries are in ascending order; a segment is kept while an entry
//! that is alive lies in it; [`FrameQueue::kept_bytes`] is, to a tenth, what the queue
//! has allocated.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    entries::{grow, shrink},
    latest::Latest,
    room_log::Slices,
    waiting::{Record, Sequence, Tag, WHOLE, Waiting},
};
use crate::batch::Slice;

#[cfg(test)]
mod tests;

/// From this size on a frame is a segment of its own.
const LARGE_FRAME_BYTES: usize = 4096;

/// The largest segment of small frames. One ends at an eighth of the queue, so that
/// what it keeps of frames that have gone is little beside what waits.
const MOST_SEGMENT_BYTES: usize = 16 * 1024;
const LEAST_SEGMENT_BYTES: usize = 2048;

/// What a waiting frame is counted as beside its bytes: its entry, and the
/// quarter that the queue grows by at a time.
pub(crate) const WAITING_BYTES: usize = size_of::<Waiting>() * 5 / 4;

/// What a segment is counted as beside its bytes, whether it still has some: its
/// place and the quarter that their queue grows by; and while it has: the
/// allocation.
const SEGMENT_BYTES: usize = size_of::<Segment>() * 5 / 4;
const ALLOCATION_BYTES: usize = 48;

#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    /// Entries that are alive in it.
    alive: u32,
    /// What it is counted as.
    kept: usize,
}

/// Frames that wait for one connection, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct FrameQueue {
    entries: VecDeque<Waiting>,
    segments: VecDeque<Segment>,
    /// The number of the first segment.
    first_segment: u32,
    /// The segment that is being written: behind the last.
    open: Vec<u8>,
    open_alive: u32,
    /// What all segments are counted as.
    stored: usize,
    /// What the entries that are answers are counted as.
    own: usize,
    /// Which publications replace which, in a queue that is conflated.
    pub(crate) latest: Option<Box<Latest>>,
}

impl FrameQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries, those that were replaced included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that are kept here: payload, entries and what is reserved.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.stored
            + self.open.capacity()
            + self.segments.len() * SEGMENT_BYTES
            + self.entries.len() * WAITING_BYTES
            + self.latest.as_ref().map_or(0, |latest| latest.kept_bytes())
    }

    /// Those of them that are answers to what the connection itself sent.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own
    }

    /// The entry at `index`.
    pub(crate) fn at(&self, index: usize) -> Option<&Waiting> {
        self.entries.get(index)
    }

    /// The first entry at or behind `index` that was not replaced.
    pub(crate) fn next_alive(&self, index: usize) -> usize {
        match &self.latest {
            None => index,
            Some(latest) => {
                let rest = self.entries.range(index.min(self.entries.len())..);
                index + rest.take_while(|entry| !latest.is_alive(entry)).count()
            }
        }
    }

    /// The last entry's sequence, and what the queue would be counted as if there were
    /// no other.
    pub(crate) fn newest(&self) -> Option<(Sequence, usize)> {
        let last = self.entries.back()?;
        let record = self.latest.as_ref().zip(last.by_record());
        let record_bytes = record.map_or(0, |(latest, record)| latest.cost(record));
        let bytes = self.cost(last) + record_bytes + SEGMENT_BYTES + ALLOCATION_BYTES;
        Some((last.sequence, bytes))
    }

    /// What an entry is counted as.
    pub(crate) fn cost(&self, entry: &Waiting) -> usize {
        WAITING_BYTES + self.payload_len(entry)
    }

    fn payload_len(&self, entry: &Waiting) -> usize {
        match entry.len {
            WHOLE => self.segment(entry.segment).map_or(0, |segment| segment.bytes.len()),
            len => len as usize,
        }
    }

    /// The segment of that number; none if it is the open one.
    fn segment(&self, number: u32) -> Option<&Segment> {
        self.segments.get(number.wrapping_sub(self.first_segment) as usize)
    }

    fn open_number(&self) -> u32 {
        self.first_segment.wrapping_add(self.segments.len() as u32)
    }

    /// Stores the bytes of a frame, which [`FrameQueue::merge`] must be told of next.
    pub(crate) fn store(&mut self, sequence: Sequence, slice: &Slice<'_>, tag: Tag) -> Waiting {
        let bytes = slice.as_slice();
        let is_own = Waiting { sequence, segment: 0, start: 0, len: 0, tag }.is_own();
        self.own += if is_own { WAITING_BYTES + bytes.len() } else { 0 };
        if bytes.len() >= LARGE_FRAME_BYTES {
            self.close_segment();
            let segment = self.open_number();
            self.add_segment(own(slice), 1);
            return Waiting { sequence, segment, start: 0, len: WHOLE, tag };
        }
        let max = (self.stored / 8).clamp(LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES);
        if self.open.len() + bytes.len() > max.max(bytes.len()) {
            self.close_segment();
        }
        if self.open.capacity() - self.open.len() < bytes.len() {
            self.open.reserve_exact(bytes.len().max(self.open.len() / 4));
        }
        let start = self.open.len() as u32;
        self.open.extend_from_slice(bytes);
        self.open_alive += 1;
        Waiting { sequence, segment: self.open_number(), start, len: bytes.len() as u32, tag }
    }

    /// Ends the segment that is being written, so that it can be sliced.
    pub(crate) fn close_segment(&mut self) {
        let open = std::mem::take(&mut self.open);
        let alive = std::mem::take(&mut self.open_alive);
        if !open.is_empty() {
            self.add_segment(Bytes::from(open.into_boxed_slice()), alive);
        }
    }

    fn add_segment(&mut self, bytes: Bytes, alive: u32) {
        let kept = bytes.len() + ALLOCATION_BYTES;
        self.stored += kept;
        grow(&mut self.segments);
        self.segments.push_back(Segment { bytes, alive, kept });
    }

    /// Puts stored frames, which are in order among themselves, at their places.
    /// Of equals those that were here before stay first. Costs nothing but for
    /// what lies behind the first of them.
    pub(crate) fn merge(&mut self, fresh: impl IntoIterator<Item = Waiting>) {
        let mut fresh = fresh.into_iter().peekable();
        let Some(first) = fresh.peek() else { return };
        let place = self.entries.partition_point(|entry| entry.sequence <= first.sequence);
        let later: Vec<Waiting> = self.entries.drain(place..).collect();
        let mut later = later.into_iter().peekable();
        while let Some(new) = fresh.peek() {
            let next = match later.next_if(|old| old.sequence <= new.sequence) {
                Some(old) => old,
                None => match fresh.next() {
                    Some(new) => new,
                    None => break,
                },
            };
            debug_assert!(self.entries.back().is_none_or(|last| last.sequence <= next.sequence));
            self.add(next);
        }
        later.for_each(|old| self.add(old));
    }

    fn add(&mut self, entry: Waiting) {
        grow(&mut self.entries);
        self.entries.push_back(entry);
    }

    /// Forgets the first `count` entries: they were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        for _ in 0..count {
            self.pop_front();
        }
        self.give_back();
    }

    /// Takes the first entry away. Returns how many messages went with it: none
    /// if it had been replaced. [`FrameQueue::give_back`] must follow in the end.
    pub(crate) fn pop_front(&mut self) -> Option<usize> {
        let entry = self.entries.pop_front()?;
        Some(self.release(&entry))
    }

    /// The same with the last, and with what is reserved behind it.
    pub(crate) fn pop_back(&mut self) -> Option<usize> {
        let entry = self.entries.pop_back()?;
        let messages = self.release(&entry);
        if entry.segment == self.open_number() && entry.start + entry.len == self.open.len() as u32
        {
            self.open.truncate(entry.start as usize);
        }
        self.open.shrink_to_fit();
        Some(messages)
    }

    /// Gives back memory that is reserved for more than there is.
    pub(crate) fn give_back(&mut self) {
        if self.entries.is_empty() {
            *self = Self::default();
            return;
        }
        shrink(&mut self.entries, 0);
        shrink(&mut self.segments, 0);
    }

    fn release(&mut self, entry: &Waiting) -> usize {
        if let Some(latest) = &mut self.latest
            && !latest.leaves(entry)
        {
            return 0;
        }
        if entry.is_own() {
            self.own -= self.cost(entry);
        }
        self.release_bytes(entry);
        entry.messages()
    }

    /// Gives back the bytes of an entry that is alive no more.
    fn release_bytes(&mut self, entry: &Waiting) {
        let index = entry.segment.wrapping_sub(self.first_segment) as usize;
        let Some(segment) = self.segments.get_mut(index) else {
            self.open_alive -= 1;
            if self.open_alive == 0 {
                self.open.clear();
            }
            return;
        };
        segment.alive -= 1;
        if segment.alive == 0 {
            self.stored -= std::mem::take(&mut segment.kept);
            segment.bytes = Bytes::new();
            while self.segments.pop_front_if(|first| first.alive == 0).is_some() {
                self.first_segment = self.first_segment.wrapping_add(1);
            }
        }
    }

    /// Makes `entry`, which waits here, the newest of its record: the one before
    /// it, if it still waits, is replaced. Returns whether it was.
    pub(crate) fn replace(&mut self, record: Record, entry: Waiting) -> bool {
        let Some(latest) = &mut self.latest else { return false };
        let Some(before) = latest.set_newest(record, entry) else { return false };
        if before.len != WHOLE {
            latest.wasted += before.len as usize;
        }
        self.release_bytes(&before);
        true
    }

    /// Replaces what came in since the last time without being held against what
    /// waits. Returns how many messages were replaced.
    pub(crate) fn settle(&mut self) -> usize {
        let unsettled = self.latest.as_mut().is_some_and(|latest| latest.take_unsettled());
        if !unsettled {
            return 0;
        }
        let mut replaced = 0;
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            if let Some(record) = entry.by_record()
                && self.latest.as_ref().is_some_and(|latest| latest.is_newer(record, &entry))
            {
                replaced += usize::from(self.replace(record, entry));
            }
        }
        replaced
    }

    /// Forgets what was replaced, if that is a good part of the queue.
    pub(crate) fn compact(&mut self) {
        let kept = self.kept_bytes();
        let Some(latest) = &mut self.latest else { return };
        if !latest.is_sparse(self.entries.len(), kept) {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| latest.is_alive(entry));
        let mut packed = Self { latest: Some(Box::default()), ..Self::default() };
        packed.entries.reserve_exact(entries.len());
        self.close_segment();
        for old in entries {
            let Some(segment) = self.segment(old.segment) else { continue };
            let end = old.start as usize + self.payload_len(&old);
            let slice = Slice::new(&segment.bytes, old.start as usize..end);
            let mut new = packed.store(old.sequence, &slice, old.tag);
            if let (Some(from), Some(to), Some(record)) =
                (&self.latest, &mut packed.latest, old.by_record())
            {
                let taken = to.take_over(from, record);
                new.tag = Tag::record(taken);
                if from.is_newest(record, &old) {
                    to.set_newest(taken, new);
                }
            }
            packed.entries.push_back(new);
        }
        *self = packed;
    }

    /// Adds slices for the entries from `from` on that are no later than `until`,
    /// while there are fewer than `max` bytes and `max_slices` in `slices`. The
    /// open segment must have been closed. Returns where the next begins, how
    /// many bytes were added and how many publications.
    pub(crate) fn slices<'a>(
        &'a self,
        from: usize,
        until: Sequence,
        (max, max_slices): (usize, usize),
        slices: &mut Slices<'a>,
    ) -> (usize, usize, u64) {
        let (mut at, mut bytes, mut publications) = (from, 0, 0);
        // What the next slice will be, so that neighbours become one.
        let mut run: Option<(&Segment, std::ops::Range<usize>)> = None;
        while let Some(entry) = self.entries.get(at)
            && entry.sequence <= until
            && bytes < max
        {
            let start = entry.start as usize;
            let end = start + self.payload_len(entry);
            let Some(segment) = self.segment(entry.segment) else { break };
            match &mut run {
                Some((last, range)) if std::ptr::eq(*last, segment) && range.end == start => {
                    range.end = end;
                }
                _ => {
                    if let Some((last, range)) = run.take() {
                        slices.push(Slice::new(&last.bytes, range));
                    }
                    if slices.len() >= max_slices {
                        break;
                    }
                    run = Some((segment, start..end));
                }
            }
            bytes += end - start;
            publications += u64::from(entry.is_publication());
            at = self.next_alive(at + 1);
        }
        if let Some((last, range)) = run {
            slices.push(Slice::new(&last.bytes, range));
        }
        (at, bytes, publications)
    }
}

/// The same bytes to keep while they wait: a copy unless they are nearly all of
/// their buffer, so that a few waiting bytes do not keep alive what a whole turn
/// sent to everybody.
fn own(slice: &Slice<'_>) -> Bytes {
    if slice.len() / 9 >= slice.owner_len() / 10 {
        slice.to_bytes()
    } else {
        Bytes::copy_from_slice(slice.as_slice())
    }
}
