//! The driver on `io_uring`: multishot accept and receive, buffers that the kernel
//! fills and the engine unmasks in place, and all sends of a turn submitted by the
//! call that waits for the next. Knows completions and hides them.
//!
//! A turn first gathers everything that has arrived, then lends it, and what the
//! turn sends goes out when the next wait begins:
//!
//! ```text
//! wait: submit ─► sleep ─► gather ─► gather …   next, next, next …   send, send …
//! ```
//!
//! Backpressure needs no switch. Data that is held back stays in the receive
//! buffers; when they are used up the kernel ends the receives that find none, and
//! those are armed again, whoever has had nothing first and each for one portion,
//! when buffers come back.
//!
//! A send that the socket refuses in part is found out only at the submission,
//! after [`Sending::Done`] was answered. The rest is then sent by an operation that
//! lasts until all has left; what is asked of the connection meanwhile waits for
//! it, and a connection that is closed meanwhile lives on until it has left, for
//! five seconds at the most. From then on each of its sends is submitted at once and
//! answered as it went, until its socket has been seen empty: a caller who is told
//! `Done` again and again takes a slow reader for a fast one.

mod accepting;
mod arrivals;
mod buffers;
mod connection;
mod detaching;
mod events;
mod holding;
mod kept;
mod load;
pub mod probe;
mod receiving;
mod ring;
mod sending;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod trial;

use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use self::{
    accepting::Acceptor,
    arrivals::Tag,
    connection::{Connection, flag},
    state::Step,
};
use super::{Detached, Driver, Event, Waker, slots::Flags, unsent::bytes_in_socket};
use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

pub use self::{settings::UringSettings, state::UringDriver};

/// How often a turn looks for more before it lends what it has. The kernel runs
/// about 20 completions each time.
const GATHER_ROUNDS: usize = 64;

/// The most closed connections that may still have something coming.
const MAX_LINGERING: usize = if cfg!(test) { 16 } else { 4096 };

/// The most arrivals that are gathered: a peer that sends byte by byte makes one of
/// each.
const GATHERED: usize = 1 << 16;

/// The most bytes that are gathered: what is lent should still lie in the core's
/// own cache. Half of the buffers, if that is less.
const GATHERED_BYTES: usize = 128 << 10;

/// The most connections of which a turn lends the first bytes. Each may cost as much as
/// a hundred messages: a socket that leaves takes its receive along, in a call of the
/// kernel of its own.
const NEWCOMERS_PER_TURN: u32 = 64;

impl UringDriver {
    /// How many arrivals wait to be lent or acted upon.
    pub(super) fn waiting(&self) -> usize {
        self.ring.received() + self.newcomers.len()
    }

    /// The wait that `asked` may become: none while something is left to do.
    pub(super) fn allowed_wait(&self, asked: Option<Duration>) -> Option<Duration> {
        let has_data = self.waiting() > 0 || !self.released.is_empty();
        if !self.sent.is_empty() || !self.failed.is_empty() || (has_data && !self.held) {
            return Some(Duration::ZERO);
        }
        if self.has_more_to_arm() {
            return Some(Duration::ZERO);
        }
        match self.acceptor.as_ref().and_then(Acceptor::longest_wait) {
            Some(longest) => Some(asked.map_or(longest, |asked| asked.min(longest))),
            None => asked,
        }
    }
}

impl Driver for UringDriver {
    type Socket = TcpStream;

    fn attach(&mut self, id: ConnId, socket: TcpStream) -> io::Result<()> {
        let mut flags = Flags::default();
        flags.set(flag::ARMED);
        self.ring.receive(Tag::of(id), &socket);
        let epoch = self.ring.epoch_byte().wrapping_sub(1);
        self.table.insert(Connection { id, unsent: None, socket, epoch, flags, failure: None });
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.take_back();
        self.newcomers_left = NEWCOMERS_PER_TURN;
        self.ring.replenish();
        self.arm();
        self.settle();
        let timeout =
            if self.ring.take_woken() { Some(Duration::ZERO) } else { self.allowed_wait(timeout) };
        if timeout != Some(Duration::ZERO) {
            self.ring.enter(1, timeout)?;
        } else if self.ring.needs_enter() {
            self.ring.enter(0, timeout)?;
        }
        self.settle();
        let (count, each) = self.ring.buffer_dimensions();
        let max_bytes = GATHERED_BYTES.min(count * each / 2);
        for _ in 0..GATHER_ROUNDS {
            if !self.ring.has_more_to_gather()
                || self.waiting() >= GATHERED
                || self.ring.received_bytes() >= max_bytes
            {
                break;
            }
            self.ring.enter(0, Some(Duration::ZERO))?;
            self.settle();
        }
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.on_turn();
        }
        // Whoever waits is awake now.
        self.ring.take_woken();
        Ok(())
    }

    fn next(&mut self) -> Option<Event<'_, TcpStream>> {
        self.take_back();
        Some(match self.step()? {
            Step::Accepted(socket, peer) => Event::Accepted { socket, peer },
            Step::Data(id, chunk) => Event::Data(id, self.ring.lend(self.lent.insert(chunk))),
            Step::Kept(id, portion) => {
                self.lent_portion = portion;
                Event::Data(id, &mut self.lent_portion)
            }
            Step::Sent(id) => Event::Sent(id),
            Step::Gone(id, why) => Event::Gone(id, why),
        })
    }

    fn hold_data(&mut self, hold: bool) {
        self.held = hold;
    }

    fn hold(&mut self, id: ConnId, hold: bool) {
        self.set_hold(id, hold);
    }

    fn unsent_bytes(&mut self, id: ConnId) -> usize {
        self.submit_sends_of(id);
        let Some(connection) = self.table.find(id) else { return 0 };
        let with_driver = connection.unsent.as_ref().map_or(0, |unsent| unsent.tail.len());
        with_driver + bytes_in_socket(connection.socket.as_fd())
    }

    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        if batch.iter().all(Slice::is_empty) {
            return Sending::Done;
        }
        self.submit_sends_of(id);
        let Some(connection) = self.table.find(id) else { return Sending::Done };
        debug_assert!(!connection.flags.any(flag::SENT_DUE), "a batch of {id:?} is still pending");
        if connection.failure.is_some() {
            return Sending::Done;
        }
        if let Some(unsent) = &mut connection.unsent {
            unsent.tail.keep(batch, 0);
            connection.flags.set(flag::SENT_DUE);
            return Sending::Pending;
        }
        if connection.flags.any(flag::SLOW) {
            return self.send_to_slow(id, batch);
        }
        self.ring.send(Tag::of(id), &connection.socket, batch);
        connection.epoch = self.ring.epoch_byte();
        Sending::Done
    }

    fn shutdown(&mut self, id: ConnId) {
        self.submit_sends_of(id);
        let Some(connection) = self.table.find(id) else { return };
        debug_assert!(!connection.flags.any(flag::SENT_DUE), "a batch of {id:?} is still pending");
        if connection.unsent.is_some() {
            connection.flags.set(flag::SHUTDOWN_DUE);
            return;
        }
        // It fails only if the connection is gone, which is reported by itself.
        let _ = connection.socket.shutdown(Shutdown::Write);
    }

    fn close(&mut self, id: ConnId) {
        self.submit_sends_of(id);
        let Some(connection) = self.table.remove(id) else { return };
        let tag = Tag::of(id);
        self.kept.remove(&tag);
        self.cancel_receives(&connection);
        let is_done_with = connection.unsent.is_some() && !connection.flags.any(flag::SENT_DUE);
        if is_done_with && self.lingering.len() < MAX_LINGERING {
            self.lingering.insert(tag, connection);
            self.ring.time_lingering(tag);
        } else {
            self.close_now(connection);
        }
    }

    fn detach(&mut self, id: ConnId) -> Option<Detached<TcpStream>> {
        self.submit_sends_of(id);
        let mut connection = self.table.remove(id)?;
        let unread = self.end_receive(&mut connection);
        if let Some(unsent) = &connection.unsent {
            self.ring.cancel_lasting(unsent.key);
            self.submit();
        }
        Some(Detached { socket: connection.socket, unread })
    }

    fn has_unread(&mut self, id: ConnId) -> bool {
        let Some(connection) = self.table.find(id) else { return false };
        let unread = rustix::io::ioctl_fionread(&connection.socket).is_ok_and(|bytes| bytes > 0);
        let tag = Tag::of(id);
        let has_arrived = self.ring.has_received(tag) || self.newcomers.has(tag);
        unread || has_arrived || connection.flags.any(flag::HAS_KEPT)
    }

    fn has_sent_all(&mut self) -> bool {
        self.submit();
        self.lingering.is_empty()
    }

    fn stop_accepting(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.ring.cancel_accept();
        // The kernel holds the listener as long as it accepts.
        self.submit();
        drop(acceptor);
    }

    fn waker(&self) -> Waker {
        let eventfd = Arc::clone(&self.eventfd);
        Waker::new(move || {
            // It fails only after 2^64 - 2 wakes, and then one is underway.
            let _ = rustix::io::write(&eventfd, &1u64.to_ne_bytes());
        })
    }
}
