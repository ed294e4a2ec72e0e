//! Accepts in the place of shards that do not turn, so that whoever asks for the
//! health is answered even if the kernel has given the connection to a shard that
//! hangs. What else comes that way is served too: an upgrade goes to the shards in
//! turn.

use std::{
    io,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::shard::HealthCheck;

/// How often to look whether a shard is late. With [`LATE`], a probe waits for less
/// than 100 ms.
pub(super) const INTERVAL: Duration = Duration::from_millis(25);

/// A shard that should have turned so long ago accepts nobody. Turns take
/// milliseconds: while a shard is only busy it accepts by itself.
const LATE: Duration = Duration::from_millis(50);

/// The most accepts of one look, for each shard: some 5 ms of work.
const ACCEPTS: usize = 128;

/// A listener may be one on which accepting blocks. Whoever is first to accept what
/// both have seen leaves the other without: it waits no longer than this.
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(1);

/// The listeners of all shards.
#[derive(Debug)]
pub(super) struct Standby {
    listeners: Vec<TcpListener>,
    health: HealthCheck,
}

impl Standby {
    pub(super) fn new(listeners: Vec<TcpListener>, health: HealthCheck) -> io::Result<Self> {
        for listener in &listeners {
            SockRef::from(listener).set_read_timeout(Some(ACCEPT_TIMEOUT))?;
        }
        Ok(Self { listeners, health })
    }

    /// Accepts what waits for shards that are late.
    pub(super) fn accept(&self, mut take: impl FnMut(TcpStream)) {
        for (shard, listener) in self.listeners.iter().enumerate() {
            if self.health.overdue(shard) < LATE {
                continue;
            }
            for _ in 0..ACCEPTS {
                let Some(socket) = accept_one(listener) else { break };
                take(socket);
            }
        }
    }
}

/// A connection, if one waits. An error is the shard's to report, when it turns.
fn accept_one(listener: &TcpListener) -> Option<TcpStream> {
    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = poll(&mut waiting, Some(&at_once)).is_ok_and(|count| count > 0);
    if !ready {
        return None;
    }
    listener.accept().ok().map(|(socket, _)| socket)
}

#[cfg(test)]
mod tests;
