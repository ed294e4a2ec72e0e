//! What every message begins with. Knows no message.

use super::cursor::Writer;

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;
/// The place of a message in what a node has published in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number {
    /// Counted from 1; 0 where none is counted.
    pub sequence: u64,
    /// How far it is from the first of this numbering.
    pub since_first: u64,
}

impl Number {
    /// This one and those behind it.
    pub(in crate::relay) fn following(self) -> impl Iterator<Item = Self> {
        (0..).map(move |behind| Self {
            sequence: self.sequence.saturating_add(behind),
            since_first: self.since_first.saturating_add(behind),
        })
    }
}

pub(super) fn head(writer: &mut Writer, kind: u8, node: u64, number: Number) {
    writer.byte(VERSION);
    writer.byte(kind);
    writer.fixed(node);
    writer.number(number.sequence);
    writer.number(number.since_first);
}
