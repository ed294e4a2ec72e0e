//! Accepting: a bounded number per turn, and a server that stays up when the
//! process has no descriptor left. Knows a listener; not what becomes of the
//! sockets.

use std::{io, net::SocketAddr, time::Duration};

use mio::net::{TcpListener, TcpStream};

use crate::driver::scarcity::{RETRY_AFTER, Scarcity};

/// A listener and how far its queue has been worked off.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    /// Accepts allowed in one turn.
    batch: usize,
    /// Accepts left of this turn.
    left: usize,
    /// The queue may hold connections.
    ready: bool,
    scarcity: Scarcity,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, batch: usize) -> Self {
        Self { listener, batch, left: 0, ready: false, scarcity: Scarcity::default() }
    }

    /// The kernel reports connections.
    pub(super) fn on_ready(&mut self) {
        self.ready = true;
    }

    /// A new turn begins.
    pub(super) fn on_turn(&mut self) {
        self.left = self.batch;
    }

    /// The longest that the turn's wait may take.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        self.ready.then(|| if self.scarcity.is_short() { RETRY_AFTER } else { Duration::ZERO })
    }

    /// The next connection of this turn.
    pub(super) fn accept(&mut self) -> Option<(TcpStream, SocketAddr)> {
        while self.ready && self.left > 0 {
            self.left -= 1;
            match self.listener.accept() {
                Ok(accepted) => {
                    self.scarcity.on_success();
                    return Some(accepted);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.ready = false;
                        self.scarcity.on_success();
                    }
                    // The peer gave up while it waited, or a signal came.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        self.left = 0;
                        self.scarcity.on_failure(&error);
                    }
                },
            }
        }
        None
    }
}
