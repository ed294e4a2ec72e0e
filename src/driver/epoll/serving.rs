//! What comes next of a turn: accepts, what no hold delays, and reads in rotation.
//! Knows the lists of connections; not how a socket is read.

use std::net::SocketAddr;

use mio::net::TcpStream;

use super::{
    accept::Acceptor,
    connection::flag,
    edge::{Outcome, flush, read},
    state::{EpollDriver, list},
};
use crate::{
    driver::{Gone, STEPS_PER_ACCEPT},
    id::ConnId,
};

/// What may be read of held connections in vain, all of them together: 8 MiB, 32
/// receive buffers.
pub(super) const UNUSED_BYTES: usize = if cfg!(test) { 256 << 10 } else { 8 << 20 };

/// The most of one read is never less.
const LEAST_READ_BYTES: usize = 4096;

/// An [`Event`](crate::driver::Event) before it borrows the receive buffer.
pub(super) enum Step {
    Accepted(TcpStream, SocketAddr),
    Data(ConnId, usize),
    Sent(ConnId),
    Gone(ConnId, Gone),
}

impl EpollDriver {
    pub(super) fn step(&mut self) -> Option<Step> {
        // Busy connections must not keep new ones waiting, nor these the others.
        self.steps = (self.steps + 1) % STEPS_PER_ACCEPT;
        if self.steps == 1
            && let Some((stream, peer)) = self.acceptor.as_mut().and_then(Acceptor::accept)
        {
            return Some(Step::Accepted(stream, peer));
        }
        while let Some(id) = self.urgent.pop_front() {
            if let Some(step) = self.serve_urgent(id) {
                return Some(step);
            }
        }
        while !self.held
            && let Some(id) = self.ready.next()
        {
            if let Some(step) = self.serve(id) {
                return Some(step);
            }
        }
        let (stream, peer) = self.acceptor.as_mut()?.accept()?;
        Some(Step::Accepted(stream, peer))
    }

    /// The next event of `id` that has nothing to do with reading.
    fn serve_urgent(&mut self, id: ConnId) -> Option<Step> {
        let connection = self.table.find(id)?;
        connection.flags.clear(flag::URGENT);
        let step = if connection.flags.take(flag::WRITABLE) && flush(connection) {
            Some(Step::Sent(id))
        } else if connection.has_failed_while_held() {
            let why = connection.failure.unwrap_or_else(|| connection.error());
            Some(Step::Gone(id, connection.end(why)))
        } else {
            None
        };
        // A failure may follow, or what is to be read of it.
        list(connection, &mut self.ready, &mut self.urgent);
        step
    }

    /// The most bytes of one read. Whoever is held may leave as much unused: all of
    /// them together about [`UNUSED_BYTES`].
    fn max_read(&self) -> usize {
        let each = (UNUSED_BYTES / self.holds.max(1)).max(LEAST_READ_BYTES);
        self.received.len().min(each)
    }

    /// Reads `id` once. It is listed again if it may have more.
    fn serve(&mut self, id: ConnId) -> Option<Step> {
        let max = self.max_read();
        let connection = self.table.find(id)?;
        if !connection.wants_read() {
            connection.flags.clear(flag::LISTED);
            return None;
        }
        match read(connection, &mut self.received[..max]) {
            Outcome::Nothing => {
                connection.flags.clear(flag::READABLE | flag::CLOSING | flag::LISTED);
                None
            }
            Outcome::Bytes(len) => {
                connection.flags.set(flag::WAS_READ);
                self.ready.count(len);
                // A short read has emptied the socket; what comes later makes a
                // new edge. Only an end that was already announced makes none.
                if len < max && !connection.flags.any(flag::CLOSING) {
                    connection.flags.clear(flag::READABLE | flag::LISTED);
                } else {
                    self.ready.put_back(id);
                }
                Some(Step::Data(id, len))
            }
            Outcome::End(why) => {
                let why = connection.end(why);
                connection.flags.clear(flag::LISTED);
                Some(Step::Gone(id, why))
            }
        }
    }
}
