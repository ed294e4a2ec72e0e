//! Members that read at a given rate, without pause and never faster, each on a
//! thread of its own.

use super::stage::End;
use crate::client::{LATE, Loss, Target, Wire, pubsub};
use crate::kernel_queues;
use anyhow::{Result, anyhow};
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

/// From one read to the next.
const SIP: Duration = Duration::from_millis(50);

const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// A message to a member that reads comes sooner than this, or there is none.
const PATIENCE: Duration = Duration::from_millis(20);

/// With nothing more for so long, all has been read.
const QUIET: Duration = Duration::from_secs(2);

/// With nothing more on its way for so long, no Close frame is waited for.
const DRY: Duration = Duration::from_secs(3);

/// How long the last of what was sent may take, once it is read at full speed.
const REST: Duration = Duration::from_secs(15);

/// A member that reads slowly.
pub(super) struct Sipper {
    wire: Wire,
    rate: usize,
}

/// How it ended for one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was there to the end.
    Stayed,
    /// The server closed it with this code.
    Closed(u16),
    /// The connection ended without a Close frame.
    Cut(String),
}

impl Sipper {
    /// A member of `room` that reads `rate` bytes a second, with a receive
    /// buffer of `socket_bytes`.
    pub(super) fn open(
        target: &Target,
        room: usize,
        rate: usize,
        socket_bytes: usize,
    ) -> Result<Self> {
        let refused = |loss: Loss| anyhow!("a member could not connect: {loss}");
        let patience = Duration::from_secs(5);
        let opened = Wire::open(target, FROM, Some(socket_bytes), patience);
        let mut wire = opened.map_err(refused)?;
        let mut frame = Vec::new();
        pubsub::append_subscribe(room, &mut frame);
        wire.send(&frame)?;
        // The greeting and the answer.
        let mut heard = 0;
        while heard < 2 {
            heard += wire.sip(1024).map_err(refused)?.messages;
        }
        wire.wait_for(PATIENCE)?;
        Ok(Self { wire, rate })
    }

    /// Reads at its rate until the server's Close frame. After `end` that is waited
    /// for as long as bytes are in front of it, at most for `patience`: it cannot come
    /// earlier at this pace. Gives how it ended, and the bytes read.
    pub(super) fn run_to_close(mut self, end: &End, patience: Duration) -> (Ending, u64) {
        let (server, client) = self.wire.ports();
        let mut pace = Pace::new(self.rate);
        let mut deadline = None;
        let (mut read, mut heard) = (0, Instant::now());
        while deadline.is_none_or(|deadline| Instant::now() < deadline) {
            if let Some(ending) = self.sip(&mut pace) {
                return (ending, pace.read);
            }
            if pace.read > read || kernel_queues::between(server, client) > 0 {
                (read, heard) = (pace.read, Instant::now());
            }
            if end.is_reached() {
                deadline.get_or_insert(Instant::now() + patience);
                if heard.elapsed() >= DRY {
                    break;
                }
            }
        }
        (Ending::Stayed, pace.read)
    }

    /// Reads at its rate until `end`; then all that is left as fast as it can: a
    /// connection that the server has ended looks alive until then, because the
    /// kernel goes on sending. Gives how it ended, and the bytes read until `end`.
    pub(super) fn run(mut self, end: &End) -> (Ending, u64) {
        let mut pace = Pace::new(self.rate);
        while !end.is_reached() {
            if let Some(ending) = self.sip(&mut pace) {
                return (ending, pace.read);
            }
        }
        (self.rest(), pace.read)
    }

    /// Reads what is due, if anything is, and waits until more is. Says how the
    /// connection ended, if it has.
    fn sip(&mut self, pace: &mut Pace) -> Option<Ending> {
        if let Some(due) = pace.due() {
            match self.wire.sip(due) {
                Ok(sip) => {
                    pace.read += sip.bytes as u64;
                    if let Some(code) = sip.closed {
                        return Some(Ending::Closed(code));
                    }
                }
                Err(loss) if is_patience(&loss) => {}
                Err(loss) => return Some(Ending::Cut(loss.to_string())),
            }
        }
        pace.wait();
        None
    }

    fn rest(mut self) -> Ending {
        let begun = Instant::now();
        let mut heard = begun;
        while begun.elapsed() < REST && heard.elapsed() < QUIET {
            match self.wire.sip(64 * 1024) {
                Ok(sip) => {
                    heard = Instant::now();
                    if let Some(code) = sip.closed {
                        return Ending::Closed(code);
                    }
                }
                Err(loss) if is_patience(&loss) => {}
                Err(loss) => return Ending::Cut(loss.to_string()),
            }
        }
        Ending::Stayed
    }
}

/// How far a member has come that reads a number of bytes a second.
struct Pace {
    begun: Instant,
    rate: usize,
    read: u64,
    turn: u32,
}

impl Pace {
    fn new(rate: usize) -> Self {
        Self { begun: Instant::now(), rate, read: 0, turn: 0 }
    }

    /// Bytes to read now, if there are any.
    fn due(&self) -> Option<usize> {
        let due = (self.begun.elapsed().as_secs_f64() * self.rate as f64) as u64;
        due.checked_sub(self.read).filter(|due| *due > 0).map(|due| due as usize)
    }

    /// Waits until more is due.
    fn wait(&mut self) {
        self.turn += 1;
        let next = self.begun + SIP * self.turn;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Whether nothing came, and nothing else is wrong.
fn is_patience(loss: &Loss) -> bool {
    matches!(loss, Loss::Failed(why) if why == LATE)
}
