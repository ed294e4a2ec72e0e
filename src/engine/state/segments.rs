//! The bytes of frames that wait in one queue, stored close together and counted by what
//! they cost. Knows where a frame lies; not what it is, nor in which order it waits.
//!
//! Small frames lie one behind the other in *segments* of up to 16 KiB, so that a
//! frame of two bytes costs two bytes, and frames that follow each other leave as one
//! slice. A large frame is a segment of its own: a reference if it is a good part of
//! its buffer, a copy else.
//!
//! Invariant: a segment's bytes are kept while a frame that was not released lies in it.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::entries::{grow, shrink};
use crate::{batch::Slice, copy::append};

/// From this size on a frame is a segment of its own.
const LARGE_FRAME_BYTES: usize = 4096;

/// The largest segment of small frames. One ends at an eighth of the queue, so that
/// what it keeps of frames that have gone is little beside what waits.
const MAX_SEGMENT_BYTES: usize = 16 * 1024;
const MIN_SEGMENT_BYTES: usize = 2048;

/// What a segment is counted as beside its bytes, whether it still has some: its
/// place and the quarter that their queue grows by; and while it has: the
/// allocation.
const SEGMENT_BYTES: usize = size_of::<Segment>() * 5 / 4;
const ALLOCATION_BYTES: usize = 48;

/// What a frame costs beside its bytes if it is all of a segment.
pub(super) const WHOLE_SEGMENT_BYTES: usize = SEGMENT_BYTES + ALLOCATION_BYTES;

/// The length of a frame that is all of its segment.
const WHOLE: u32 = u32::MAX;

/// Where the bytes of a frame lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's number.
    pub(super) segment: u32,
    start: u32,
    /// [`WHOLE`] if the frame is all of its segment.
    len: u32,
}

impl Place {
    /// Bytes that stay with their segment when the frame is released; none if it is all
    /// of it.
    pub(super) fn shared_len(self) -> usize {
        if self.len == WHOLE { 0 } else { self.len as usize }
    }
}

#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    /// Frames in it that were not released.
    alive: u32,
    /// What it is counted as.
    kept: usize,
}

/// The segments of one queue.
#[derive(Debug, Default)]
pub(super) struct Segments {
    closed: VecDeque<Segment>,
    /// The number of the first of them.
    first: u32,
    /// The segment that is being written: behind the last.
    open: Vec<u8>,
    open_alive: u32,
    /// What the closed ones are counted as.
    stored: usize,
}

impl Segments {
    /// Bytes that are kept here, those that are reserved included.
    pub(super) fn kept_bytes(&self) -> usize {
        self.stored + self.open.capacity() + self.closed.len() * SEGMENT_BYTES
    }

    /// Stores the bytes of a frame.
    pub(super) fn store(&mut self, slice: &Slice<'_>) -> Place {
        let bytes = slice.as_slice();
        if bytes.len() >= LARGE_FRAME_BYTES {
            self.close();
            let segment = self.open_number();
            self.add(to_kept(slice), 1);
            return Place { segment, start: 0, len: WHOLE };
        }
        let max = (self.stored / 8).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        if self.open.len() + bytes.len() > max.max(bytes.len()) {
            self.close();
        }
        if self.open.capacity() - self.open.len() < bytes.len() {
            self.open.reserve_exact(bytes.len().max(self.open.len() / 4));
        }
        let start = self.open.len() as u32;
        append(&mut self.open, bytes);
        self.open_alive += 1;
        Place { segment: self.open_number(), start, len: bytes.len() as u32 }
    }

    /// Ends the segment that is being written, so that it can be sliced.
    pub(super) fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let alive = std::mem::take(&mut self.open_alive);
        if !open.is_empty() {
            self.add(Bytes::from(open.into_boxed_slice()), alive);
        }
    }

    fn add(&mut self, bytes: Bytes, alive: u32) {
        let kept = bytes.len() + ALLOCATION_BYTES;
        self.stored += kept;
        grow(&mut self.closed);
        self.closed.push_back(Segment { bytes, alive, kept });
    }

    /// How long the frame is.
    pub(super) fn len_of(&self, place: Place) -> usize {
        match place.len {
            WHOLE => self.segment(place.segment).map_or(0, |segment| segment.bytes.len()),
            len => len as usize,
        }
    }

    /// The buffer that the frame lies in, and where; none if its segment is not closed.
    pub(super) fn find(&self, place: Place) -> Option<(&Bytes, Range<usize>)> {
        let start = place.start as usize;
        let end = start + self.len_of(place);
        self.segment(place.segment).map(|segment| (&segment.bytes, start..end))
    }

    /// The segment of that number; none if it is the open one.
    fn segment(&self, number: u32) -> Option<&Segment> {
        self.closed.get(number.wrapping_sub(self.first) as usize)
    }

    fn open_number(&self) -> u32 {
        self.first.wrapping_add(self.closed.len() as u32)
    }

    /// Gives back the bytes of a frame.
    pub(super) fn release(&mut self, place: Place) {
        let index = place.segment.wrapping_sub(self.first) as usize;
        let Some(segment) = self.closed.get_mut(index) else {
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
            while self.closed.pop_front_if(|first| first.alive == 0).is_some() {
                self.first = self.first.wrapping_add(1);
            }
        }
    }

    /// Takes the bytes of the frame that was stored last, and is released, off the end of
    /// the segment that is being written, with what is reserved behind them.
    pub(super) fn truncate(&mut self, place: Place) {
        if place.segment == self.open_number() && place.start + place.len == self.open.len() as u32
        {
            self.open.truncate(place.start as usize);
        }
        self.open.shrink_to_fit();
    }

    /// Gives back memory that is reserved for more than there is.
    pub(super) fn shrink(&mut self) {
        shrink(&mut self.closed, 0);
    }

    /// Whether there is no closed one.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.closed.is_empty()
    }

    /// What they have allocated.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let alive = self.closed.iter().filter(|segment| segment.alive > 0);
        self.closed.capacity() * size_of::<Segment>()
            + alive.map(|segment| segment.bytes.len() + ALLOCATION_BYTES).sum::<usize>()
            + self.open.capacity()
    }
}

/// The same bytes to keep while they wait: a copy unless they are nearly all of
/// their buffer, so that a few waiting bytes do not keep alive what a whole turn
/// sent to everybody.
fn to_kept(slice: &Slice<'_>) -> Bytes {
    if slice.len() / 9 >= slice.owner_len() / 10 {
        slice.to_bytes()
    } else {
        Bytes::copy_from_slice(slice.as_slice())
    }
}
