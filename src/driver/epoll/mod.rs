//! The driver on epoll, by way of `mio`: edge-triggered, each socket registered
//! once, one receive buffer for all. Knows readiness and hides it.
//!
//! An edge is told only once, so whatever it announced must be remembered until
//! it is used up: an id is on the ready list from its edge until a read or a
//! write has shown that nothing is left, and while the list holds anything no
//! wait sleeps.

mod accept;
mod edge;
mod outgoing;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    net::{Shutdown, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use mio::{Interest, Poll, Token, net::TcpStream};

use self::{
    accept::Acceptor,
    edge::{Outcome, flush, list, note, read},
    outgoing::{GATHER_BYTES, Wire},
    table::{Marks, Table, Tenant},
};
use super::{Detached, Driver, Event, Gone, Waker};
use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

// No connection has these: shard 255 is never given to one.
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// One accept is tried before this many events of connections, and all that are
/// due after the last.
const STEPS_PER_ACCEPT: u32 = 16;

/// Bounds of one [`EpollDriver`].
#[derive(Clone, Debug)]
pub struct EpollSettings {
    /// Size of the one receive buffer, in bytes; at least 1. Default 256 KiB:
    /// large enough for many frames in one read, small enough for the core's own
    /// cache.
    pub receive_buffer_bytes: usize,
    /// The most sockets served, and the most events asked of the kernel, in one
    /// turn; at least 1. Default 1024.
    pub events_per_wait: usize,
    /// The most accepts in one turn; at least 1. Default 128.
    pub accept_batch: usize,
    /// The most reads of one socket before all others have had theirs; at least
    /// 1. Default 4.
    pub reads_per_event: u32,
}

impl Default for EpollSettings {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: 256 << 10,
            events_per_wait: 1024,
            accept_batch: 128,
            reads_per_event: 4,
        }
    }
}

/// A [`Driver`] on epoll. Its sockets are non-blocking [`TcpStream`]s of `mio`.
#[derive(Debug)]
pub struct EpollDriver {
    poll: Poll,
    events: mio::Events,
    waker: Arc<mio::Waker>,
    acceptor: Option<Acceptor>,
    table: Table,
    /// Ids that may have something to report, each at most once (stale ones
    /// aside).
    ready: VecDeque<ConnId>,
    /// The id being read, and how many reads it has left.
    current: Option<(ConnId, u32)>,
    /// Ids that this turn may still serve.
    ids_left: usize,
    ids_per_turn: usize,
    reads_per_event: u32,
    /// Counts up to [`STEPS_PER_ACCEPT`].
    steps: u32,
    /// No data is lent.
    held: bool,
    received: Box<[u8]>,
    gather: Vec<u8>,
}

/// An [`Event`] before it borrows the receive buffer.
enum Step {
    Accepted(TcpStream, SocketAddr),
    Data(ConnId, usize),
    Sent(ConnId),
    Gone(ConnId, Gone),
}

impl EpollDriver {
    /// A driver that accepts from `listener`, or from nowhere.
    ///
    /// Accepted sockets inherit the listener's options, `TCP_NODELAY` among them:
    /// see [`listen`](super::listen::listen).
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
        let ids_per_turn = settings.events_per_wait.max(1);
        Ok(Self {
            poll,
            events: mio::Events::with_capacity(ids_per_turn),
            waker,
            acceptor,
            table: Table::default(),
            ready: VecDeque::new(),
            current: None,
            ids_left: 0,
            ids_per_turn,
            reads_per_event: settings.reads_per_event.max(1),
            steps: 0,
            held: false,
            received: vec![0; settings.receive_buffer_bytes.max(1)].into_boxed_slice(),
            gather: Vec::with_capacity(GATHER_BYTES),
        })
    }

    /// The wait that `asked` may become: none while something is left to do.
    pub(super) fn allowed_wait(&self, asked: Option<Duration>) -> Option<Duration> {
        if self.current.is_some() || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        match self.acceptor.as_ref().and_then(Acceptor::longest_wait) {
            Some(longest) => Some(asked.map_or(longest, |asked| asked.min(longest))),
            None => asked,
        }
    }

    /// Remembers what the kernel has just reported.
    fn note_events(&mut self) {
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
                    let Some(tenant) = self.table.tenant(id) else { continue };
                    if note(tenant, event) {
                        self.ready.push_back(id);
                    }
                }
            }
        }
    }

    fn step(&mut self) -> Option<Step> {
        // Busy connections must not keep new ones waiting for ever.
        self.steps = (self.steps + 1) % STEPS_PER_ACCEPT;
        if self.steps == 0
            && let Some((stream, peer)) = self.acceptor.as_mut().and_then(Acceptor::accept)
        {
            return Some(Step::Accepted(stream, peer));
        }
        while let Some((id, reads_left)) = self.current.take().or_else(|| self.next_ready()) {
            if let Some(step) = self.serve(id, reads_left) {
                return Some(step);
            }
        }
        let (stream, peer) = self.acceptor.as_mut()?.accept()?;
        Some(Step::Accepted(stream, peer))
    }

    /// The next id that this turn may serve, with all its reads.
    fn next_ready(&mut self) -> Option<(ConnId, u32)> {
        self.ids_left = self.ids_left.checked_sub(1)?;
        Some((self.ready.pop_front()?, self.reads_per_event))
    }

    /// The next event of `id`. Leaves the id where it is to be found again:
    /// current, at the end of the list, or nowhere if it is used up.
    fn serve(&mut self, id: ConnId, reads_left: u32) -> Option<Step> {
        let tenant = self.table.tenant(id)?;
        if tenant.marks.take(Marks::WRITABLE) && flush(tenant) {
            self.current = Some((id, reads_left));
            return Some(Step::Sent(id));
        }
        if !tenant.marks.any(Marks::READABLE) {
            tenant.marks.clear(Marks::LISTED);
            return None;
        }
        if reads_left == 0 || self.held {
            self.ready.push_back(id);
            return None;
        }
        match read(tenant, &mut self.received) {
            Outcome::Nothing => {
                tenant.marks.clear(Marks::READABLE | Marks::CLOSING | Marks::LISTED);
                None
            }
            Outcome::Bytes(len) => {
                // A short read has emptied the socket; what comes later makes a
                // new edge. Only an end that was already announced makes none.
                if len < self.received.len() && !tenant.marks.any(Marks::CLOSING) {
                    tenant.marks.clear(Marks::READABLE | Marks::LISTED);
                } else {
                    self.current = Some((id, reads_left - 1));
                }
                Some(Step::Data(id, len))
            }
            Outcome::End(why) => {
                let why = tenant.end(why);
                tenant.marks.clear(Marks::LISTED);
                Some(Step::Gone(id, why))
            }
        }
    }
}

impl Driver for EpollDriver {
    type Socket = TcpStream;

    fn attach(&mut self, id: ConnId, mut socket: TcpStream) -> io::Result<()> {
        debug_assert!(id.shard() != u8::MAX, "shard 255 is reserved");
        let token = Token(id.to_u64() as usize);
        self.poll.registry().register(
            &mut socket,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.table.insert(Tenant::new(id, socket));
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = self.allowed_wait(timeout);
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => self.note_events(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // An id that is put back during the turn has its next reads in the next.
        self.ids_left = self.ids_per_turn.min(self.ready.len());
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.on_turn();
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event<'_, TcpStream>> {
        Some(match self.step()? {
            Step::Accepted(socket, peer) => Event::Accepted { socket, peer },
            Step::Data(id, len) => Event::Data(id, &mut self.received[..len]),
            Step::Sent(id) => Event::Sent(id),
            Step::Gone(id, why) => Event::Gone(id, why),
        })
    }

    fn hold_data(&mut self, hold: bool) {
        self.held = hold;
    }

    fn hold(&mut self, _id: ConnId, _hold: bool) {}

    fn unsent_bytes(&mut self, _id: ConnId) -> usize {
        0
    }

    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        let Some(tenant) = self.table.tenant(id) else { return Sending::Done };
        debug_assert!(tenant.tail.is_none(), "a batch of {id:?} is still pending");
        if tenant.failure.is_some() {
            return Sending::Done;
        }
        if let Some(tail) = &mut tenant.tail {
            tail.keep(batch, 0);
            return Sending::Pending;
        }
        match outgoing::send(&mut Wire(&tenant.stream), batch, &mut self.gather) {
            Ok(None) => Sending::Done,
            Ok(tail) => {
                tenant.tail = tail;
                Sending::Pending
            }
            Err(error) => {
                tenant.fail(Gone::from(&error));
                if list(tenant) {
                    self.ready.push_back(id);
                }
                Sending::Done
            }
        }
    }

    fn shutdown(&mut self, id: ConnId) {
        let Some(tenant) = self.table.tenant(id) else { return };
        debug_assert!(tenant.tail.is_none(), "a batch of {id:?} is still pending");
        // It fails only if the connection is gone, which is reported by itself.
        let _ = tenant.stream.shutdown(Shutdown::Write);
    }

    fn close(&mut self, id: ConnId) {
        // Closing the descriptor also ends its registration: it has no duplicate.
        drop(self.table.remove(id));
    }

    fn detach(&mut self, id: ConnId) -> Option<Detached<TcpStream>> {
        let mut socket = self.table.remove(id)?.stream;
        // It fails only if the socket is not registered, which is what is wanted.
        let _ = self.poll.registry().deregister(&mut socket);
        Some(Detached { socket, unread: Vec::new() })
    }

    fn has_unread(&mut self, id: ConnId) -> bool {
        let Some(tenant) = self.table.tenant(id) else { return false };
        rustix::io::ioctl_fionread(&tenant.stream).is_ok_and(|bytes| bytes > 0)
    }

    fn has_sent_all(&mut self) -> bool {
        true
    }

    fn stop_accepting(&mut self) {
        self.acceptor = None;
    }

    fn waker(&self) -> Waker {
        let waker = Arc::clone(&self.waker);
        Waker::new(move || {
            // The eventfd cannot fail while the driver or this handle lives.
            let _ = waker.wake();
        })
    }
}
