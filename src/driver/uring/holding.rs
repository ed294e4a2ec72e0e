//! Held connections. What had been received when a hold was noticed is copied out
//! of the receive buffers, which belong to all, and waits here for the hold to end;
//! the receive is ended. Knows tenants and the ring; not what is sent.
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

use std::{collections::VecDeque, net::TcpStream};

use super::{
    Step, UringDriver,
    arrivals::{Received, Tag},
    receiving::ask_to_receive,
    table::Marks,
};
use crate::{driver::Gone, id::ConnId};

/// What a hold keeps back.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// None of them empty.
    portions: VecDeque<Vec<u8>>,
    /// What comes behind them.
    end: Option<Gone>,
}

impl Kept {
    /// Keeps `bytes`, to be lent in portions of at most `portion` bytes.
    fn push(&mut self, bytes: &[u8], portion: usize) {
        if bytes.is_empty() {
            return;
        }
        match self.portions.back_mut() {
            Some(last) if last.len() + bytes.len() <= portion => last.extend(bytes),
            _ => self.portions.extend(bytes.chunks(portion).map(<[u8]>::to_vec)),
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.portions.into_iter().flatten().collect()
    }
}

impl UringDriver {
    pub(super) fn set_hold(&mut self, id: ConnId, hold: bool) {
        let Some(tenant) = self.table.tenant(id) else { return };
        if hold {
            if !tenant.marks.any(Marks::HELD) && tenant.failure.is_some() {
                self.failed.push_back(id);
            }
            tenant.marks.set(Marks::HELD | Marks::SLOWED);
            let ends_by_itself = self.ring.limits_receives()
                && tenant.marks.any(Marks::ARMED)
                && !tenant.marks.any(Marks::KEEPS | Marks::STOPPING);
            if !ends_by_itself {
                self.stop_receiving(Tag::of(id));
            }
        } else if tenant.marks.take(Marks::HELD) {
            if !tenant.marks.any(Marks::KEEPS) {
                ask_to_receive(tenant, &mut self.fed);
            } else if !tenant.marks.any(Marks::RELEASED) {
                tenant.marks.set(Marks::RELEASED);
                self.released.push_back(id);
            }
        }
    }

    /// Something has arrived for a connection that is held, or has not yet lent what
    /// a hold kept back, or has been reported gone.
    pub(super) fn keep(&mut self, tag: Tag, received: Received) -> Option<Step> {
        let tenant = self.table.tagged(tag)?;
        let is_held = tenant.marks.any(Marks::HELD);
        match received {
            Received::Chunk(chunk) => {
                if !tenant.marks.any(Marks::TOLD) {
                    tenant.marks.set(Marks::KEEPS);
                    let portion = self.ring.receive_limit();
                    self.kept.entry(tag).or_default().push(self.ring.lend(&chunk), portion);
                    self.stop_receiving(tag);
                }
                self.ring.put_back(chunk);
                None
            }
            _ if tenant.marks.any(Marks::TOLD) => None,
            Received::NoBuffer => {
                self.stop_receiving(tag);
                None
            }
            Received::Cancelled => None,
            Received::Failed(error) if is_held => self.tell(tag, Gone::from(&error)),
            Received::End if is_held && tenant.failure.is_some() => self.tell(tag, Gone::Reset),
            ended => {
                let why =
                    if let Received::Failed(error) = &ended { error.into() } else { Gone::Eof };
                tenant.marks.set(Marks::KEEPS);
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
        let Some(tenant) = self.table.tagged(tag) else { return };
        if tenant.marks.any(Marks::ARMED) && !tenant.marks.any(Marks::STOPPING) {
            tenant.marks.set(Marks::STOPPING);
            self.ring.cancel_receive(tag);
        }
        if !tenant.marks.any(Marks::WATCHED) {
            tenant.marks.set(Marks::WATCHED);
            self.ring.watch_failure(tag, &tenant.socket);
        }
    }

    /// The kernel tells of an error of a connection. If it is not held, its receive
    /// meets it.
    pub(super) fn on_failure_seen(&mut self, tag: Tag) {
        let Some(tenant) = self.table.tagged(tag) else { return };
        if tenant.marks.take(Marks::WATCHED) {
            // Whoever holds it next asks again, and is told at once.
            self.ring.cancel_failure_watch(tag);
        }
        if tenant.marks.any(Marks::HELD) && !tenant.marks.any(Marks::TOLD) {
            tenant.failure.get_or_insert_with(|| error_of(&tenant.socket));
            self.failed.push_back(tenant.id);
        }
    }

    /// The end of a connection that failed while it is held.
    pub(super) fn next_failed(&mut self) -> Option<Step> {
        while let Some(id) = self.failed.pop_front() {
            let Some(tenant) = self.table.tenant(id) else { continue };
            let is_due = tenant.marks.any(Marks::HELD) && !tenant.marks.any(Marks::TOLD);
            if let (true, Some(why)) = (is_due, tenant.failure) {
                return self.tell(Tag::of(id), why);
            }
        }
        None
    }

    /// The next of what holds kept back that have ended, of each connection in turn.
    pub(super) fn next_released(&mut self) -> Option<Step> {
        while let Some(id) = self.released.pop_front() {
            let Some(tenant) = self.table.tenant(id) else { continue };
            tenant.marks.clear(Marks::RELEASED);
            if tenant.marks.any(Marks::HELD) {
                continue;
            }
            let tag = Tag::of(id);
            let Some(kept) = self.kept.get_mut(&tag) else { continue };
            let portion = kept.portions.pop_front();
            if !kept.portions.is_empty() || (portion.is_some() && kept.end.is_some()) {
                tenant.marks.set(Marks::RELEASED);
                self.released.push_back(id);
            } else if let Some(why) = kept.end {
                return self.tell(tag, why);
            } else {
                self.kept.remove(&tag);
                tenant.marks.clear(Marks::KEEPS);
                ask_to_receive(tenant, &mut self.fed);
            }
            if let Some(portion) = portion {
                return Some(Step::Kept(id, portion));
            }
        }
        None
    }

    /// Reports the end of a connection, the first and only time.
    pub(super) fn tell(&mut self, tag: Tag, why: Gone) -> Option<Step> {
        self.kept.remove(&tag);
        let tenant = self.table.tagged(tag)?;
        let why = tenant.failure.unwrap_or(why);
        if why != Gone::Eof {
            tenant.failure = Some(why);
            tenant.marks.clear(Marks::OWED);
        }
        tenant.marks.clear(Marks::KEEPS);
        tenant.marks.set(Marks::TOLD);
        Some(Step::Gone(tenant.id, why))
    }
}

fn error_of(socket: &TcpStream) -> Gone {
    socket.take_error().ok().flatten().as_ref().map_or(Gone::Reset, Gone::from)
}
