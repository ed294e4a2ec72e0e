//! Receives: who is armed when and for how much, and what becomes of what they
//! bring. Knows connections and the ring; not what is sent.
//!
//! A receive goes on until it has brought as much as the limit, and is armed again when
//! that has been lent: of one connection there is never more than twice the limit in
//! the buffers. A kernel that cannot limit receives (before Linux 6.17) goes on until it
//! finds no buffer, though after 32 of them it serves others first; so there a hold
//! ends the receive at once.
//!
//! Many that flood could still take all buffers, again and again, while the others get
//! theirs one after the other. So whoever found none, or was held, receives one portion
//! at a time, and a wait arms no more of those than half of the buffers hold, in the
//! order in which they came, until a portion is not used up.
//!
//! The first bytes of a connection cost the most: a handshake, or a socket that leaves
//! for the HTTP side. So what arrives of connections that have not been served yet goes
//! into a line of its own, of which a turn takes so many: a burst of them makes no turn
//! long.

use std::{collections::VecDeque, os::fd::AsFd};

use super::{
    arrivals::{Received, Tag},
    connection::{Connection, flag},
    state::{Step, UringDriver},
};
use crate::{driver::Gone, id::ConnId};

impl UringDriver {
    /// Arms what is not armed and should be.
    pub(super) fn arm(&mut self) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.arm(&mut self.ring);
        }
        self.ring.watch(self.eventfd.as_fd());
        if !self.ring.has_buffers() {
            return;
        }
        let (count, each) = self.ring.buffer_dimensions();
        let mut portions_left = (count * each / self.ring.receive_limit() / 2).max(1);
        while portions_left > 0
            && let Some(id) = self.starved.pop_front().or_else(|| self.rearm.pop_front())
        {
            let Some(connection) = self.table.find(id) else { continue };
            connection.flags.clear(flag::RECEIVED | flag::QUEUED);
            if connection.flags.any(NOT_NOW) {
                continue;
            }
            connection.flags.set(flag::ARMED);
            if connection.flags.take(flag::SINGLE_SHOT) {
                portions_left -= 1;
                self.ring.receive_once(Tag::of(id), &connection.socket);
            } else {
                self.ring.receive(Tag::of(id), &connection.socket);
            }
        }
    }

    /// Whether the next wait would arm more.
    pub(super) fn has_more_to_arm(&self) -> bool {
        self.ring.has_buffers() && !(self.starved.is_empty() && self.rearm.is_empty())
    }

    /// What the next arrival comes to, which has waited its turn.
    pub(super) fn next_arrived(&mut self) -> Option<Step> {
        // Neither line keeps the other waiting.
        if self.steps % 4 == 1
            && let Some(step) = self.next_of_newcomers()
        {
            return Some(step);
        }
        while let Some((tag, received, goes_on)) = self.ring.next_received() {
            if self.is_newcomer(tag) {
                self.newcomers.push(tag, received, goes_on);
            } else if let Some(step) = self.on_received(tag, received, goes_on) {
                return Some(step);
            }
        }
        self.next_of_newcomers()
    }

    /// Whether what has arrived of `tag` waits behind that of others.
    fn is_newcomer(&mut self, tag: Tag) -> bool {
        let connection = self.table.tagged(tag);
        connection.is_some_and(|connection| !connection.flags.any(flag::SERVED))
            || (self.newcomers.len() > 0 && self.newcomers.has(tag))
    }

    fn next_of_newcomers(&mut self) -> Option<Step> {
        while self.newcomers_left > 0
            && let Some((tag, received, goes_on)) = self.newcomers.pop()
        {
            if let Some(connection) = self.table.tagged(tag) {
                connection.flags.set(flag::SERVED);
            }
            if let Some(step) = self.on_received(tag, received, goes_on) {
                self.newcomers_left -= 1;
                return Some(step);
            }
        }
        None
    }

    fn on_received(&mut self, tag: Tag, received: Received, goes_on: bool) -> Option<Step> {
        let Some(connection) = self.table.tagged(tag) else {
            // Of a connection that was closed meanwhile.
            if let Received::Chunk(chunk) = received {
                self.ring.put_back(chunk);
            }
            return None;
        };
        let id = connection.id;
        if !goes_on {
            connection.flags.clear(flag::ARMED | flag::CANCELLING);
        }
        if connection.flags.any(flag::HELD | flag::HAS_KEPT | flag::GONE_REPORTED) {
            return self.keep(tag, received);
        }
        let why = match received {
            Received::Chunk(chunk) => {
                connection.flags.set(flag::RECEIVED);
                if !goes_on && chunk.len() >= self.ring.receive_limit() {
                    // There is more.
                    connection.flags.set(flag::SINGLE_SHOT);
                }
                ask_to_receive(connection, &mut self.rearm);
                return Some(Step::Data(id, chunk));
            }
            Received::NoBuffer => {
                let had_some = connection.flags.any(flag::RECEIVED);
                connection.flags.set(flag::SINGLE_SHOT);
                ask_to_receive(
                    connection,
                    if had_some { &mut self.rearm } else { &mut self.starved },
                );
                return None;
            }
            Received::Cancelled => {
                // The hold that it was cancelled for has ended.
                ask_to_receive(connection, &mut self.rearm);
                return None;
            }
            Received::End => Gone::Eof,
            Received::Failed(error) => Gone::from(&error),
        };
        self.report_gone(tag, why)
    }
}

/// What speaks against arming a receive.
const NOT_NOW: u16 = flag::ARMED | flag::HELD | flag::HAS_KEPT | flag::GONE_REPORTED;

/// Has the next wait arm the receive of `connection`, if it may receive and does not.
pub(super) fn ask_to_receive(connection: &mut Connection, queue: &mut VecDeque<ConnId>) {
    if !connection.flags.any(NOT_NOW | flag::QUEUED) {
        connection.flags.set(flag::QUEUED);
        queue.push_back(connection.id);
    }
}
