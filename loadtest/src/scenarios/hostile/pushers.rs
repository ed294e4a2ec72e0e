//! Sockets that are written to whenever they take something and never read:
//! the same bytes again and again, whatever they mean.

use super::stage::End;
use crate::client::Wire;
use anyhow::Result;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// With no socket that takes anything.
const PAUSE: Duration = Duration::from_millis(2);

/// How much is written to one before the next has its turn.
const BATCH_BYTES: usize = 64 * 1024;

struct Pusher {
    stream: TcpStream,
    /// Whole requests or frames, as often as they fit into a batch.
    bytes: Vec<u8>,
    at: usize,
}

/// The sockets.
#[derive(Default)]
pub(super) struct Pushers(Vec<Pusher>);

impl Pushers {
    /// Adds one that sends `unit` for ever.
    pub(super) fn add(&mut self, wire: Wire, unit: &[u8]) -> Result<()> {
        let stream = wire.into_stream();
        stream.set_nonblocking(true)?;
        let bytes = unit.repeat((BATCH_BYTES / unit.len()).max(1));
        self.0.push(Pusher { stream, bytes, at: 0 });
        Ok(())
    }

    /// Pushes until `end`. Gives the bytes that were taken, and how many
    /// sockets the server had closed by then.
    pub(super) fn run(&mut self, end: &End) -> (u64, usize) {
        let all = self.0.len();
        let mut taken = 0;
        while !end.is_reached() {
            let before = taken;
            self.0.retain_mut(|pusher| match pusher.push() {
                Some(count) => {
                    taken += count as u64;
                    true
                }
                None => false,
            });
            if taken == before {
                thread::sleep(PAUSE);
            }
        }
        (taken, all - self.0.len())
    }
}

impl Pusher {
    /// Writes what the socket takes at once; `None` if it is closed.
    fn push(&mut self) -> Option<usize> {
        match self.stream.write(&self.bytes[self.at..]) {
            Ok(count) => {
                self.at = (self.at + count) % self.bytes.len();
                Some(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }
}
