//! Publications that one node sends in one channel one after another, as one message: the
//! broker and both nodes handle it once. Knows no channel and no broker.

use bytes::Bytes;

use super::{
    Body, Number,
    cursor::{Malformed, Reader, Writer},
    publication,
};
use crate::publication::Audience;

/// The kind of a message with one publication, and of one with several.
pub(super) const PUBLICATION: u8 = 1;
pub(super) const PUBLICATIONS: u8 = 7;

/// So many publications are in one message at the most: what a reader makes of them is
/// many times as large as they are.
const PUBLICATIONS_MAX: usize = 1_024;
/// Bytes beyond which nothing is added: what is published next waits for no more than
/// this to be written.
const BYTES_MAX: usize = 64 << 10;

/// One or more publications of one node and channel, their numbers one after another.
pub struct Bundle {
    /// The first, as it is sent alone.
    first: Bytes,
    number: Number,
    /// All of them, from the second on.
    several: Writer,
    count: usize,
}

/// The bytes of a message before its body.
fn head_len(number: Number) -> usize {
    let len = |number: u64| (64 - number.max(1).leading_zeros()).div_ceil(7) as usize;
    10 + len(number.sequence) + len(number.since_first)
}

impl Bundle {
    /// One publication, as [`super::encode_publication`] made it with this number.
    pub fn new(first: Bytes, number: Number) -> Self {
        Self { first, number, several: Writer::default(), count: 1 }
    }

    /// Adds one more of the same node and channel. Returns whether it could be added: it
    /// must be the next by its number, and find room.
    pub fn add(&mut self, message: &Bytes, number: Number) -> bool {
        let Some(body) = message.get(head_len(number)..) else { return false };
        let added = self.count as u64;
        let is_next = self.number.sequence > 0
            && number.sequence == self.number.sequence + added
            && number.since_first == self.number.since_first + added;
        let so_far = if self.count > 1 { self.several.0.len() } else { self.first.len() };
        if !is_next || self.count >= PUBLICATIONS_MAX || so_far + body.len() > BYTES_MAX {
            return false;
        }
        if self.count == 1 {
            let (head, first) = self.first.split_at(head_len(self.number).min(self.first.len()));
            self.several.0.reserve(2 * (so_far + body.len()));
            self.several.0.extend_from_slice(head);
            self.several.0[1] = PUBLICATIONS;
            self.several.bytes(first);
        }
        self.several.bytes(body);
        self.count += 1;
        true
    }

    /// The message.
    pub fn finish(self) -> Bytes {
        if self.count > 1 { self.several.0.into() } else { self.first }
    }
}

/// All publications of a message. None of them keeps the memory of the others: each may
/// wait for a slow member long after they are gone.
pub(super) fn publications(
    reader: &mut Reader<'_>,
    audience: &Audience,
) -> Result<Body, Malformed> {
    let mut found = Vec::new();
    while !reader.is_at_end() {
        if found.len() == PUBLICATIONS_MAX {
            return Err(Malformed);
        }
        let one = Bytes::copy_from_slice(reader.bytes()?);
        found.push(publication(&mut Reader::new(&one), audience.clone())?);
    }
    if found.len() > 1 { Ok(Body::Publications(found)) } else { Err(Malformed) }
}
