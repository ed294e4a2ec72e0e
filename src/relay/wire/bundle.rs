//! Publications that one node sends in one channel one after another, as one message: the
//! broker and both nodes handle it once. Knows no channel and no broker.

use bytes::Bytes;

use super::{
    cursor::{Malformed, Reader, Writer},
    head::{Number, head},
    publication::{Delivery, encode_body, publication},
};
use crate::{
    copy::append,
    publication::{Audience, Publication},
};

/// The kind of a message with several publications.
pub(super) const PUBLICATIONS: u8 = 7;

/// So many publications are in one message at the most: what a reader makes of them is
/// many times as large as they are.
const PUBLICATIONS_MAX: usize = 1_024;
/// Bytes beyond which nothing is added: what is published next waits for no more than
/// this to be written.
const BYTES_MAX: usize = 64 << 10;

/// The room that is made for a message which is begun.
const BEGUN_BYTES: usize = 4 << 10;

/// Publications of one node and channel, their numbers one after another.
pub struct Bundle {
    writer: Writer,
    number: Number,
    count: u64,
}

/// The bytes of a message before its body.
fn head_len(number: Number) -> usize {
    let len = |number: u64| (64 - number.max(1).leading_zeros()).div_ceil(7) as usize;
    10 + len(number.sequence) + len(number.since_first)
}

impl Bundle {
    /// A message of `node` without a publication, whose first has this number.
    pub fn new(node: u64, number: Number) -> Self {
        let mut writer = Writer(Vec::with_capacity(BEGUN_BYTES));
        head(&mut writer, PUBLICATIONS, node, number);
        Self { writer, number, count: 0 }
    }

    /// Whether a publication of `bytes` with this number may be added: it must be the next,
    /// and find room.
    pub fn takes(&self, number: Number, bytes: usize) -> bool {
        let is_next = self.number.sequence > 0
            && number.sequence == self.number.sequence + self.count
            && number.since_first == self.number.since_first + self.count;
        let fits = self.writer.0.len() + bytes <= BYTES_MAX && self.count < PUBLICATIONS_MAX as u64;
        self.count == 0 || is_next && fits
    }

    /// Adds a publication.
    pub fn add(&mut self, node: u64, publication: &Publication) {
        self.count += 1;
        let at = self.writer.0.len();
        self.writer.size(0);
        encode_body(&mut self.writer, node, publication);
        self.writer.set_size(at);
    }

    /// Adds one that is encoded: by [`super::encode_publication`], with this number.
    pub fn add_encoded(&mut self, message: &[u8], number: Number) {
        self.count += 1;
        let at = self.writer.0.len();
        self.writer.size(0);
        let body = message.get(head_len(number)..).unwrap_or_default();
        append(&mut self.writer.0, body);
        self.writer.set_size(at);
    }

    /// The message.
    pub fn finish(self) -> Bytes {
        self.writer.0.into()
    }
}

/// All publications of a message. They share its memory, which is theirs for as long as
/// they are on their way to the logs of their rooms.
pub(super) fn publications(
    reader: &mut Reader<'_>,
    audience: &Audience,
) -> Result<Vec<Delivery>, Malformed> {
    let count = reader.clone().count_sized(PUBLICATIONS_MAX)?;
    let mut found = Vec::with_capacity(count);
    while !reader.is_at_end() {
        let one = reader.sized()?;
        found.push(publication(&mut Reader::new(&one), audience.clone())?);
    }
    if found.is_empty() { Err(Malformed) } else { Ok(found) }
}
