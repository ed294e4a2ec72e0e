//! The driver on `io_uring`: multishot accept and receive, buffers that the kernel
//! fills and the engine unmasks in place, and all sends of a turn submitted by the
//! call that waits for the next. Knows completions and hides them.
//!
//! A turn first gathers everything that has arrived, then lends it, and what the
//! turn sends goes out when the next wait begins:
//!
//! ```text
//! wait: submit ─► sleep ─► gather ─► gather …   next, next, next …   send, send …
//! ```
//!
//! Backpressure needs no switch. Data that is held back stays in the receive
//! buffers; when they are used up the kernel ends the receives that find none, and
//! those are armed again, whoever has had nothing first, when buffers come back.
//!
//! A send that the socket refuses in part is found out only at the submission,
//! after [`Sending::Done`] was answered. The rest is then sent by an operation that
//! lasts until all has left; what is asked of the connection meanwhile waits for
//! it, and a connection that is closed meanwhile lives on until it has left, for
//! five seconds at the most.

mod buffers;
mod load;
mod ring;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

use self::{
    buffers::Chunk,
    ring::{Completion, Received, Ring, RingSettings, Tag},
    table::{Marks, Table, Tenant, Unsent},
};
use super::{
    Detached, Driver, Event, Gone, Waker,
    scarcity::{RETRY_AFTER, Scarcity},
};
use crate::{
    batch::{Sending, Slice},
    driver::tail::Tail,
    id::ConnId,
};

/// How often a turn looks for more before it lends what it has. The kernel runs
/// about 20 completions each time.
const GATHER_ROUNDS: usize = 64;

/// One accept is tried before this many events of connections, and all that are
/// due after the last.
const STEPS_PER_ACCEPT: u32 = 16;

/// The most closed connections that may still have something coming.
const FAREWELLS: usize = 4096;

/// Accepted sockets that may wait to be handed out, in batches: the rest waits in
/// the kernel, where it costs no descriptor.
const ACCEPTED_BATCHES: usize = 4;

/// The most arrivals that are gathered: a peer that sends byte by byte makes one of
/// each.
const GATHERED: usize = 1 << 16;

/// How often a detaching connection's last completion is waited for.
const DETACH_ROUNDS: usize = 100;

/// Bounds of one [`UringDriver`].
#[derive(Clone, Debug)]
pub struct UringSettings {
    /// Operations in one submission; a power of two. Default 1024.
    pub submission_entries: u32,
    /// Receive buffers; a power of two, at most 32,768. Default 16.
    pub receive_buffers: u16,
    /// Size of each, in bytes. Default 256 KiB. Where the kernel cannot fill a
    /// buffer by several receives (before Linux 6.12) there are 16 times as many of
    /// a sixteenth of the size.
    pub receive_buffer_bytes: u32,
    /// The most accepted sockets handed out in one turn; at least 1. Default 128.
    pub accept_batch: usize,
    /// Whether sends that succeed post no completion. Default true.
    pub silent_sends: bool,
    /// Whether buffers are to be filled by several receives if the kernel can.
    /// Default true.
    pub incremental_buffers: bool,
}

impl Default for UringSettings {
    fn default() -> Self {
        Self {
            submission_entries: 1024,
            receive_buffers: 16,
            receive_buffer_bytes: 256 << 10,
            accept_batch: 128,
            silent_sends: true,
            incremental_buffers: true,
        }
    }
}

/// A [`Driver`] on `io_uring`. Its sockets are blocking [`TcpStream`]s, for the ring
/// waits in their place.
///
/// Stays on the thread that made it.
pub struct UringDriver {
    ring: Ring,
    eventfd: Arc<OwnedFd>,
    listener: Option<TcpListener>,
    accepting: Accepting,
    scarcity: Scarcity,
    accepted: VecDeque<TcpStream>,
    accept_batch: usize,
    /// Sockets that this turn may still hand out.
    accepts_left: usize,
    table: Table,
    /// Connections whose receive found no buffer, those first that had nothing.
    hungry: VecDeque<ConnId>,
    fed: VecDeque<ConnId>,
    /// Closed connections that have something coming.
    leaving: HashMap<Tag, Tenant>,
    sent: VecDeque<ConnId>,
    /// What the last `next` lent.
    lent: Option<Chunk>,
    held: bool,
    /// Counts up to [`STEPS_PER_ACCEPT`].
    steps: u32,
}

/// How the listener's accept stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// It is to be armed by the next wait.
    Idle,
    Armed,
    /// More than enough have been accepted: it is being ended.
    Ending,
    /// To be armed when those have been handed out.
    Full,
    /// It failed for want of a resource: to be armed by the wait after the next.
    Paused,
}

/// An [`Event`] before it borrows a receive buffer.
enum Step {
    Accepted(TcpStream, SocketAddr),
    Data(ConnId, Chunk),
    Sent(ConnId),
    Gone(ConnId, Gone),
}

impl UringDriver {
    /// A driver that accepts from `listener`, or from nowhere. To be made by the
    /// thread that is to use it.
    ///
    /// Accepted sockets inherit the listener's options, `TCP_NODELAY` among them:
    /// see [`listen`](super::listen::listen).
    ///
    /// # Errors
    /// Those of the kernel: `io_uring` is forbidden (`io_uring_disabled`, a seccomp
    /// filter), too old (before Linux 6.1), or there is too little memory or no
    /// descriptor left.
    pub fn new(listener: Option<TcpListener>, settings: &UringSettings) -> io::Result<Self> {
        let ring = open_ring(settings)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(false)?;
        }
        Ok(Self {
            ring,
            eventfd: Arc::new(eventfd),
            listener,
            accepting: Accepting::Idle,
            scarcity: Scarcity::default(),
            accepted: VecDeque::new(),
            accept_batch: settings.accept_batch.max(1),
            accepts_left: 0,
            table: Table::default(),
            hungry: VecDeque::new(),
            fed: VecDeque::new(),
            leaving: HashMap::new(),
            sent: VecDeque::new(),
            lent: None,
            held: false,
            steps: 0,
        })
    }

    /// Whether an event could be taken without a wait.
    fn has_events(&self) -> bool {
        !self.sent.is_empty()
            || !self.accepted.is_empty()
            || (self.ring.received() > 0 && !self.held)
    }

    /// The wait that `asked` may become: none while something is left to do.
    fn allowed_wait(&self, asked: Option<Duration>) -> Option<Duration> {
        if self.has_events() {
            return Some(Duration::ZERO);
        }
        if self.accepting == Accepting::Paused {
            return Some(asked.map_or(RETRY_AFTER, |asked| asked.min(RETRY_AFTER)));
        }
        asked
    }

    /// Arms what is not armed and should be.
    fn arm(&mut self) {
        if self.accepting == Accepting::Full && self.accepted.len() < self.accept_batch {
            self.accepting = Accepting::Idle;
        }
        if let Some(listener) = &self.listener
            && self.accepting == Accepting::Idle
        {
            self.ring.accept(listener);
            self.accepting = Accepting::Armed;
        }
        self.ring.watch(self.eventfd.as_fd());
        if !self.ring.has_buffers() {
            return;
        }
        for id in self.hungry.drain(..).chain(self.fed.drain(..)) {
            let Some(tenant) = self.table.tenant(id) else { continue };
            tenant.marks.clear(Marks::FED);
            tenant.marks.set(Marks::ARMED);
            self.ring.receive(Tag::of(id), &tenant.socket);
        }
    }

    /// Submits what is queued, without waiting, and looks at what came of it.
    fn submit(&mut self) {
        self.ring.submit();
        self.settle();
    }

    /// Acts on what came of operations; what was received waits to be lent.
    fn settle(&mut self) {
        while let Some(completion) = self.ring.next_completion() {
            match completion {
                Completion::Accepted(socket) => {
                    self.scarcity.end();
                    if self.listener.is_some() {
                        self.accepted.push_back(socket);
                    }
                    if self.accepting == Accepting::Armed
                        && self.accepted.len() >= ACCEPTED_BATCHES * self.accept_batch
                    {
                        self.ring.cancel_accept();
                        self.accepting = Accepting::Ending;
                    }
                }
                Completion::AcceptEnded(error) => self.on_accept_ended(&error),
                Completion::Refused(tag, Ok(tail)) => self.on_refused(tag, tail),
                Completion::Sent(tag, Ok(taken)) => self.on_taken(tag, taken),
                Completion::Refused(tag, Err(error)) | Completion::Sent(tag, Err(error)) => {
                    self.on_send_failed(tag, &error);
                }
                Completion::FarewellOver(tag) => {
                    if let Some(tenant) = self.leaving.remove(&tag) {
                        self.cut_off(tenant);
                    }
                }
            }
        }
    }

    fn on_accept_ended(&mut self, error: &io::Error) {
        // The peer gave up while it waited, or the kernel ended a round.
        let harmless = [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted];
        if self.accepting == Accepting::Ending {
            self.accepting = Accepting::Full;
            return;
        }
        self.accepting = Accepting::Idle;
        if self.listener.is_some() && !harmless.contains(&error.kind()) {
            self.accepting = Accepting::Paused;
            self.scarcity.feel(error);
        }
    }

    /// The rest of a silent send goes out by one that lasts.
    fn on_refused(&mut self, tag: Tag, tail: Tail) {
        let Some(tenant) = self.table.tagged(tag) else { return };
        debug_assert!(tenant.unsent.is_none());
        let Some(first) = tail.pieces().next() else { return };
        let key = self.ring.send_lasting(tag, &tenant.socket, first.clone());
        tenant.unsent = Some(Box::new(Unsent { tail, key }));
    }

    /// A lasting send has ended.
    fn on_taken(&mut self, tag: Tag, taken: usize) {
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
    fn cut_off(&mut self, tenant: Tenant) {
        if let Some(unsent) = &tenant.unsent {
            self.ring.cancel_lasting(unsent.key);
            // A send that is just being tried again is not found; this ends it.
            let _ = tenant.socket.shutdown(Shutdown::Both);
        }
        self.ring.close(tenant.socket);
    }

    fn on_send_failed(&mut self, tag: Tag, error: &io::Error) {
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
        // What has arrived can still be read, and behind it the receive ends.
        let _ = tenant.socket.shutdown(Shutdown::Both);
    }

    fn step(&mut self) -> Option<Step> {
        // Busy connections must not keep new ones waiting for ever.
        self.steps = (self.steps + 1) % STEPS_PER_ACCEPT;
        if self.steps == 0
            && let Some(step) = self.next_accepted()
        {
            return Some(step);
        }
        while let Some(id) = self.sent.pop_front() {
            if self.table.tenant(id).is_some() {
                return Some(Step::Sent(id));
            }
        }
        while !self.held
            && let Some((tag, received, goes_on)) = self.ring.next_received()
        {
            if let Some(step) = self.on_received(tag, received, goes_on) {
                return Some(step);
            }
        }
        self.next_accepted()
    }

    fn next_accepted(&mut self) -> Option<Step> {
        while self.accepts_left > 0 {
            let socket = self.accepted.pop_front()?;
            self.accepts_left -= 1;
            // It fails only if the peer has left again.
            if let Ok(peer) = socket.peer_addr() {
                return Some(Step::Accepted(socket, peer));
            }
        }
        None
    }

    fn on_received(&mut self, tag: Tag, received: Received, goes_on: bool) -> Option<Step> {
        let Some(tenant) = self.table.tagged(tag) else {
            // Of a connection that was closed meanwhile.
            if let Received::Chunk(chunk) = received {
                self.ring.put_back(chunk);
            }
            return None;
        };
        let id = tenant.id;
        if !goes_on {
            tenant.marks.clear(Marks::ARMED);
        }
        let why = match received {
            Received::Chunk(chunk) => {
                tenant.marks.set(Marks::FED);
                if !goes_on {
                    self.fed.push_back(id);
                }
                return Some(Step::Data(id, chunk));
            }
            Received::NoBuffer => {
                let fed = tenant.marks.any(Marks::FED);
                if fed { &mut self.fed } else { &mut self.hungry }.push_back(id);
                return None;
            }
            Received::End => Gone::Eof,
            Received::Failed(error) => Gone::from(&error),
        };
        let why = tenant.failure.unwrap_or(why);
        if why != Gone::Eof {
            tenant.failure = Some(why);
            tenant.marks.clear(Marks::OWED);
        }
        tenant.marks.set(Marks::TOLD);
        Some(Step::Gone(id, why))
    }

    /// Finds out what became of everything that `id` was sent, telling the kernel
    /// of it if that has not happened. Comes before whatever is asked of `id` next.
    fn submit_sends_of(&mut self, id: ConnId) {
        let epoch = self.ring.epoch();
        if self.table.tenant(id).is_some_and(|tenant| tenant.epoch == epoch) {
            self.ring.submit();
        }
        // A full queue may have been submitted since.
        self.settle();
    }

    /// Waits until the receive of `tenant` has ended; what arrived before.
    fn end_receive(&mut self, tenant: &mut Tenant) -> Vec<u8> {
        let tag = Tag::of(tenant.id);
        let mut unread = Vec::new();
        if tenant.marks.any(Marks::ARMED) {
            self.ring.cancel_receive(tag);
        }
        for _ in 0..DETACH_ROUNDS {
            for (received, goes_on) in self.ring.take_received(tag) {
                if !goes_on {
                    tenant.marks.clear(Marks::ARMED);
                }
                if let Received::Chunk(chunk) = received {
                    unread.extend_from_slice(self.ring.lend(&chunk));
                    self.ring.put_back(chunk);
                }
            }
            if !tenant.marks.any(Marks::ARMED) {
                break;
            }
            // An error that lasts is met again, and reported, by the next wait.
            let _ = self.ring.enter(1, Some(Duration::from_millis(10)));
        }
        self.settle();
        unread
    }
}

/// A ring with the buffers that suit what the kernel can do with them.
fn open_ring(settings: &UringSettings) -> io::Result<Ring> {
    let mut wanted = RingSettings {
        submissions: settings.submission_entries.clamp(2, 1 << 15).next_power_of_two(),
        buffers: settings.receive_buffers.clamp(1, 1 << 15).next_power_of_two(),
        buffer_bytes: settings.receive_buffer_bytes.max(1),
        incremental: settings.incremental_buffers,
        silent: settings.silent_sends,
    };
    let ring = Ring::new(&wanted)?;
    if ring.is_incremental() {
        return Ok(ring);
    }
    drop(ring);
    wanted.incremental = false;
    wanted.buffers = wanted.buffers.saturating_mul(16).min(1 << 15);
    wanted.buffer_bytes = (wanted.buffer_bytes / 16).max(1);
    Ring::new(&wanted)
}

impl Driver for UringDriver {
    type Socket = TcpStream;

    fn attach(&mut self, id: ConnId, socket: TcpStream) -> io::Result<()> {
        let mut marks = Marks::default();
        marks.set(Marks::ARMED);
        self.ring.receive(Tag::of(id), &socket);
        let epoch = self.ring.epoch().wrapping_sub(1);
        self.table.insert(Tenant { id, unsent: None, socket, epoch, marks, failure: None });
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.arm();
        self.settle();
        let timeout =
            if self.ring.take_woken() { Some(Duration::ZERO) } else { self.allowed_wait(timeout) };
        let paused = self.accepting == Accepting::Paused;
        if timeout != Some(Duration::ZERO) {
            self.ring.enter(1, timeout)?;
        } else if self.ring.needs_enter() {
            self.ring.enter(0, timeout)?;
        }
        self.settle();
        for _ in 0..GATHER_ROUNDS {
            if !self.ring.has_more_to_gather() || self.ring.received() >= GATHERED {
                break;
            }
            self.ring.enter(0, Some(Duration::ZERO))?;
            self.settle();
        }
        if paused {
            self.accepting = Accepting::Idle;
        }
        self.accepts_left = self.accept_batch;
        // Whoever waits is awake now.
        self.ring.take_woken();
        Ok(())
    }

    fn next(&mut self) -> Option<Event<'_, TcpStream>> {
        if let Some(chunk) = self.lent.take() {
            self.ring.put_back(chunk);
        }
        Some(match self.step()? {
            Step::Accepted(socket, peer) => Event::Accepted { socket, peer },
            Step::Data(id, chunk) => Event::Data(id, self.ring.lend(self.lent.insert(chunk))),
            Step::Sent(id) => Event::Sent(id),
            Step::Gone(id, why) => Event::Gone(id, why),
        })
    }

    fn hold_data(&mut self, hold: bool) {
        self.held = hold;
    }

    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        if batch.iter().all(Slice::is_empty) {
            return Sending::Done;
        }
        self.submit_sends_of(id);
        let Some(tenant) = self.table.tenant(id) else { return Sending::Done };
        debug_assert!(!tenant.marks.any(Marks::OWED), "a batch of {id:?} is still pending");
        if tenant.failure.is_some() {
            return Sending::Done;
        }
        if let Some(unsent) = &mut tenant.unsent {
            unsent.tail.keep(batch, 0);
            tenant.marks.set(Marks::OWED);
            return Sending::Pending;
        }
        self.ring.send(Tag::of(id), &tenant.socket, batch);
        tenant.epoch = self.ring.epoch();
        Sending::Done
    }

    fn shutdown(&mut self, id: ConnId) {
        self.submit_sends_of(id);
        let Some(tenant) = self.table.tenant(id) else { return };
        debug_assert!(!tenant.marks.any(Marks::OWED), "a batch of {id:?} is still pending");
        if tenant.unsent.is_some() {
            tenant.marks.set(Marks::SHUT);
            return;
        }
        // It fails only if the connection is gone, which is reported by itself.
        let _ = tenant.socket.shutdown(Shutdown::Write);
    }

    fn close(&mut self, id: ConnId) {
        self.submit_sends_of(id);
        let Some(tenant) = self.table.remove(id) else { return };
        let tag = Tag::of(id);
        if tenant.marks.any(Marks::ARMED) {
            self.ring.cancel_receive(tag);
        }
        let is_done_with = tenant.unsent.is_some() && !tenant.marks.any(Marks::OWED);
        if is_done_with && self.leaving.len() < FAREWELLS {
            self.leaving.insert(tag, tenant);
            self.ring.time_farewell(tag);
        } else {
            self.cut_off(tenant);
        }
    }

    fn detach(&mut self, id: ConnId) -> Option<Detached<TcpStream>> {
        self.submit_sends_of(id);
        let mut tenant = self.table.remove(id)?;
        let unread = self.end_receive(&mut tenant);
        if let Some(unsent) = &tenant.unsent {
            self.ring.cancel_lasting(unsent.key);
            self.submit();
        }
        Some(Detached { socket: tenant.socket, unread })
    }

    fn has_sent_all(&mut self) -> bool {
        self.submit();
        self.leaving.is_empty()
    }

    fn stop_accepting(&mut self) {
        if self.listener.is_none() {
            return;
        }
        self.ring.cancel_accept();
        // The kernel holds the listener as long as it accepts.
        self.submit();
        self.listener = None;
        self.accepted.clear();
    }

    fn waker(&self) -> Waker {
        let eventfd = Arc::clone(&self.eventfd);
        Waker::new(move || {
            // It fails only after 2^64 - 2 wakes, and then one is underway.
            let _ = rustix::io::write(&eventfd, &1u64.to_ne_bytes());
        })
    }
}

impl fmt::Debug for UringDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringDriver").field("ring", &self.ring).finish_non_exhaustive()
    }
}
