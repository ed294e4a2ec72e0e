//! The driver's table: one small row per connection, found by slot. Knows what
//! has been seen of a socket and what is owed to its owner; does no I/O.

use mio::net::TcpStream;

use crate::{
    driver::{Gone, tail::Tail},
    id::ConnId,
};

/// What is known of a socket, as bits so that a row stays small.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

impl Marks {
    /// There may be something to read.
    pub(super) const READABLE: u8 = 1;
    /// The end of the stream, or an error, lies behind what can be read: a short
    /// read is no reason to stop.
    pub(super) const CLOSING: u8 = 1 << 1;
    /// There may be room for the tail.
    pub(super) const WRITABLE: u8 = 1 << 2;
    /// The id is on the list of those to be read.
    pub(super) const LISTED: u8 = 1 << 3;
    /// `Gone` has been reported.
    pub(super) const TOLD: u8 = 1 << 4;
    /// Nothing is read.
    pub(super) const HELD: u8 = 1 << 5;
    /// The kernel has reported an error.
    pub(super) const FAILED: u8 = 1 << 6;
    /// The id is on the list of those that have something else to do.
    pub(super) const URGENT: u8 = 1 << 7;

    pub(super) const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    pub(super) const fn set(&mut self, bits: u8) {
        self.0 |= bits;
    }

    pub(super) const fn clear(&mut self, bits: u8) {
        self.0 &= !bits;
    }

    /// Clears `bits` and says whether one of them was set.
    pub(super) const fn take(&mut self, bits: u8) -> bool {
        let was = self.any(bits);
        self.clear(bits);
        was
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) id: ConnId,
    /// What a short send left over; never present and empty.
    pub(super) tail: Option<Box<Tail>>,
    pub(super) stream: TcpStream,
    pub(super) marks: Marks,
    /// Why sending is no longer possible.
    pub(super) failure: Option<Gone>,
    /// Nothing was read of it yet.
    pub(super) is_new: bool,
}

impl Tenant {
    pub(super) fn new(id: ConnId, stream: TcpStream) -> Self {
        Self { id, tail: None, stream, marks: Marks::default(), failure: None, is_new: true }
    }

    /// Whether it is to be read: not while it is held.
    pub(super) fn wants_read(&self) -> bool {
        self.marks.any(Marks::READABLE) && !self.marks.any(Marks::HELD)
    }

    /// Whether its end must not wait until it has been read.
    pub(super) fn has_failed_while_held(&self) -> bool {
        self.marks.any(Marks::HELD)
            && !self.marks.any(Marks::TOLD)
            && (self.failure.is_some() || self.marks.any(Marks::FAILED))
    }

    /// What the kernel says has failed.
    pub(super) fn error(&self) -> Gone {
        self.stream.take_error().ok().flatten().as_ref().map_or(Gone::Reset, Gone::from)
    }

    /// Nothing can be sent any more. What has arrived can still be read, and the
    /// end is reported behind it.
    pub(super) fn fail(&mut self, why: Gone) {
        self.tail = None;
        self.failure = Some(why);
        if !self.marks.any(Marks::TOLD) {
            self.marks.set(Marks::READABLE | Marks::CLOSING);
        }
    }

    /// Nothing can be read any more, which is to be reported as the answer says.
    pub(super) fn end(&mut self, why: Gone) -> Gone {
        let why = self.failure.unwrap_or(why);
        if why != Gone::Eof {
            self.fail(why);
        }
        self.marks.clear(Marks::READABLE | Marks::CLOSING);
        self.marks.set(Marks::TOLD);
        why
    }
}

/// All connections of one driver, by slot.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Option<Tenant>>);

impl Table {
    /// The tenant `id`, unless it has left its slot.
    pub(super) fn tenant(&mut self, id: ConnId) -> Option<&mut Tenant> {
        self.0.get_mut(id.slot() as usize)?.as_mut().filter(|tenant| tenant.id == id)
    }

    pub(super) fn insert(&mut self, tenant: Tenant) {
        let slot = tenant.id.slot() as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        debug_assert!(self.0[slot].is_none(), "the slot of {:?} is in use", tenant.id);
        self.0[slot] = Some(tenant);
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Tenant> {
        self.0.get_mut(id.slot() as usize)?.take_if(|tenant| tenant.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;

    use super::*;

    #[test]
    fn an_idle_connection_costs_24_bytes() {
        // In debug builds mio's stream also carries the number of its `Poll`.
        let extra = size_of::<TcpStream>() - size_of::<RawFd>();
        assert!(size_of::<Option<Tenant>>() <= 24 + extra.next_multiple_of(8));
    }
}
