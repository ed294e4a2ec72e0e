//! A frame that waits in a connection's own queue, as the queue and the index by
//! which it is conflated both see it. Knows no bytes.

use super::segments::Place;

/// A frame's place among all frames of its shard: publications have even
/// numbers, direct sends the odd ones between them.
pub(crate) type Sequence = u64;

/// The sequence of the publication of this number.
pub(crate) fn sequence_of_publication(sequence: u64) -> Sequence {
    sequence * 2
}

/// The sequence of a direct send after `published` publications.
pub(crate) fn sequence_of_direct(published: u64) -> Sequence {
    published * 2 + 1
}

/// The place of a group's key among those of one queue.
pub(crate) type Record = u32;

/// A waiting frame, or a run of direct sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) sequence: Sequence,
    pub(super) place: Place,
    pub(super) tag: Tag,
}

/// What must be known of a waiting frame beside its bytes: for a direct send how
/// many messages it is, for a publication the record that it can be conflated by,
/// or [`Tag::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

/// Set in the tag of direct sends that are answers.
const ANSWER: u32 = 1 << 31;

impl Tag {
    /// A publication that stays when the rest is conflated.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// Direct sends of so many messages; `is_answer` if they answer what the connection
    /// itself sent.
    pub(crate) fn messages(count: u32, is_answer: bool) -> Self {
        Self(count.min(ANSWER - 1) | if is_answer { ANSWER } else { 0 })
    }

    pub(crate) fn record(record: Record) -> Self {
        Self(record)
    }
}

impl Waiting {
    pub(crate) fn is_publication(&self) -> bool {
        self.sequence.is_multiple_of(2)
    }

    /// How many messages are lost if it is dropped.
    pub(crate) fn messages(&self) -> usize {
        if self.is_publication() { 1 } else { (self.tag.0 & !ANSWER) as usize }
    }

    /// Whether it answers what the connection itself sent.
    pub(crate) fn is_answer(&self) -> bool {
        !self.is_publication() && self.tag.0 & ANSWER != 0
    }

    pub(crate) fn by_record(&self) -> Option<Record> {
        (self.is_publication() && self.tag != Tag::NONE).then_some(self.tag.0)
    }
}
