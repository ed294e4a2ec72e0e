//! The driver's table: one small row per connection, found by slot. Knows what is
//! underway for a socket and what is owed to its owner; does no I/O.

use std::net::TcpStream;

use super::arrivals::Tag;
use crate::{
    driver::{Gone, tail::Tail},
    id::ConnId,
};

/// What is known of a socket, as bits so that a row stays small.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u16);

impl Marks {
    /// A receive is armed, or queued to be.
    pub(super) const ARMED: u16 = 1;
    /// Something has arrived since it was armed.
    pub(super) const FED: u16 = 1 << 1;
    /// `Gone` has been reported.
    pub(super) const TOLD: u16 = 1 << 2;
    /// `Pending` was answered: `Sent` is owed.
    pub(super) const OWED: u16 = 1 << 3;
    /// The sending side is to be closed once the tail has left.
    pub(super) const SHUT: u16 = 1 << 4;
    /// Nothing is lent.
    pub(super) const HELD: u16 = 1 << 5;
    /// Held at some time since the last receive was armed.
    pub(super) const SLOWED: u16 = 1 << 6;
    /// A hold has kept something back that has not been lent.
    pub(super) const KEEPS: u16 = 1 << 7;
    /// On the list of those whose hold has ended and that keep something.
    pub(super) const RELEASED: u16 = 1 << 8;
    /// The receive is being cancelled.
    pub(super) const STOPPING: u16 = 1 << 9;
    /// On a list of those that are to receive.
    pub(super) const QUEUED: u16 = 1 << 10;
    /// The kernel was asked to tell of a failure.
    pub(super) const WATCHED: u16 = 1 << 11;

    pub(super) const fn any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    pub(super) const fn set(&mut self, bits: u16) {
        self.0 |= bits;
    }

    pub(super) const fn clear(&mut self, bits: u16) {
        self.0 &= !bits;
    }

    /// Clears `bits` and says whether one of them was set.
    pub(super) const fn take(&mut self, bits: u16) -> bool {
        let was = self.any(bits);
        self.clear(bits);
        was
    }
}

/// What a socket would not take at once.
#[derive(Debug)]
pub(super) struct Unsent {
    /// Never empty. Its first piece is underway.
    pub(super) tail: Tail,
    /// The number of the send that is underway.
    pub(super) key: u32,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) id: ConnId,
    pub(super) unsent: Option<Box<Unsent>>,
    pub(super) socket: TcpStream,
    /// The submission that its last silent send is in.
    pub(super) epoch: u32,
    pub(super) marks: Marks,
    /// Why sending is no longer possible.
    pub(super) failure: Option<Gone>,
}

/// All connections of one driver, by slot.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Option<Tenant>>);

impl Table {
    /// The tenant `id`, unless it has left its slot.
    pub(super) fn tenant(&mut self, id: ConnId) -> Option<&mut Tenant> {
        self.0.get_mut(id.slot() as usize)?.as_mut().filter(|tenant| tenant.id == id)
    }

    /// The tenant that a completion names, unless it has left its slot.
    pub(super) fn tagged(&mut self, tag: Tag) -> Option<&mut Tenant> {
        let row = self.0.get_mut(tag.slot() as usize)?;
        row.as_mut().filter(|tenant| Tag::of(tenant.id) == tag)
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
    use super::*;

    #[test]
    fn an_idle_connection_costs_32_bytes() {
        assert!(size_of::<Option<Tenant>>() <= 32);
    }
}
