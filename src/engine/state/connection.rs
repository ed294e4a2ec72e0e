//! One connection as its shard sees it: what it costs and what state it is in.
//! Everything that a quiet connection does not need is behind a pointer that is
//! null until then.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::Value;
use smallvec::SmallVec;

use super::{hold_queue::Parked, send_queue::SendQueue};
use crate::{
    dialect::Dialect,
    engine::{
        process::admission::Admit,
        types::{disconnect::Disconnect, slow_policy::SlowPolicy, time::Tick},
    },
    proto::session::Session,
};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The request head has not arrived whole.
    Handshake,
    /// Upgraded; messages flow both ways.
    Open,
    /// A Close frame is on its way or sent; waiting for the peer's.
    Closing,
    /// Nothing that the peer sends counts any more: once everything has left,
    /// the sending side is closed, and what arrives is thrown away until the
    /// peer closes too or the deadline comes. This way the last bytes sent are
    /// not lost to a reset.
    Lingering,
    /// Both sides are done; closed as soon as everything has left.
    Finished,
}

/// One room, in one form of frames, that a connection is a member of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    /// The group (room and variant) in the shard's table.
    pub(crate) group: u32,
    /// Its place among the group's members.
    pub(crate) position: u32,
}

/// No entry in the turn's list of direct sends.
pub(crate) const NONE: u32 = u32::MAX;

/// A connection in a shard's arena.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) generation: u32,
    pub(crate) state: State,
    pub(crate) dialect: Dialect,
    pub(crate) policy: SlowPolicy,
    pub(crate) admitted: Admit,
    pub(crate) flags: Flags,
    pub(crate) session: Session,
    /// First and last of this turn's direct sends, or [`NONE`].
    pub(crate) direct_head: u32,
    pub(crate) direct_tail: u32,
    /// What it could not take yet, while there is something.
    pub(crate) send_queue: Option<Box<SendQueue>>,
    /// Everyone, its user and two rooms fit without another allocation.
    pub(crate) memberships: SmallVec<[Membership; 3]>,
    pub(crate) peer: Peer,
    /// When something last came from the peer.
    pub(crate) last_received: Tick,
    /// The tick of the one timer entry that counts.
    pub(crate) timer: Tick,
    /// When the state must have changed (handshake, close). While it is open: when
    /// the ping that is out was sent.
    pub(crate) deadline: Tick,
    /// Milliseconds of Unix time at the accept.
    pub(crate) accepted_ms: u64,
    pub(crate) extra: Option<Box<Extra>>,
}

/// One-bit facts of a connection.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
pub(crate) struct Flags {
    /// It is on the list of connections to look at in the flush.
    pub(crate) ready: bool,
    /// Some entry of a log excepts it since its last flush.
    pub(crate) excepted: bool,
    /// `timer` is the tick of an entry in the wheel.
    pub(crate) timer_set: bool,
    /// The peer's Close frame, or an error, has come: what follows is not read.
    pub(crate) read_closed: bool,
    /// The peer closed its side; it may still be reading.
    pub(crate) half_closed: bool,
    /// A ping is out since `last_received`.
    pub(crate) pinged: bool,
    /// The connect hook ran, so the disconnect hook must.
    pub(crate) connect_hook_ran: bool,
    /// Its Close frame is queued: no data may follow.
    pub(crate) close_queued: bool,
    /// The deadline for the peer to close is set.
    pub(crate) close_deadline_set: bool,
    /// The sending side was closed.
    pub(crate) write_closed: bool,
    /// Nothing more of it is looked at for now; see [`HoldQueue`](super::hold_queue::HoldQueue).
    pub(crate) held: bool,
    /// Its driver has been told not to read it.
    pub(crate) paused: bool,
}

/// What only some connections have.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The part of the request head that has arrived.
    pub(crate) head: Vec<u8>,
    /// The user on whose behalf it acts.
    pub(crate) user: Option<Box<str>>,
    /// What the embedding program wants to remember.
    pub(crate) metadata: BTreeMap<Box<str>, Value>,
    /// Why it is being closed.
    pub(crate) reason: Option<Disconnect>,
    /// While it is held: why, and what was read of it.
    pub(crate) parked: Option<Box<Parked>>,
}

impl Connection {
    pub(crate) fn new(
        generation: u32,
        peer: SocketAddr,
        admitted: Admit,
        dialect: Dialect,
        policy: SlowPolicy,
    ) -> Self {
        Self {
            generation,
            state: State::Handshake,
            dialect,
            policy,
            admitted,
            flags: Flags::default(),
            session: Session::new(),
            direct_head: NONE,
            direct_tail: NONE,
            send_queue: None,
            memberships: SmallVec::new(),
            peer: Peer::new(peer),
            last_received: 0,
            timer: 0,
            deadline: 0,
            accepted_ms: 0,
            extra: None,
        }
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.extra.as_ref()?.user.as_deref()
    }

    /// Whether a batch is with the driver, so that nothing may be sent now.
    pub(crate) fn is_blocked(&self) -> bool {
        self.send_queue.as_ref().is_some_and(|send_queue| send_queue.in_flight)
    }

    /// What it could not take yet, made if there is nothing.
    pub(crate) fn send_queue(&mut self) -> &mut SendQueue {
        self.send_queue.get_or_insert_default()
    }

    /// Whether the protocol layer can still be asked about what arrives.
    pub(crate) fn takes_messages(&self) -> bool {
        matches!(self.state, State::Open | State::Closing) && !self.flags.read_closed
    }

    pub(crate) fn reason(&self) -> Disconnect {
        let reason = self.extra.as_ref().and_then(|extra| extra.reason.clone());
        reason.unwrap_or(Disconnect::Lost)
    }
}

/// A peer's address in 20 bytes instead of 32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    ip: [u8; 16],
    port: u16,
    v4: bool,
}

impl Peer {
    fn new(address: SocketAddr) -> Self {
        let (ip, v4) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped().octets(), true),
            SocketAddr::V6(v6) => (v6.ip().octets(), false),
        };
        Self { ip, port: address.port(), v4 }
    }

    pub(crate) fn address(self) -> SocketAddr {
        let ip = std::net::Ipv6Addr::from(self.ip);
        match (self.v4, ip.to_ipv4_mapped()) {
            (true, Some(v4)) => SocketAddr::from((v4, self.port)),
            _ => SocketAddr::from((ip, self.port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection>() <= 144, "{}", size_of::<Connection>());
    }

    #[test]
    fn an_address_comes_back_as_it_went_in() {
        for text in ["127.0.0.1:80", "[::1]:443", "[::ffff:1.2.3.4]:5"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Peer::new(address).address(), address);
        }
    }
}
