//! The clients of the node that survives, with a thread and sockets of their own, so that
//! what they notice is the node's doing and not that of thousands who connect beside
//! them. They publish too: the first of each room.

use super::options::Options;
use super::returning::{Phase, Returning};
use crate::client::{Swarm, Target, pubsub};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::{LOST_AFTER, PUBLISHES_PER_TURN, STALL};
use crate::scenarios::schedule::Schedule;
use crate::scenarios::watch::linger;
use crate::stamp::Stamp;
use anyhow::{Result, anyhow, bail, ensure};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a turn may take until the phase is looked at.
const TURN: Duration = Duration::from_millis(10);

/// The phase in which there is nothing more to publish.
const OVER: u8 = 3;

/// Clients of one node and what is published to them.
struct Load {
    clients: Returning,
    swarm: Swarm,
    schedule: Schedule,
    written: Vec<u32>,
    size: usize,
    frame: Vec<u8>,
}

/// What they found.
pub(super) struct Found {
    pub(super) clients: Returning,
    /// Publications to each room.
    pub(super) written: Vec<u32>,
}

/// All of them, at work.
pub(super) struct Bystanders {
    phase: Arc<AtomicU8>,
    thread: JoinHandle<Result<Found>>,
}

impl Bystanders {
    /// Connects `count` clients to `target`. They publish from when
    /// they are begun, for `longest` at most.
    pub(super) fn open(
        options: &Options,
        target: &Target,
        count: usize,
        longest: Duration,
    ) -> Result<Ready> {
        let rooms = options.rooms();
        let mut load = Load {
            clients: Returning::new(rooms, count, 0),
            swarm: Swarm::new(target)?,
            schedule: Schedule::new(now_ns(), options.rate(), rooms, 1, longest)?,
            written: vec![0; rooms],
            size: options.size,
            frame: Vec::new(),
        };
        open(&mut load.clients, &mut load.swarm, 0..count)?;
        Ok(Ready(load))
    }

    /// What arrives from now on belongs to `phase`.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Ends the publications and waits until all have come, or no more come.
    pub(super) fn end(self) -> Result<Found> {
        self.phase.store(OVER, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread of the other clients panicked"))?
    }
}

/// Connected, and silent.
pub(super) struct Ready(Load);

impl Ready {
    /// Lets them publish.
    pub(super) fn begin(self) -> Bystanders {
        let phase = Arc::new(AtomicU8::new(Phase::Before as u8));
        let seen = Arc::clone(&phase);
        let Self(mut load) = self;
        load.schedule.begin_at(now_ns());
        Bystanders { phase, thread: thread::spawn(move || load.play(&seen)) }
    }
}

impl Load {
    fn play(mut self, phase: &AtomicU8) -> Result<Found> {
        loop {
            self.clients.phase = match phase.load(Ordering::Relaxed) {
                0 => Phase::Before,
                1 => Phase::During,
                2 => Phase::After,
                _ => break,
            };
            self.publish_due();
            let next_ns = self.schedule.next_due_ns().unwrap_or(u64::MAX);
            self.swarm.turn(next_ns.min(now_ns() + nanoseconds(TURN)), &mut self.clients)?;
        }
        settle(&mut self.clients, &mut self.swarm, &self.written)?;
        Ok(Found { clients: self.clients, written: self.written })
    }

    fn publish_due(&mut self) {
        for _ in 0..PUBLISHES_PER_TURN {
            let Some(due) = self.schedule.take_due(now_ns()) else {
                return;
            };
            let stamp = Stamp { publisher: 0, sequence: due.sequence, due_ns: due.due_ns };
            self.frame.clear();
            pubsub::append_publish(due.room, stamp, self.size, &mut self.frame);
            self.written[due.room] = due.sequence + 1;
            self.swarm.send(due.room, &self.frame, &mut self.clients);
        }
    }
}

/// Connects and subscribes `links`.
pub(super) fn open(clients: &mut Returning, swarm: &mut Swarm, links: Range<usize>) -> Result<()> {
    let all = links.end;
    clients.want(links);
    let mut here = clients.here();
    let mut moved_ns = now_ns();
    while clients.here() < all {
        clients.dial(swarm);
        swarm.turn(moved_ns + nanoseconds(STALL), clients)?;
        if clients.here() > here {
            here = clients.here();
            moved_ns = now_ns();
        }
        let Returning { losses, strange, .. } = &*clients;
        ensure!(losses.count() == 0, "not every connection opened: {losses}");
        if now_ns() - moved_ns >= nanoseconds(STALL) {
            bail!("{here} of {all} clients are subscribed, and no more: {strange:?}");
        }
    }
    Ok(())
}

/// Waits until everybody has all of `written`, or nothing more comes.
pub(super) fn settle(clients: &mut Returning, swarm: &mut Swarm, written: &[u32]) -> Result<()> {
    let wanted = clients.wanted(written);
    let mut seen = clients.ledger.delivered;
    let mut since_ns = now_ns();
    while clients.ledger.delivered < wanted && now_ns() - since_ns < nanoseconds(LOST_AFTER) {
        swarm.turn(since_ns + nanoseconds(LOST_AFTER), clients)?;
        if clients.ledger.delivered > seen {
            seen = clients.ledger.delivered;
            since_ns = now_ns();
        }
    }
    linger(swarm, clients)
}
