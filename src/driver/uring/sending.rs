//! What becomes of sends: the rest of a refused one, the end of a lasting one,
//! failures, and a connection that lingers because it was closed before its bytes had
//! left. Knows connections and the ring; not what is received.

use std::{io, net::Shutdown, os::fd::AsFd};

use super::{
    arrivals::Tag,
    connection::{Connection, Unsent, flag},
    state::UringDriver,
};
use crate::{
    batch::{Sending, Slice},
    driver::{Gone, tail::Tail, unsent::bytes_in_socket},
    id::ConnId,
};

impl UringDriver {
    /// Finds out what became of everything that `id` was sent, telling the kernel
    /// of it if that has not happened. Comes before whatever is asked of `id` next.
    pub(super) fn submit_sends_of(&mut self, id: ConnId) {
        let epoch = self.ring.epoch_byte();
        if self.table.find(id).is_some_and(|connection| connection.epoch == epoch) {
            self.ring.submit();
        }
        // A full queue may have been submitted since.
        self.settle();
    }

    /// Sends on a connection whose socket has refused something of late, and says what
    /// became of it.
    pub(super) fn send_to_slow(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        let Some(connection) = self.table.find(id) else { return Sending::Done };
        if bytes_in_socket(connection.socket.as_fd()) == 0 {
            connection.flags.clear(flag::SLOW);
        }
        self.ring.send(Tag::of(id), &connection.socket, batch);
        connection.epoch = self.ring.epoch_byte();
        self.submit();
        match self.table.find(id) {
            Some(connection) if connection.unsent.is_some() => {
                connection.flags.set(flag::SENT_DUE);
                Sending::Pending
            }
            _ => Sending::Done,
        }
    }

    /// The rest of a silent send goes out by one that lasts.
    pub(super) fn on_refused(&mut self, tag: Tag, tail: Tail) {
        let Some(connection) = self.table.tagged(tag) else { return };
        debug_assert!(connection.unsent.is_none());
        let Some(first) = tail.pieces().next() else { return };
        let key = self.ring.send_lasting(tag, &connection.socket, first.clone());
        connection.unsent = Some(Box::new(Unsent { tail, key }));
        connection.flags.set(flag::SLOW);
    }

    /// A lasting send has ended, with as much as the socket took at once: what is
    /// left must be known while a slow peer takes it bit by bit.
    pub(super) fn on_taken(&mut self, tag: Tag, taken: usize) {
        let Some(connection) = self.table.tagged(tag).or_else(|| self.lingering.get_mut(&tag))
        else {
            return;
        };
        let Some(unsent) = &mut connection.unsent else { return };
        unsent.tail.advance(taken);
        if let Some(first) = unsent.tail.pieces().next() {
            unsent.key = self.ring.send_lasting(tag, &connection.socket, first.clone());
            return;
        }
        connection.unsent = None;
        let id = connection.id;
        if connection.flags.take(flag::SENT_DUE) {
            self.sent.push_back(id);
        }
        if connection.flags.take(flag::SHUTDOWN_DUE) {
            // It fails only if the connection is gone, which is reported by itself.
            let _ = connection.socket.shutdown(Shutdown::Write);
        }
        if let Some(connection) = self.lingering.remove(&tag) {
            self.ring.close(connection.socket);
        }
    }

    /// Closes a connection whose bytes need not leave any more.
    pub(super) fn close_now(&mut self, connection: Connection) {
        if let Some(unsent) = &connection.unsent {
            self.ring.cancel_lasting(unsent.key);
            // A send that is just being tried again is not found; this ends it.
            let _ = connection.socket.shutdown(Shutdown::Both);
        }
        self.ring.close(connection.socket);
    }

    pub(super) fn on_send_failed(&mut self, tag: Tag, error: &io::Error) {
        if let Some(connection) = self.lingering.remove(&tag) {
            self.ring.close(connection.socket);
            return;
        }
        let Some(connection) = self.table.tagged(tag) else { return };
        connection.unsent = None;
        connection.failure = Some(Gone::from(error));
        // After `Gone` nothing more can be reported, and yet a caller must not
        // wait for ever: for a failed connection "sent" means "done with".
        if connection.flags.take(flag::SENT_DUE) && connection.flags.any(flag::GONE_REPORTED) {
            self.sent.push_back(connection.id);
        }
        if connection.flags.any(flag::HELD) {
            self.failed.push_back(connection.id);
        }
        // What has arrived can still be read, and behind it the receive ends.
        let _ = connection.socket.shutdown(Shutdown::Both);
    }
}
