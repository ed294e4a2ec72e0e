//! The driver on epoll, by way of `mio`: edge-triggered, each socket registered
//! once, one receive buffer for all. Knows readiness and hides it.
//!
//! An edge is told only once, so whatever it announced must be remembered until
//! it is used up: an id is listed from its edge until a read or a write has shown
//! that nothing is left, and while anything is listed no wait sleeps. A held
//! connection is not listed; its mark remembers the edge until the hold ends.

mod accept;
mod edge;
mod outgoing;
mod ready;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    net::{Shutdown, SocketAddr, TcpListener},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use mio::{Interest, Poll, Token, net::TcpStream};

use self::{
    accept::Acceptor,
    edge::{Outcome, flush, note, read},
    outgoing::{GATHER_BYTES, Wire},
    ready::{ReadyList, TurnBounds},
    table::{Marks, Table, Tenant},
};
use super::{Detached, Driver, Event, Gone, STEPS_PER_ACCEPT, Waker, unsent::bytes_in_socket};
use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

// No connection has these: shard 255 is never given to one.
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// What may be read of held connections in vain, all of them together: 8 MiB, 32
/// receive buffers.
const UNUSED_BYTES: usize = if cfg!(test) { 256 << 10 } else { 8 << 20 };

/// The most of one read is never less.
const LEAST_READ_BYTES: usize = 4096;

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
    /// The most reads of one socket in one turn, each of which comes after one of
    /// every other that has something; at least 1. Default 4.
    pub reads_per_event: u32,
    /// The bytes after which a turn reads no more; at least 1. Default 1 MiB: a turn
    /// stays short whoever sends how much, and every sender of 16 KiB messages among
    /// fifty still has its share in it.
    pub received_bytes_per_turn: usize,
}

impl Default for EpollSettings {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: 256 << 10,
            events_per_wait: 1024,
            accept_batch: 128,
            reads_per_event: 4,
            received_bytes_per_turn: 1 << 20,
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
    ready: ReadyList,
    /// Ids that have something to do that no hold delays, each at most once (those
    /// that have left aside).
    urgent: VecDeque<ConnId>,
    /// Counts up to [`STEPS_PER_ACCEPT`].
    steps: u32,
    /// How many connections are held.
    holds: usize,
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
            table: Table::default(),
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
    pub(super) fn allowed_wait(&self, asked: Option<Duration>) -> Option<Duration> {
        if !self.urgent.is_empty() || (!self.ready.is_empty() && !self.held) {
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
                    note(tenant, event);
                    list(tenant, &mut self.ready, &mut self.urgent);
                }
            }
        }
    }

    fn step(&mut self) -> Option<Step> {
        // Busy connections must not keep new ones waiting, nor these the others.
        self.steps = (self.steps + 1) % STEPS_PER_ACCEPT;
        if self.steps == 1
            && let Some((stream, peer)) = self.acceptor.as_mut().and_then(Acceptor::accept)
        {
            return Some(Step::Accepted(stream, peer));
        }
        while let Some(id) = self.urgent.pop_front() {
            if let Some(step) = self.serve_urgent(id) {
                return Some(step);
            }
        }
        while !self.held
            && let Some(id) = self.ready.next()
        {
            if let Some(step) = self.serve(id) {
                return Some(step);
            }
        }
        let (stream, peer) = self.acceptor.as_mut()?.accept()?;
        Some(Step::Accepted(stream, peer))
    }

    /// The next event of `id` that has nothing to do with reading.
    fn serve_urgent(&mut self, id: ConnId) -> Option<Step> {
        let tenant = self.table.tenant(id)?;
        tenant.marks.clear(Marks::URGENT);
        let step = if tenant.marks.take(Marks::WRITABLE) && flush(tenant) {
            Some(Step::Sent(id))
        } else if tenant.has_failed_while_held() {
            let why = tenant.failure.unwrap_or_else(|| tenant.error());
            Some(Step::Gone(id, tenant.end(why)))
        } else {
            None
        };
        // A failure may follow, or what is to be read of it.
        list(tenant, &mut self.ready, &mut self.urgent);
        step
    }

    /// Takes `id` out of the table.
    fn forget(&mut self, id: ConnId) -> Option<Tenant> {
        let tenant = self.table.remove(id)?;
        self.holds -= usize::from(tenant.marks.any(Marks::HELD));
        Some(tenant)
    }

    /// The most bytes of one read. Whoever is held may leave as much unused: all of
    /// them together about [`UNUSED_BYTES`].
    fn most_read(&self) -> usize {
        let each = (UNUSED_BYTES / self.holds.max(1)).max(LEAST_READ_BYTES);
        self.received.len().min(each)
    }

    /// Reads `id` once. It is listed again if it may have more.
    fn serve(&mut self, id: ConnId) -> Option<Step> {
        let most = self.most_read();
        let tenant = self.table.tenant(id)?;
        if !tenant.wants_read() {
            tenant.marks.clear(Marks::LISTED);
            return None;
        }
        match read(tenant, &mut self.received[..most]) {
            Outcome::Nothing => {
                tenant.marks.clear(Marks::READABLE | Marks::CLOSING | Marks::LISTED);
                None
            }
            Outcome::Bytes(len) => {
                tenant.is_new = false;
                self.ready.count(len);
                // A short read has emptied the socket; what comes later makes a
                // new edge. Only an end that was already announced makes none.
                if len < most && !tenant.marks.any(Marks::CLOSING) {
                    tenant.marks.clear(Marks::READABLE | Marks::LISTED);
                } else {
                    self.ready.put_back(id);
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

/// Puts `tenant` on the lists on which it has something to do and is not yet.
fn list(tenant: &mut Tenant, ready: &mut ReadyList, urgent: &mut VecDeque<ConnId>) {
    let is_urgent = tenant.marks.any(Marks::WRITABLE) || tenant.has_failed_while_held();
    if is_urgent && !tenant.marks.any(Marks::URGENT) {
        tenant.marks.set(Marks::URGENT);
        urgent.push_back(tenant.id);
    }
    if tenant.wants_read() && !tenant.marks.any(Marks::LISTED) {
        tenant.marks.set(Marks::LISTED);
        ready.add(tenant.id, tenant.is_new);
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
        self.ready.begin_turn();
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

    fn hold(&mut self, id: ConnId, hold: bool) {
        let Some(tenant) = self.table.tenant(id) else { return };
        let was_held = tenant.marks.take(Marks::HELD);
        if hold {
            tenant.marks.set(Marks::HELD);
        }
        self.holds = self.holds + usize::from(hold) - usize::from(was_held);
        list(tenant, &mut self.ready, &mut self.urgent);
    }

    fn unsent_bytes(&mut self, id: ConnId) -> usize {
        let Some(tenant) = self.table.tenant(id) else { return 0 };
        let with_driver = tenant.tail.as_ref().map_or(0, |tail| tail.len());
        with_driver + bytes_in_socket(tenant.stream.as_fd())
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
                list(tenant, &mut self.ready, &mut self.urgent);
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
        drop(self.forget(id));
    }

    fn detach(&mut self, id: ConnId) -> Option<Detached<TcpStream>> {
        let mut socket = self.forget(id)?.stream;
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
