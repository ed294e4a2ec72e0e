//! What the driver on epoll keeps, and what its kernel's events change of that. Reads
//! and writes no socket.

use std::{collections::VecDeque, io, net::TcpListener, sync::Arc, time::Duration};

use mio::{Interest, Poll, Token};

use super::{
    accept::Acceptor,
    connection::{Connection, flag},
    edge::note,
    outgoing::GATHER_BYTES,
    ready::{ReadyList, TurnBounds},
    settings::EpollSettings,
};
use crate::{driver::slots::Slots, id::ConnId};

// No connection has these: shard 255 is never given to one.
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// A [`Driver`](crate::driver::Driver) on epoll. Its sockets are non-blocking
/// [`TcpStream`](mio::net::TcpStream)s of `mio`.
#[derive(Debug)]
pub struct EpollDriver {
    pub(super) poll: Poll,
    pub(super) events: mio::Events,
    pub(super) waker: Arc<mio::Waker>,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) table: Slots<Connection>,
    pub(super) ready: ReadyList,
    /// Ids that have something to do that no hold delays, each at most once (those
    /// that have left aside).
    pub(super) urgent: VecDeque<ConnId>,
    /// Counts up to [`STEPS_PER_ACCEPT`](crate::driver::STEPS_PER_ACCEPT).
    pub(super) steps: u32,
    /// How many connections are held.
    pub(super) holds: usize,
    /// No data is lent.
    pub(super) held: bool,
    pub(super) received: Box<[u8]>,
    pub(super) gather: Vec<u8>,
}

impl EpollDriver {
    /// A driver that accepts from `listener`, or from nowhere.
    ///
    /// Accepted sockets inherit the listener's options, `TCP_NODELAY` among them:
    /// see [`listen`](crate::driver::listen::listen).
    ///
    /// # Errors
    /// Those of the kernel: no descriptor left, no epoll.
    pub fn new(listener: Option<TcpListener>, settings: &EpollSettings) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let acceptor = match listener {
            None => None,
            Some(listener) => {
                listener.set_nonblocking(true)?;
                let mut listener = mio::net::TcpListener::from_std(listener);
                poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
                Some(Acceptor::new(listener, settings.accept_batch.max(1)))
            }
        };
        let bounds = TurnBounds {
            ids: settings.events_per_wait.max(1),
            rounds: settings.reads_per_event.max(1),
            bytes: settings.received_bytes_per_turn.max(1),
        };
        Ok(Self {
            poll,
            events: mio::Events::with_capacity(bounds.ids),
            waker,
            acceptor,
            table: Slots::default(),
            ready: ReadyList::new(bounds),
            urgent: VecDeque::new(),
            steps: 0,
            holds: 0,
            held: false,
            received: vec![0; settings.receive_buffer_bytes.max(1)].into_boxed_slice(),
            gather: Vec::with_capacity(GATHER_BYTES),
        })
    }

    /// The wait that `asked` may become: none while something is left to do.
    pub(in crate::driver) fn allowed_wait(&self, asked: Option<Duration>) -> Option<Duration> {
        if !self.urgent.is_empty() || (!self.ready.is_empty() && !self.held) {
            return Some(Duration::ZERO);
        }
        match self.acceptor.as_ref().and_then(Acceptor::longest_wait) {
            Some(longest) => Some(asked.map_or(longest, |asked| asked.min(longest))),
            None => asked,
        }
    }

    /// Remembers what the kernel has just reported.
    pub(super) fn note_events(&mut self) {
        for event in &self.events {
            match event.token() {
                WAKER => {}
                LISTENER => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.on_ready();
                    }
                }
                Token(raw) => {
                    let id = ConnId::from_u64(raw as u64);
                    let Some(connection) = self.table.find(id) else { continue };
                    note(connection, event);
                    list(connection, &mut self.ready, &mut self.urgent);
                }
            }
        }
    }

    /// Takes `id` out of the table.
    pub(super) fn forget(&mut self, id: ConnId) -> Option<Connection> {
        let connection = self.table.remove(id)?;
        self.holds -= usize::from(connection.flags.any(flag::HELD));
        Some(connection)
    }
}

/// Puts `connection` on the lists on which it has something to do and is not yet.
pub(super) fn list(
    connection: &mut Connection,
    ready: &mut ReadyList,
    urgent: &mut VecDeque<ConnId>,
) {
    let is_urgent = connection.flags.any(flag::WRITABLE) || connection.has_failed_while_held();
    if is_urgent && !connection.flags.any(flag::URGENT) {
        connection.flags.set(flag::URGENT);
        urgent.push_back(connection.id);
    }
    if connection.wants_read() && !connection.flags.any(flag::LISTED) {
        connection.flags.set(flag::LISTED);
        ready.add(connection.id, !connection.flags.any(flag::WAS_READ));
    }
}
