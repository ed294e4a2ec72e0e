//! One simulated connection: the bytes underway in both directions and how each
//! end has left. Knows nothing of drivers, of their events or of other links.

use std::{collections::VecDeque, net::SocketAddr};

use super::{Faults, Rng};
use crate::{
    batch::{Sending, Slice},
    driver::Gone,
};

/// The most bytes from a peer that may wait for the server.
pub(super) const INBOUND_BYTES: usize = 16 << 20;

/// The most bytes that may lie with a peer before its test takes them; then its
/// window is closed as if it were stalled.
const RECEIVED_BYTES: usize = 64 << 20;

/// A stalled peer's window is drawn from 1 to this many bytes.
const STALLED_WINDOW_BYTES: usize = 4096;

/// What a peer sees of the server's end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEnd {
    /// Connected, and not accepted yet.
    Waiting,
    /// Accepted; the server may still send.
    Open,
    /// The server has closed its sending direction (FIN).
    ShutDown,
    /// The server has closed its socket, or never took the connection.
    Closed,
}

/// One connection between a peer and a driver.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    pub(super) server: ServerEnd,
    /// Written by the peer, not yet lent to the server.
    pub(super) inbound: VecDeque<u8>,
    /// How the peer's direction ended, or that the connection failed.
    pub(super) end: Option<Gone>,
    /// Arrived at the peer, not yet taken by the test.
    received: Vec<u8>,
    /// Bytes that a stalled peer's window still takes.
    window: Option<usize>,
    /// Taken by the driver, not yet on its way.
    tail: VecDeque<u8>,
    /// The tail has emptied, and the server has not been told.
    pub(super) sent_due: bool,
    /// The server has been told of `end`.
    pub(super) gone_told: bool,
    /// The server takes no data.
    pub(super) held: bool,
}

impl Link {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            server: ServerEnd::Waiting,
            inbound: VecDeque::new(),
            end: None,
            received: Vec::new(),
            window: None,
            tail: VecDeque::new(),
            sent_due: false,
            gone_told: false,
            held: false,
        }
    }

    /// Whether the server has something to be told now.
    pub(super) fn has_news(&self) -> bool {
        let has_data_or_end = !self.inbound.is_empty() || self.end.is_some();
        let must_wait = self.held && !self.failed();
        self.sent_due || (!self.gone_told && has_data_or_end && !must_wait)
    }

    /// Bytes that the server has sent and that have not arrived.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.tail.len()
    }

    /// Whether a later turn could move bytes of the tail.
    pub(super) fn can_move(&self) -> bool {
        !self.tail.is_empty() && self.room() > 0
    }

    pub(super) fn failed(&self) -> bool {
        self.server == ServerEnd::Closed || self.end.is_some_and(|end| end != Gone::Eof)
    }

    /// Takes what the peer's kernel would: nothing once either end has left.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        if self.end.is_some() || self.server == ServerEnd::Closed {
            return bytes.len();
        }
        let taken = bytes.len().min(INBOUND_BYTES - self.inbound.len());
        self.inbound.extend(&bytes[..taken]);
        taken
    }

    /// The connection fails; of what was underway to the server the first
    /// `keep` bytes still arrive.
    pub(super) fn fail(&mut self, why: Gone, keep: usize) {
        if self.failed() {
            return;
        }
        self.inbound.truncate(keep);
        self.end = Some(why);
        // After `Eof` nothing more can be reported, and yet a caller must not
        // wait for ever: for a failed connection "sent" means "done with".
        self.sent_due = self.gone_told && (self.sent_due || !self.tail.is_empty());
        self.tail.clear();
    }

    pub(super) fn finish(&mut self) {
        self.end.get_or_insert(Gone::Eof);
    }

    pub(super) fn stall(&mut self, window_bytes: usize) {
        self.window = Some(window_bytes);
    }

    pub(super) fn stall_anywhere(&mut self, rng: &mut Rng) {
        self.stall(1 + rng.below(STALLED_WINDOW_BYTES));
    }

    pub(super) fn resume(&mut self) {
        self.window = None;
    }

    pub(super) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Sends what fits and keeps the rest.
    pub(super) fn send(&mut self, batch: &[Slice<'_>], faults: Faults, rng: &mut Rng) -> Sending {
        debug_assert!(self.tail.is_empty(), "a batch is still pending");
        if self.failed() {
            return Sending::Done;
        }
        if self.server == ServerEnd::ShutDown {
            self.fail(Gone::Reset, usize::MAX);
            return Sending::Done;
        }
        let total = batch.iter().map(Slice::len).sum::<usize>();
        let mut fits = total.min(self.room());
        if rng.chance(faults.short_sends_percent) {
            fits = fits.min(rng.below(total + 1));
        }
        for slice in batch {
            let (now, later) = slice.as_slice().split_at(fits.min(slice.len()));
            self.deliver(now);
            self.tail.extend(later);
            fits -= now.len();
        }
        if self.tail.is_empty() { Sending::Done } else { Sending::Pending }
    }

    /// Moves what the window lets through of the tail, under faults less of it.
    pub(super) fn pump(&mut self, faults: Faults, rng: &mut Rng) {
        let mut moved = self.tail.len().min(self.room());
        if moved == 0 {
            return;
        }
        if rng.chance(faults.short_sends_percent) {
            moved = rng.piece(moved);
        }
        let bytes = self.tail.drain(..moved).collect::<Vec<u8>>();
        self.deliver(&bytes);
        self.sent_due = self.tail.is_empty();
    }

    /// Moves some of what the peer wrote into `scratch`; the length of it.
    pub(super) fn lend(&mut self, scratch: &mut [u8], faults: Faults, rng: &mut Rng) -> usize {
        let mut len = self.inbound.len().min(scratch.len());
        if rng.chance(faults.pieces_percent) {
            len = rng.piece(len);
        }
        for (to, from) in scratch.iter_mut().zip(self.inbound.drain(..len)) {
            *to = from;
        }
        len
    }

    /// The server closes its sending direction, behind all that it has sent.
    pub(super) fn shut_down(&mut self) {
        debug_assert!(self.tail.is_empty(), "a batch is still pending");
        if self.server == ServerEnd::Open {
            self.server = ServerEnd::ShutDown;
        }
    }

    /// A driver begins, or ceases, to serve this link.
    pub(super) fn change_hands(&mut self) {
        self.tail.clear();
        self.sent_due = false;
        self.gone_told = false;
        self.held = false;
    }

    /// The server's socket is dropped.
    pub(super) fn close(&mut self) {
        self.change_hands();
        self.inbound = VecDeque::new();
        self.server = ServerEnd::Closed;
    }

    fn room(&self) -> usize {
        let room = RECEIVED_BYTES - self.received.len();
        self.window.map_or(room, |window| window.min(room))
    }

    fn deliver(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room());
        self.received.extend_from_slice(bytes);
        if let Some(window) = &mut self.window {
            *window -= bytes.len();
        }
    }
}
