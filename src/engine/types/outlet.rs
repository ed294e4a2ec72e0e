//! What the engine asks of the world: where batches go, and what to do with sockets.

use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

/// Where batches go: a driver, or what stands for one.
pub trait Outlet {
    /// See [`Driver::send`](crate::driver::Driver::send).
    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending;

    /// See [`Driver::unsent_bytes`](crate::driver::Driver::unsent_bytes).
    fn unsent_bytes(&mut self, id: ConnId) -> usize;

    /// See [`Driver::has_unread`](crate::driver::Driver::has_unread).
    fn has_unread(&mut self, id: ConnId) -> bool;
}

/// What a shard shall do with a socket once everything has been flushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketAction {
    /// Close the sending side.
    Shutdown(ConnId),
    /// Close it.
    Close(ConnId),
    /// Give it away alive, with the bytes that have been received of it.
    HandOff(ConnId, Vec<u8>),
    /// Read it no more, or read it again.
    Hold(ConnId, bool),
}
