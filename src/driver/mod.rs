//! The seam between the engine's world and the kernel's: lending completions.
//!
//! A driver owns sockets. It lends received bytes, takes batches to send, and
//! knows nothing of WebSocket, rooms or shards. It has no clock: how long to
//! wait is an argument.
//!
//! # How to drive a driver
//!
//! ```text
//! loop {
//!     driver.wait(timeout)?;                  // sleep until something happened
//!     while let Some(event) = driver.next() { // take in: events borrow the driver
//!         ...                                 // work: no send is possible here
//!     }
//!     driver.send(...); driver.close(...);    // flush once
//! }
//! ```
//!
//! While an [`Event`] is alive the driver is mutably borrowed, so a send from
//! inside delivery does not compile. What a caller must not assume: that an
//! event is followed by another (`wait` may return with none), that bytes arrive
//! in the pieces in which they were sent, that `Sent` comes in the same turn.

#[cfg(test)]
mod contract;
pub mod epoll;
pub mod listen;
mod scarcity;
pub mod sim;
mod slots;
mod tail;
mod unsent;
pub mod uring;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

/// An accept is tried before the first event and after every so many others, less
/// one, and all that are due after the last: neither a flood of data nor a storm of
/// connects keeps the other waiting.
const STEPS_PER_ACCEPT: u32 = 4;

/// Something that happened to a socket. Borrowed from the driver until the next
/// call of [`Driver::next`].
#[derive(Debug)]
pub enum Event<'a, S> {
    /// A peer connected. The socket must be given to [`Driver::attach`] (or
    /// dropped, which closes it) before `next` delivers anything of it.
    Accepted {
        /// The new socket, not yet known to the driver.
        socket: S,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// Bytes arrived. They may be changed in place (unmasking) and are
    /// overwritten by the next call.
    Data(ConnId, &'a mut [u8]),
    /// Everything that earlier `send`s left [`Sending::Pending`] has now left, or
    /// never will: a connection that fails after [`Gone::Eof`] has no other way
    /// to say that the batch is done with.
    Sent(ConnId),
    /// The peer will send nothing more, or the connection failed. Reported at
    /// most once; no `Data` follows. After [`Gone::Eof`] sending is still
    /// possible; after the others it is not. The caller must still `close`.
    Gone(ConnId, Gone),
}

/// Why no more bytes will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The peer closed its sending direction (FIN).
    Eof,
    /// The peer reset the connection (RST), or a send met a closed socket.
    Reset,
    /// Any other error of the socket (time-out of the kernel, no route, …).
    Error(io::ErrorKind),
}

impl From<&io::Error> for Gone {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected => Self::Reset,
            kind => Self::Error(kind),
        }
    }
}

/// A socket that has left its driver.
#[derive(Debug)]
pub struct Detached<S> {
    /// The socket, alive.
    pub socket: S,
    /// Bytes that had already been taken from it and not yet been lent: they come
    /// before whatever is read from it next.
    pub unread: Vec<u8>,
}

/// Wakes a shard that sleeps in [`Driver::wait`], from any thread.
///
/// One wake is enough for any number of messages: it makes the current or the
/// next `wait` return.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`, which must not block and must not panic.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Makes the current or next [`Driver::wait`] return.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// One event loop's sockets. See the module's text for the order of calls.
///
/// Identities come from the caller, who gives each connection an id whose slot
/// is not in use; the driver keeps its table by [`ConnId::slot`] and ignores
/// calls whose generation does not match the present connection.
pub trait Driver {
    /// An accepted socket, before it has an identity and after `detach`.
    type Socket;

    /// Takes a socket under the identity `id`. From now on its events name `id`.
    ///
    /// # Errors
    /// When the kernel refuses to watch the socket; it is closed then.
    fn attach(&mut self, id: ConnId, socket: Self::Socket) -> io::Result<()>;

    /// Sleeps until something happened, the waker was used or `timeout` is over
    /// (`None`: no limit; zero: only look). Returns at once when earlier events
    /// were left untaken or a socket was left half read.
    ///
    /// # Errors
    /// Only what makes the whole loop useless; an interrupted wait is no error.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// The next event of this turn, or `None` when there is nothing more to take
    /// now. Bounded per turn: a flooding peer or a storm of connects cannot keep
    /// it returning events for ever.
    fn next(&mut self) -> Option<Event<'_, Self::Socket>>;

    /// While `hold` is set, `next` lends no data: what arrives stays with the
    /// kernel (and in receive buffers of fixed size), whose windows fill and slow
    /// the peers down. All other events come as ever, but an end comes behind its
    /// data. Data that was held back is lent after the hold has ended, without
    /// anything new having to arrive.
    fn hold_data(&mut self, hold: bool);

    /// While `hold` is set, nothing that the peer of `id` sends is lent: it stays with
    /// the kernel, whose window fills and slows that peer down, and no other. Its
    /// `Sent` comes as ever. The end of the stream comes behind the data that was
    /// held back; a connection that fails is reported at once, and what it had sent
    /// is dropped. Data that was held back is lent after the hold has ended, without
    /// anything new having to arrive. No effect on an unknown `id`; a new connection
    /// is not held.
    fn hold(&mut self, id: ConnId, hold: bool);

    /// Bytes that were given to [`Driver::send`] for `id` and that the peer's kernel
    /// has not acknowledged yet: those with the driver and those in the socket's send
    /// buffer. Asks the kernel, so it is for connections that seem to stand still. 0
    /// for an unknown `id`.
    fn unsent_bytes(&mut self, id: ConnId) -> usize;

    /// Takes all of `batch` to be sent in order on `id`.
    ///
    /// Must not be called while an earlier batch of `id` is pending (in debug
    /// builds that panics). For an unknown or failed connection the bytes are
    /// dropped and the answer is [`Sending::Done`].
    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending;

    /// Closes the sending direction (FIN); receiving goes on. The caller waits
    /// for `Sent` first if a batch is pending.
    fn shutdown(&mut self, id: ConnId);

    /// Forgets `id` and closes its socket. If a batch is pending, whatever has not
    /// left is lost; if not, what was sent leaves first. No event names `id` any
    /// more, not even one that was already waiting.
    fn close(&mut self, id: ConnId);

    /// Forgets `id` and hands its socket out alive, to go on elsewhere. Bytes
    /// already lent are the caller's to hand along, as are those that come with
    /// the socket; bytes that were sent and have not left are lost, so it is for
    /// connections that were not answered yet. `None` if `id` is unknown.
    fn detach(&mut self, id: ConnId) -> Option<Detached<Self::Socket>>;

    /// Whether something that the peer of `id` sent has not been lent yet. Asks the
    /// kernel, so it is for connections that seem to be dead. `false` for an unknown
    /// `id`.
    fn has_unread(&mut self, id: ConnId) -> bool;

    /// Whether nothing that was sent on connections which are closed by now is still
    /// with the driver: dropping the driver would lose it.
    fn has_sent_all(&mut self) -> bool;

    /// Closes the listener: no `Accepted` follows.
    fn stop_accepting(&mut self);

    /// A handle that makes `wait` return, from any thread.
    fn waker(&self) -> Waker;
}
