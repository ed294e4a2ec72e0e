//! What the driver on `io_uring` keeps. Does nothing by itself.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::event::{EventfdFlags, eventfd};

use super::{
    accepting::Acceptor,
    arrivals::{Arrivals, Tag},
    buffers::Chunk,
    connection::{Connection, Table},
    kept::Kept,
    ring::Ring,
    settings::{UringSettings, open_ring},
};
use crate::{driver::Gone, id::ConnId};

/// An [`Event`](crate::driver::Event) before it borrows a receive buffer.
pub(super) enum Step {
    Accepted(TcpStream, SocketAddr),
    Data(ConnId, Chunk),
    Kept(ConnId, Vec<u8>),
    Sent(ConnId),
    Gone(ConnId, Gone),
}

/// A [`Driver`](crate::driver::Driver) on `io_uring`. Its sockets are blocking [`TcpStream`]s, for the ring
/// waits in their place.
///
/// Stays on the thread that made it.
pub struct UringDriver {
    pub(super) ring: Ring,
    pub(super) eventfd: Arc<OwnedFd>,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) table: Table,
    /// Connections whose receive found no buffer before it had brought anything.
    pub(super) starved: VecDeque<ConnId>,
    /// All others whose receive is to be armed.
    pub(super) rearm: VecDeque<ConnId>,
    /// Closed connections that have something coming.
    pub(super) lingering: HashMap<Tag, Connection>,
    pub(super) sent: VecDeque<ConnId>,
    /// Connections that failed while they were held.
    pub(super) failed: VecDeque<ConnId>,
    /// What has arrived of connections that had not been served when their place in
    /// line came.
    pub(super) newcomers: Arrivals,
    /// How many of those may still be served in this turn.
    pub(super) newcomers_left: u32,
    /// What holds keep back.
    pub(super) kept: HashMap<Tag, Kept>,
    /// Connections whose hold has ended and that keep something.
    pub(super) released: VecDeque<ConnId>,
    /// What the last `next` lent, and of what a hold had kept back.
    pub(super) lent: Option<Chunk>,
    pub(super) lent_portion: Vec<u8>,
    pub(super) held: bool,
    /// Counts up to [`STEPS_PER_ACCEPT`](crate::driver::STEPS_PER_ACCEPT).
    pub(super) steps: u32,
}

impl UringDriver {
    /// A driver that accepts from `listener`, or from nowhere. To be made by the
    /// thread that is to use it.
    ///
    /// Accepted sockets inherit the listener's options, `TCP_NODELAY` among them:
    /// see [`listen`](crate::driver::listen::listen).
    ///
    /// # Errors
    /// Those of the kernel: `io_uring` is forbidden (`io_uring_disabled`, a seccomp
    /// filter), too old (before Linux 6.1), or there is too little memory or no
    /// descriptor left.
    pub fn new(listener: Option<TcpListener>, settings: &UringSettings) -> io::Result<Self> {
        let ring = open_ring(settings)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let batch = settings.accept_batch.max(1);
        let acceptor = listener.map(|listener| Acceptor::new(listener, batch)).transpose()?;
        Ok(Self {
            ring,
            eventfd: Arc::new(eventfd),
            acceptor,
            table: Table::default(),
            starved: VecDeque::new(),
            rearm: VecDeque::new(),
            lingering: HashMap::new(),
            sent: VecDeque::new(),
            failed: VecDeque::new(),
            newcomers: Arrivals::default(),
            newcomers_left: 0,
            kept: HashMap::new(),
            released: VecDeque::new(),
            lent: None,
            lent_portion: Vec::new(),
            held: false,
            steps: 0,
        })
    }
}

impl fmt::Debug for UringDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringDriver").field("ring", &self.ring).finish_non_exhaustive()
    }
}
