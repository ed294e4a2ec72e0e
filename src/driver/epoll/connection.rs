//! What the driver keeps of a connection: what has been seen of its socket, and what
//! is to be reported of it. Does no I/O.

use mio::net::TcpStream;

use crate::{
    driver::{
        Gone,
        slots::{Flags, Identified},
        tail::Tail,
    },
    id::ConnId,
};

/// What is known of a socket.
pub(super) mod flag {
    use crate::driver::slots::flag::TAKEN;
    pub(in crate::driver) use crate::driver::slots::flag::{GONE_REPORTED, HELD};

    /// There may be something to read.
    pub(in crate::driver) const READABLE: u16 = 1 << TAKEN;
    /// The end of the stream, or an error, lies behind what can be read: a short
    /// read is no reason to stop.
    pub(in crate::driver) const CLOSING: u16 = 2 << TAKEN;
    /// There may be room for the tail.
    pub(in crate::driver) const WRITABLE: u16 = 4 << TAKEN;
    /// The id is on the list of those to be read.
    pub(in crate::driver) const LISTED: u16 = 8 << TAKEN;
    /// The kernel has reported an error.
    pub(in crate::driver) const FAILED: u16 = 16 << TAKEN;
    /// The id is on the list of those that have something else to do.
    pub(in crate::driver) const URGENT: u16 = 32 << TAKEN;
    /// Something was read of it.
    pub(in crate::driver) const WAS_READ: u16 = 64 << TAKEN;
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    /// What a short send left over; never present and empty.
    pub(super) tail: Option<Box<Tail>>,
    pub(super) stream: TcpStream,
    pub(super) flags: Flags,
    /// Why sending is no longer possible.
    pub(super) failure: Option<Gone>,
}

impl Connection {
    pub(super) fn new(id: ConnId, stream: TcpStream) -> Self {
        Self { id, tail: None, stream, flags: Flags::default(), failure: None }
    }

    /// Whether it is to be read: not while it is held.
    pub(super) fn wants_read(&self) -> bool {
        self.flags.any(flag::READABLE) && !self.flags.any(flag::HELD)
    }

    /// Whether its end must not wait until it has been read.
    pub(super) fn has_failed_while_held(&self) -> bool {
        self.flags.any(flag::HELD)
            && !self.flags.any(flag::GONE_REPORTED)
            && (self.failure.is_some() || self.flags.any(flag::FAILED))
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
        if !self.flags.any(flag::GONE_REPORTED) {
            self.flags.set(flag::READABLE | flag::CLOSING);
        }
    }

    /// Nothing can be read any more, which is to be reported as the answer says.
    pub(super) fn end(&mut self, why: Gone) -> Gone {
        let why = self.failure.unwrap_or(why);
        if why != Gone::Eof {
            self.fail(why);
        }
        self.flags.clear(flag::READABLE | flag::CLOSING);
        self.flags.set(flag::GONE_REPORTED);
        why
    }
}

impl Identified for Connection {
    fn id(&self) -> ConnId {
        self.id
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
        assert!(size_of::<Option<Connection>>() <= 24 + extra.next_multiple_of(8));
    }
}
