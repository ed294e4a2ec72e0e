//! A connection's own queue: frames with an order, their bytes in segments. Knows no
//! policy, no room and no socket.
//!
//! Invariants: entries are in ascending order; [`FrameQueue::kept_bytes`] is, to a
//! tenth, what the queue has allocated.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::{
    conflation::Conflation,
    entries::{grow, shrink},
    room_log::Slices,
    segments::{Segments, WHOLE_SEGMENT_BYTES},
    waiting::{Record, Sequence, Tag, Waiting},
};
use crate::batch::Slice;

#[cfg(test)]
mod tests;

/// What a waiting frame is counted as beside its bytes: its entry, and the
/// quarter that the queue grows by at a time.
pub(crate) const WAITING_BYTES: usize = size_of::<Waiting>() * 5 / 4;

/// Frames that wait for one connection, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct FrameQueue {
    entries: VecDeque<Waiting>,
    segments: Segments,
    /// What the entries that are answers are counted as.
    answer_bytes: usize,
    /// Which publications replace which, in a queue that is conflated.
    pub(crate) conflation: Option<Box<Conflation>>,
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
        self.segments.kept_bytes()
            + self.entries.len() * WAITING_BYTES
            + self.conflation.as_ref().map_or(0, |conflation| conflation.kept_bytes())
    }

    /// Those of them that are answers to what the connection itself sent.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// The entry at `index`.
    pub(crate) fn at(&self, index: usize) -> Option<&Waiting> {
        self.entries.get(index)
    }

    /// The first entry at or behind `index` that was not replaced.
    pub(crate) fn next_alive(&self, index: usize) -> usize {
        match &self.conflation {
            None => index,
            Some(conflation) => {
                let rest = self.entries.range(index.min(self.entries.len())..);
                index + rest.take_while(|entry| !conflation.is_alive(entry)).count()
            }
        }
    }

    /// The last entry's sequence, and what the queue would be counted as if there were
    /// no other.
    pub(crate) fn newest(&self) -> Option<(Sequence, usize)> {
        let last = self.entries.back()?;
        let record = self.conflation.as_ref().zip(last.by_record());
        let record_bytes = record.map_or(0, |(conflation, record)| conflation.cost(record));
        Some((last.sequence, self.cost(last) + record_bytes + WHOLE_SEGMENT_BYTES))
    }

    /// What an entry is counted as.
    pub(crate) fn cost(&self, entry: &Waiting) -> usize {
        WAITING_BYTES + self.segments.len_of(entry.place)
    }

    /// Stores the bytes of a frame, which [`FrameQueue::merge`] must be told of next.
    pub(crate) fn store(&mut self, sequence: Sequence, slice: &Slice<'_>, tag: Tag) -> Waiting {
        let waiting = Waiting { sequence, place: self.segments.store(slice), tag };
        self.answer_bytes += if waiting.is_answer() { WAITING_BYTES + slice.len() } else { 0 };
        waiting
    }

    /// Ends the segment that is being written, so that it can be sliced.
    pub(crate) fn close_segment(&mut self) {
        self.segments.close();
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
        self.segments.truncate(entry.place);
        Some(messages)
    }

    /// Gives back memory that is reserved for more than there is.
    pub(crate) fn give_back(&mut self) {
        if self.entries.is_empty() {
            *self = Self::default();
            return;
        }
        shrink(&mut self.entries, 0);
        self.segments.shrink();
    }

    fn release(&mut self, entry: &Waiting) -> usize {
        if let Some(conflation) = &mut self.conflation
            && !conflation.remove(entry)
        {
            return 0;
        }
        if entry.is_answer() {
            self.answer_bytes -= self.cost(entry);
        }
        self.segments.release(entry.place);
        entry.messages()
    }

    /// Makes `entry`, which waits here, the newest of its record: the one before
    /// it, if it still waits, is replaced. Returns whether it was.
    pub(crate) fn replace(&mut self, record: Record, entry: Waiting) -> bool {
        let Some(conflation) = &mut self.conflation else { return false };
        let Some(before) = conflation.set_newest(record, entry) else { return false };
        conflation.wasted += before.place.shared_len();
        self.segments.release(before.place);
        true
    }

    /// Replaces what came in since the last time without being held against what
    /// waits. Returns how many messages were replaced.
    pub(crate) fn conflate_new(&mut self) -> usize {
        let unconflated =
            self.conflation.as_mut().is_some_and(|conflation| conflation.take_unconflated());
        if !unconflated {
            return 0;
        }
        let mut replaced = 0;
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            if let Some(record) = entry.by_record()
                && self
                    .conflation
                    .as_ref()
                    .is_some_and(|conflation| conflation.is_newer(record, &entry))
            {
                replaced += usize::from(self.replace(record, entry));
            }
        }
        replaced
    }

    /// Forgets what was replaced, if that is a good part of the queue.
    pub(crate) fn compact(&mut self) {
        let kept = self.kept_bytes();
        let Some(conflation) = &mut self.conflation else { return };
        if !conflation.is_sparse(self.entries.len(), kept) {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| conflation.is_alive(entry));
        let mut packed = Self { conflation: Some(Box::default()), ..Self::default() };
        packed.entries.reserve_exact(entries.len());
        self.close_segment();
        for old in entries {
            let Some((bytes, range)) = self.segments.find(old.place) else { continue };
            let slice = Slice::new(bytes, range);
            let mut new = packed.store(old.sequence, &slice, old.tag);
            if let (Some(from), Some(to), Some(record)) =
                (&self.conflation, &mut packed.conflation, old.by_record())
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
        let mut run: Option<(u32, &Bytes, Range<usize>)> = None;
        while let Some(entry) = self.entries.get(at)
            && entry.sequence <= until
            && bytes < max
        {
            let Some((buffer, range)) = self.segments.find(entry.place) else { break };
            let len = range.len();
            match &mut run {
                Some((segment, _, last))
                    if *segment == entry.place.segment && last.end == range.start =>
                {
                    last.end = range.end;
                }
                _ => {
                    if let Some((_, buffer, range)) = run.take() {
                        slices.push(Slice::new(buffer, range));
                    }
                    if slices.len() >= max_slices {
                        break;
                    }
                    run = Some((entry.place.segment, buffer, range));
                }
            }
            bytes += len;
            publications += u64::from(entry.is_publication());
            at = self.next_alive(at + 1);
        }
        if let Some((_, buffer, range)) = run {
            slices.push(Slice::new(buffer, range));
        }
        (at, bytes, publications)
    }
}
