//! Accepting: a bounded number per turn, and a server that stays up when the
//! process has no descriptor left. Knows a listener; not what becomes of the
//! sockets.

use std::{io, net::SocketAddr, time::Duration};

use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;

/// How often a listener that could not accept is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

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
    /// The last accept failed for want of a resource.
    paused: bool,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, batch: usize) -> Self {
        Self { listener, batch, left: 0, ready: false, paused: false }
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
        match (self.ready, self.paused) {
            (false, _) => None,
            (true, true) => Some(RETRY_AFTER),
            (true, false) => Some(Duration::ZERO),
        }
    }

    /// The next connection of this turn.
    pub(super) fn accept(&mut self) -> Option<(TcpStream, SocketAddr)> {
        while self.ready && self.left > 0 {
            self.left -= 1;
            match self.listener.accept() {
                Ok(accepted) => {
                    self.resume();
                    return Some(accepted);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.ready = false;
                        self.resume();
                    }
                    // The peer gave up while it waited, or a signal came.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => self.pause(&error),
                },
            }
        }
        None
    }

    fn pause(&mut self, error: &io::Error) {
        self.left = 0;
        if std::mem::replace(&mut self.paused, true) {
            return;
        }
        tracing::warn!(%error, "cannot accept connections, they wait: {}", remedy(error));
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            tracing::info!("accepting connections again");
        }
    }
}

/// What an operator can do about `error`.
fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "raise the process's limit of open files (ulimit -n, LimitNOFILE)",
        Some(Errno::NFILE) => "raise the system's limit of open files (sysctl fs.file-max)",
        Some(Errno::NOBUFS | Errno::NOMEM) => {
            "the kernel lacks memory for sockets (sysctl net.ipv4.tcp_mem, the memory limit)"
        }
        _ => "the next attempt follows shortly",
    }
}
