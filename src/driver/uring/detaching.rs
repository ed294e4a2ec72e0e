//! Connections that leave the table: their receives end, and what had arrived goes
//! with the socket. Knows connections and the ring; not what is sent.

use super::{
    arrivals::{Received, Tag},
    connection::{Connection, flag},
    kept::Kept,
    state::UringDriver,
};

/// How often a detaching connection's last completion is looked for.
const DETACH_ROUNDS: usize = 4;

impl UringDriver {
    /// Ends the receive of `connection`, which has left the table; what arrived before.
    ///
    /// A cancelled receive takes no more bytes from the moment at which the
    /// submission returns: the kernel carries out the cancellation within it, and
    /// looks for it before each attempt to receive. What it took before has been
    /// reported by then. Its last completion may come after those of any number of
    /// other connections, so it is looked for, and not waited for.
    pub(super) fn end_receive(&mut self, connection: &mut Connection) -> Vec<u8> {
        let tag = Tag::of(connection.id);
        let mut unread = self.kept.remove(&tag).map_or_else(Vec::new, Kept::into_bytes);
        self.cancel_receives(connection);
        let mut arrived = self.newcomers.take(tag);
        for _ in 0..DETACH_ROUNDS {
            self.ring.submit();
            arrived.extend(self.ring.take_received(tag));
            for (received, goes_on) in arrived.drain(..) {
                if !goes_on {
                    connection.flags.clear(flag::ARMED);
                }
                if let Received::Chunk(chunk) = received {
                    unread.extend_from_slice(self.ring.lend(&chunk));
                    self.ring.put_back(chunk);
                }
            }
            if !connection.flags.any(flag::ARMED) {
                break;
            }
        }
        self.settle();
        unread
    }

    /// Lets the kernel take nothing more of `connection`, which has left the table.
    pub(super) fn cancel_receives(&mut self, connection: &Connection) {
        let tag = Tag::of(connection.id);
        if connection.flags.any(flag::ARMED) && !connection.flags.any(flag::CANCELLING) {
            self.ring.cancel_receive(tag);
        }
        if connection.flags.any(flag::WATCHED) {
            self.ring.cancel_failure_watch(tag);
        }
    }
}
