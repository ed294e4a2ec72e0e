//! Receives: who is armed when and for how much, and what becomes of what they
//! bring. Knows tenants and the ring; not what is sent.
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

use std::{collections::VecDeque, os::fd::AsFd};

use super::{
    Step, UringDriver,
    arrivals::{Received, Tag},
    table::{Marks, Tenant},
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
            && let Some(id) = self.hungry.pop_front().or_else(|| self.fed.pop_front())
        {
            let Some(tenant) = self.table.tenant(id) else { continue };
            tenant.marks.clear(Marks::FED | Marks::QUEUED);
            if tenant.marks.any(NOT_NOW) {
                continue;
            }
            tenant.marks.set(Marks::ARMED);
            if tenant.marks.take(Marks::SLOWED) {
                portions_left -= 1;
                self.ring.receive_once(Tag::of(id), &tenant.socket);
            } else {
                self.ring.receive(Tag::of(id), &tenant.socket);
            }
        }
    }

    /// Whether the next wait would arm more.
    pub(super) fn has_more_to_arm(&self) -> bool {
        self.ring.has_buffers() && !(self.hungry.is_empty() && self.fed.is_empty())
    }

    pub(super) fn on_received(
        &mut self,
        tag: Tag,
        received: Received,
        goes_on: bool,
    ) -> Option<Step> {
        let Some(tenant) = self.table.tagged(tag) else {
            // Of a connection that was closed meanwhile.
            if let Received::Chunk(chunk) = received {
                self.ring.put_back(chunk);
            }
            return None;
        };
        let id = tenant.id;
        if !goes_on {
            tenant.marks.clear(Marks::ARMED | Marks::STOPPING);
        }
        if tenant.marks.any(Marks::HELD | Marks::KEEPS | Marks::TOLD) {
            return self.keep(tag, received);
        }
        let why = match received {
            Received::Chunk(chunk) => {
                tenant.marks.set(Marks::FED);
                if !goes_on && chunk.len() >= self.ring.receive_limit() {
                    // There is more.
                    tenant.marks.set(Marks::SLOWED);
                }
                ask_to_receive(tenant, &mut self.fed);
                return Some(Step::Data(id, chunk));
            }
            Received::NoBuffer => {
                let fed = tenant.marks.any(Marks::FED);
                tenant.marks.set(Marks::SLOWED);
                ask_to_receive(tenant, if fed { &mut self.fed } else { &mut self.hungry });
                return None;
            }
            Received::Cancelled => {
                // The hold that it was cancelled for has ended.
                ask_to_receive(tenant, &mut self.fed);
                return None;
            }
            Received::End => Gone::Eof,
            Received::Failed(error) => Gone::from(&error),
        };
        self.tell(tag, why)
    }
}

/// What speaks against arming a receive.
const NOT_NOW: u16 = Marks::ARMED | Marks::HELD | Marks::KEEPS | Marks::TOLD;

/// Has the next wait arm the receive of `tenant`, if it may receive and does not.
pub(super) fn ask_to_receive(tenant: &mut Tenant, queue: &mut VecDeque<ConnId>) {
    if !tenant.marks.any(NOT_NOW | Marks::QUEUED) {
        tenant.marks.set(Marks::QUEUED);
        queue.push_back(tenant.id);
    }
}
