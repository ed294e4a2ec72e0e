//! Accepting: a multishot accept that is armed, ended and armed again as it is
//! needed, and the sockets that it brought. Knows a listener; not what becomes of
//! the sockets.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use super::ring::Ring;
use crate::driver::scarcity::{RETRY_AFTER, Scarcity};

/// Accepted sockets that may wait to be handed out, in batches: the rest waits in
/// the kernel, where it costs no descriptor.
const WAITING_BATCHES: usize = 4;

/// How the accept stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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

/// A listener and what it has brought.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    state: State,
    scarcity: Scarcity,
    accepted: VecDeque<TcpStream>,
    /// Sockets that one turn may hand out.
    batch: usize,
    /// Those that this turn may still hand out.
    left: usize,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, batch: usize) -> io::Result<Self> {
        listener.set_nonblocking(false)?;
        let (accepted, scarcity) = (VecDeque::new(), Scarcity::default());
        Ok(Self { listener, state: State::Idle, scarcity, accepted, batch, left: 0 })
    }

    /// A wait begins.
    pub(super) fn arm(&mut self, ring: &mut Ring) {
        let has_room = self.accepted.len() < self.batch;
        if self.state == State::Idle || (self.state == State::Full && has_room) {
            ring.accept(&self.listener);
            self.state = State::Armed;
        } else if self.state == State::Paused {
            // Not now: it would fail again, and end this wait.
            self.state = State::Idle;
        }
    }

    /// The longest that the turn's wait may take.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        if !self.accepted.is_empty() {
            return Some(Duration::ZERO);
        }
        (self.state == State::Idle).then_some(RETRY_AFTER)
    }

    /// A new turn begins.
    pub(super) fn on_turn(&mut self) {
        self.left = self.batch;
    }

    pub(super) fn on_accepted(&mut self, socket: TcpStream, ring: &mut Ring) {
        self.scarcity.on_success();
        self.accepted.push_back(socket);
        if self.state == State::Armed && self.accepted.len() >= WAITING_BATCHES * self.batch {
            ring.cancel_accept();
            self.state = State::Ending;
        }
    }

    pub(super) fn on_ended(&mut self, error: &io::Error) {
        // The peer gave up while it waited, or the kernel ended a round.
        let harmless = [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted];
        self.state = if self.state == State::Ending {
            State::Full
        } else if harmless.contains(&error.kind()) {
            State::Idle
        } else {
            self.scarcity.on_failure(error);
            State::Paused
        };
    }

    /// The next connection of this turn.
    pub(super) fn next(&mut self) -> Option<(TcpStream, SocketAddr)> {
        while self.left > 0 {
            let socket = self.accepted.pop_front()?;
            self.left -= 1;
            // It fails only if the peer has left again.
            if let Ok(peer) = socket.peer_addr() {
                return Some((socket, peer));
            }
        }
        None
    }
}
