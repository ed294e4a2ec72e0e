//! What becomes of sends: the rest of a refused one, the end of a lasting one,
//! failures, and the farewell of a connection that was closed before its bytes had
//! left. Knows tenants and the ring; not what is received.

use std::{io, net::Shutdown};

use super::{
    UringDriver,
    arrivals::Tag,
    table::{Marks, Tenant, Unsent},
};
use crate::{
    driver::{Gone, tail::Tail},
    id::ConnId,
};

impl UringDriver {
    /// Finds out what became of everything that `id` was sent, telling the kernel
    /// of it if that has not happened. Comes before whatever is asked of `id` next.
    pub(super) fn submit_sends_of(&mut self, id: ConnId) {
        let epoch = self.ring.epoch();
        if self.table.tenant(id).is_some_and(|tenant| tenant.epoch == epoch) {
            self.ring.submit();
        }
        // A full queue may have been submitted since.
        self.settle();
    }

    /// The rest of a silent send goes out by one that lasts.
    pub(super) fn on_refused(&mut self, tag: Tag, tail: Tail) {
        let Some(tenant) = self.table.tagged(tag) else { return };
        debug_assert!(tenant.unsent.is_none());
        let Some(first) = tail.pieces().next() else { return };
        let key = self.ring.send_lasting(tag, &tenant.socket, first.clone());
        tenant.unsent = Some(Box::new(Unsent { tail, key }));
    }

    /// A lasting send has ended, with as much as the socket took at once: what is
    /// left must be known while a slow peer takes it bit by bit.
    pub(super) fn on_taken(&mut self, tag: Tag, taken: usize) {
        let Some(tenant) = self.table.tagged(tag).or_else(|| self.leaving.get_mut(&tag)) else {
            return;
        };
        let Some(unsent) = &mut tenant.unsent else { return };
        unsent.tail.advance(taken);
        if let Some(first) = unsent.tail.pieces().next() {
            unsent.key = self.ring.send_lasting(tag, &tenant.socket, first.clone());
            return;
        }
        tenant.unsent = None;
        let id = tenant.id;
        if tenant.marks.take(Marks::OWED) {
            self.sent.push_back(id);
        }
        if tenant.marks.take(Marks::SHUT) {
            // It fails only if the connection is gone, which is reported by itself.
            let _ = tenant.socket.shutdown(Shutdown::Write);
        }
        if let Some(tenant) = self.leaving.remove(&tag) {
            self.ring.close(tenant.socket);
        }
    }

    /// Closes a connection whose bytes need not leave any more.
    pub(super) fn cut_off(&mut self, tenant: Tenant) {
        if let Some(unsent) = &tenant.unsent {
            self.ring.cancel_lasting(unsent.key);
            // A send that is just being tried again is not found; this ends it.
            let _ = tenant.socket.shutdown(Shutdown::Both);
        }
        self.ring.close(tenant.socket);
    }

    pub(super) fn on_send_failed(&mut self, tag: Tag, error: &io::Error) {
        if let Some(tenant) = self.leaving.remove(&tag) {
            self.ring.close(tenant.socket);
            return;
        }
        let Some(tenant) = self.table.tagged(tag) else { return };
        tenant.unsent = None;
        tenant.failure = Some(Gone::from(error));
        // After `Gone` nothing more can be reported, and yet a caller must not
        // wait for ever: for a failed connection "sent" means "done with".
        if tenant.marks.take(Marks::OWED) && tenant.marks.any(Marks::TOLD) {
            self.sent.push_back(tenant.id);
        }
        if tenant.marks.any(Marks::HELD) {
            self.failed.push_back(tenant.id);
        }
        // What has arrived can still be read, and behind it the receive ends.
        let _ = tenant.socket.shutdown(Shutdown::Both);
    }
}
