//! Held connections. What had been received when a hold was noticed is copied out
//! of the receive buffers, which belong to all, and waits here for the hold to end;
//! the receive is ended. Knows connections and the ring; not what is sent.
//!
//! A hold costs a mark, and nothing else unless something arrives while it lasts or
//! nothing is being received.
//! Then the receive that brought it is cancelled, a poll tells of a failure in its
//! place, and from then on each receive of a connection that was held meanwhile
//! takes one portion and ends by itself: a hold that follows finds none to cancel.
//!
//! What one connection can have here is what its receive brings before it ends: less
//! than two portions, or one when it is held again and again. A kernel that does not
//! limit receives is asked to end each when the hold begins; what it had received by
//! then is 32 buffers at the most.

use std::net::TcpStream;

use super::{
    arrivals::{Received, Tag},
    connection::flag,
    receiving::ask_to_receive,
    state::{Step, UringDriver},
};
use crate::{driver::Gone, id::ConnId};

impl UringDriver {
    pub(super) fn set_hold(&mut self, id: ConnId, hold: bool) {
        let Some(connection) = self.table.find(id) else { return };
        if hold {
            if !connection.flags.any(flag::HELD) && connection.failure.is_some() {
                self.failed.push_back(id);
            }
            connection.flags.set(flag::HELD | flag::SINGLE_SHOT);
            let ends_by_itself = self.ring.limits_receives()
                && connection.flags.any(flag::ARMED)
                && !connection.flags.any(flag::HAS_KEPT | flag::CANCELLING);
            if !ends_by_itself {
                self.stop_receiving(Tag::of(id));
            }
        } else if connection.flags.take(flag::HELD) {
            if !connection.flags.any(flag::HAS_KEPT) {
                ask_to_receive(connection, &mut self.rearm);
            } else if !connection.flags.any(flag::RELEASED) {
                connection.flags.set(flag::RELEASED);
                self.released.push_back(id);
            }
        }
    }

    /// Something has arrived for a connection that is held, or has not yet lent what
    /// a hold kept back, or has been reported gone.
    pub(super) fn keep(&mut self, tag: Tag, received: Received) -> Option<Step> {
        let connection = self.table.tagged(tag)?;
        let is_held = connection.flags.any(flag::HELD);
        match received {
            Received::Chunk(chunk) => {
                if !connection.flags.any(flag::GONE_REPORTED) {
                    connection.flags.set(flag::HAS_KEPT);
                    let portion = self.ring.receive_limit();
                    self.kept.entry(tag).or_default().push(self.ring.lend(&chunk), portion);
                    self.stop_receiving(tag);
                }
                self.ring.put_back(chunk);
                None
            }
            _ if connection.flags.any(flag::GONE_REPORTED) => None,
            Received::NoBuffer => {
                self.stop_receiving(tag);
                None
            }
            Received::Cancelled => None,
            Received::Failed(error) if is_held => self.report_gone(tag, Gone::from(&error)),
            Received::End if is_held && connection.failure.is_some() => {
                self.report_gone(tag, Gone::Reset)
            }
            ended => {
                let why =
                    if let Received::Failed(error) = &ended { error.into() } else { Gone::Eof };
                connection.flags.set(flag::HAS_KEPT);
                self.kept.entry(tag).or_default().end = Some(why);
                // Nothing else tells of a failure that follows.
                self.stop_receiving(tag);
                None
            }
        }
    }

    /// Ends the receive of `tag`, if there is one, and has the kernel tell of a
    /// failure all the same.
    fn stop_receiving(&mut self, tag: Tag) {
        let Some(connection) = self.table.tagged(tag) else { return };
        if connection.flags.any(flag::ARMED) && !connection.flags.any(flag::CANCELLING) {
            connection.flags.set(flag::CANCELLING);
            self.ring.cancel_receive(tag);
        }
        if !connection.flags.any(flag::WATCHED) {
            connection.flags.set(flag::WATCHED);
            self.ring.watch_failure(tag, &connection.socket);
        }
    }

    /// The kernel tells of an error of a connection. If it is not held, its receive
    /// meets it.
    pub(super) fn on_failure_seen(&mut self, tag: Tag) {
        let Some(connection) = self.table.tagged(tag) else { return };
        if connection.flags.take(flag::WATCHED) {
            // Whoever holds it next asks again, and is told at once.
            self.ring.cancel_failure_watch(tag);
        }
        if connection.flags.any(flag::HELD) && !connection.flags.any(flag::GONE_REPORTED) {
            connection.failure.get_or_insert_with(|| error_of(&connection.socket));
            self.failed.push_back(connection.id);
        }
    }

    /// The end of a connection that failed while it is held.
    pub(super) fn next_failed(&mut self) -> Option<Step> {
        while let Some(id) = self.failed.pop_front() {
            let Some(connection) = self.table.find(id) else { continue };
            let is_due =
                connection.flags.any(flag::HELD) && !connection.flags.any(flag::GONE_REPORTED);
            if let (true, Some(why)) = (is_due, connection.failure) {
                return self.report_gone(Tag::of(id), why);
            }
        }
        None
    }

    /// The next of what holds kept back that have ended, of each connection in turn.
    pub(super) fn next_released(&mut self) -> Option<Step> {
        while let Some(id) = self.released.pop_front() {
            let Some(connection) = self.table.find(id) else { continue };
            connection.flags.clear(flag::RELEASED);
            if connection.flags.any(flag::HELD) {
                continue;
            }
            let tag = Tag::of(id);
            let Some(kept) = self.kept.get_mut(&tag) else { continue };
            let portion = kept.portions.pop_front();
            if !kept.portions.is_empty() || (portion.is_some() && kept.end.is_some()) {
                connection.flags.set(flag::RELEASED);
                self.released.push_back(id);
            } else if let Some(why) = kept.end {
                return self.report_gone(tag, why);
            } else {
                self.kept.remove(&tag);
                connection.flags.clear(flag::HAS_KEPT);
                ask_to_receive(connection, &mut self.rearm);
            }
            if let Some(portion) = portion {
                return Some(Step::Kept(id, portion));
            }
        }
        None
    }

    /// Reports the end of a connection, the first and only time.
    pub(super) fn report_gone(&mut self, tag: Tag, why: Gone) -> Option<Step> {
        self.kept.remove(&tag);
        let connection = self.table.tagged(tag)?;
        let why = connection.failure.unwrap_or(why);
        if why != Gone::Eof {
            connection.failure = Some(why);
            connection.flags.clear(flag::SENT_DUE);
        }
        connection.flags.clear(flag::HAS_KEPT);
        connection.flags.set(flag::GONE_REPORTED);
        Some(Step::Gone(connection.id, why))
    }
}

fn error_of(socket: &TcpStream) -> Gone {
    socket.take_error().ok().flatten().as_ref().map_or(Gone::Reset, Gone::from)
}
