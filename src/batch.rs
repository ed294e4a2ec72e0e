//! What the engine hands to a driver for one connection: references to bytes
//! that are ready to leave, with their owners, so that a driver which cannot
//! send at once keeps a `Bytes` and copies nothing. Knows neither side.

use std::ops::Range;

use bytes::Bytes;

/// A run of bytes inside a shared buffer, borrowed for the length of a `send`.
///
/// The bytes are `owner[range]`. A driver that sends at once reads
/// [`Slice::as_slice`]; one that must keep the bytes calls [`Slice::to_bytes`],
/// which costs one reference count.
#[derive(Clone, Debug)]
pub struct Slice<'a> {
    owner: &'a Bytes,
    range: Range<usize>,
}

impl<'a> Slice<'a> {
    /// The run `range` of `owner`.
    ///
    /// # Panics
    /// In debug builds, if `range` does not lie inside `owner`.
    pub fn new(owner: &'a Bytes, range: Range<usize>) -> Self {
        debug_assert!(range.start <= range.end && range.end <= owner.len());
        Self { owner, range }
    }

    /// The whole of `owner`.
    pub fn whole(owner: &'a Bytes) -> Self {
        Self { owner, range: 0..owner.len() }
    }

    /// The bytes themselves.
    pub fn as_slice(&self) -> &'a [u8] {
        &self.owner[self.range.clone()]
    }

    /// The same bytes as an owned reference into the shared buffer.
    pub fn to_bytes(&self) -> Bytes {
        self.owner.slice(self.range.clone())
    }

    /// Length of the whole shared buffer, in bytes.
    pub fn owner_len(&self) -> usize {
        self.owner.len()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

/// What became of a batch that was given to a driver.
///
/// A driver always takes the whole batch; this says whether it is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// All of it has left, or leaves before anything else that is asked of this
    /// connection (or the connection is gone): the next batch may follow.
    Done,
    /// Some of it is still with the driver. The next batch may follow only after
    /// the driver has reported `Sent` for this connection.
    Pending,
}
