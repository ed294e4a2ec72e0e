//! What the driver keeps of a connection: what is underway for its socket, and what is
//! to be reported of it. Does no I/O.

use std::net::TcpStream;

use super::arrivals::Tag;
use crate::{
    driver::{
        Gone,
        slots::{Flags, Identified, Slots},
        tail::Tail,
    },
    id::ConnId,
};

/// What is known of a socket.
pub(super) mod flag {
    use crate::driver::slots::flag::TAKEN;
    pub(in crate::driver) use crate::driver::slots::flag::{GONE_REPORTED, HELD};

    /// A receive is armed.
    pub(in crate::driver) const ARMED: u16 = 1 << TAKEN;
    /// Something has arrived since it was armed.
    pub(in crate::driver) const RECEIVED: u16 = 2 << TAKEN;
    /// `Pending` was answered: `Sent` is to be reported.
    pub(in crate::driver) const SENT_DUE: u16 = 4 << TAKEN;
    /// The sending side is to be closed once the tail has left.
    pub(in crate::driver) const SHUTDOWN_DUE: u16 = 8 << TAKEN;
    /// The next receive takes one portion.
    pub(in crate::driver) const SINGLE_SHOT: u16 = 16 << TAKEN;
    /// A hold has kept something back that has not been lent.
    pub(in crate::driver) const HAS_KEPT: u16 = 32 << TAKEN;
    /// On the list of those whose hold has ended and that keep something.
    pub(in crate::driver) const RELEASED: u16 = 64 << TAKEN;
    /// The receive is being cancelled.
    pub(in crate::driver) const CANCELLING: u16 = 128 << TAKEN;
    /// On a list of those that are to receive.
    pub(in crate::driver) const QUEUED: u16 = 256 << TAKEN;
    /// The kernel was asked to tell of a failure.
    pub(in crate::driver) const WATCHED: u16 = 512 << TAKEN;
    /// Its socket has refused something, and has not been seen empty since.
    pub(in crate::driver) const SLOW: u16 = 1024 << TAKEN;
    /// Something of it has been lent, or its end reported.
    pub(in crate::driver) const SERVED: u16 = 2048 << TAKEN;
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
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) unsent: Option<Box<Unsent>>,
    pub(super) socket: TcpStream,
    /// The submission that its last silent send is in, of which this is the lowest
    /// byte: taking another for it costs a submission that was not needed.
    pub(super) epoch: u8,
    pub(super) flags: Flags,
    /// Why sending is no longer possible.
    pub(super) failure: Option<Gone>,
}

impl Identified for Connection {
    fn id(&self) -> ConnId {
        self.id
    }
}

/// All connections of one driver.
pub(super) type Table = Slots<Connection>;

impl Table {
    /// The connection that a completion names, unless it has left its slot.
    pub(super) fn tagged(&mut self, tag: Tag) -> Option<&mut Connection> {
        self.at(tag.slot()).filter(|connection| Tag::of(connection.id) == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_24_bytes() {
        assert!(size_of::<Option<Connection>>() <= 24);
    }
}
