//! The kinds of operations, as the number that comes back with a completion says them,
//! and what may come of each. Knows no ring.

use std::{io, net::TcpStream};

use io_uring::types::Timespec;

use crate::driver::{tail::Tail, uring::arrivals::Tag};

pub(super) const KIND_SHIFT: u32 = 56;
pub(super) const ACCEPT: u64 = 1 << KIND_SHIFT;
pub(super) const WAKE: u64 = 2 << KIND_SHIFT;
pub(super) const RECEIVE: u64 = 3 << KIND_SHIFT;
pub(super) const SEND: u64 = 4 << KIND_SHIFT;
pub(super) const LASTING: u64 = 5 << KIND_SHIFT;
pub(super) const LINGER: u64 = 6 << KIND_SHIFT;
pub(super) const FAILURE: u64 = 7 << KIND_SHIFT;
/// Cancellations and closes, which are silent or of no interest.
pub(super) const OTHER: u64 = 8 << KIND_SHIFT;

/// How long a closed connection may take to accept what it was sent before.
pub(super) static LINGER_TIME: Timespec = Timespec::new().sec(5);

/// What came of an operation, but for what is received.
#[derive(Debug)]
pub(in super::super) enum Completion {
    Accepted(TcpStream),
    /// Nothing is accepted any more until `accept` is called again.
    AcceptEnded(io::Error),
    /// A silent send took so much, or failed; the rest of its bytes, if it was no
    /// failure.
    Refused(Tag, io::Result<Tail>),
    /// A lasting send took so much, or failed.
    Sent(Tag, io::Result<usize>),
    /// The time that a closed connection may linger is over.
    LingerOver(Tag),
    /// A socket has an error.
    FailureSeen(Tag),
}
