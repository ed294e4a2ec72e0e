//! Those who have nothing to do with an attack: strangers that ping, and a room
//! whose every message must arrive in order. One thread, which does little else,
//! so that what is late is late because of the server.

use super::options::Plan;
use super::seats;
use crate::client::frame::{self, PING};
use crate::client::opening::{Until, open};
use crate::client::pubsub::{self, StampReader};
use crate::client::{Loss, Message, Swarm, Target, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::ledger::Ledger;
use crate::measure::{Latency, Losses};
use crate::stamp::Stamp;
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Strangers that ping.
const STRANGERS: usize = 8;

/// Members of the unrelated room: on two shards they are very rarely all on one.
const MEMBERS: usize = 12;

/// The number of the unrelated room, which no attack uses.
const ROOM: usize = 9_000;

/// From one message into the unrelated room to the next: 50 a second.
const PUBLISH: Duration = Duration::from_millis(20);

const PAYLOAD_BYTES: usize = 20;

/// How long is waited for what is still due at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Strangers, and the members of an unrelated room.
pub(super) struct Bystanders {
    swarm: Swarm,
    ears: Ears,
    ping_ns: u64,
}

/// What they heard.
#[derive(Debug)]
pub(super) struct Heard {
    /// From the time a ping was due to its pong; while one is not answered,
    /// those due meanwhile count as well.
    pub(super) pongs: Latency,
    pub(super) unanswered: u64,
    /// From the time a message was due to its arrival.
    pub(super) deliveries: Latency,
    pub(super) published: u64,
    /// Deliveries that never came.
    pub(super) missing: u64,
    /// Deliveries out of order or twice.
    pub(super) disordered: u64,
    pub(super) losses: Losses,
    /// By how much this client was behind its own plan.
    pub(super) lag: Latency,
}

struct Ears {
    /// Links below this are members.
    members: usize,
    pending_ns: Vec<Option<u64>>,
    interval_ns: u64,
    reader: StampReader,
    ledger: Ledger,
    /// The sum of what each member got.
    heard: Heard,
}

impl Bystanders {
    /// Connects all of them; the members only if `in_room`.
    pub(super) fn open(target: &Target, plan: &Plan, in_room: bool) -> Result<Self> {
        let mut swarm = Swarm::new(target)?;
        let members = if in_room { MEMBERS } else { 0 };
        open(&mut swarm, members + STRANGERS, Until::Greeted)?.all()?;
        let links: Vec<_> = (0..members).collect();
        seats::subscribe(&mut swarm, &links, ROOM..ROOM + 1)?;
        let ping_ns = 1_000_000_000 / u64::from(plan.options.pings);
        let ears = Ears {
            members,
            pending_ns: vec![None; STRANGERS],
            interval_ns: ping_ns * STRANGERS as u64,
            reader: StampReader::new(ROOM, 1),
            ledger: Ledger::new(members, 1),
            heard: Heard {
                pongs: Latency::new(),
                unanswered: 0,
                deliveries: Latency::new(),
                published: 0,
                missing: 0,
                disordered: 0,
                losses: Losses::default(),
                lag: Latency::new(),
            },
        };
        Ok(Self { swarm, ears, ping_ns })
    }

    /// Pings and publishes until `stop`, then waits for what is still due.
    pub(super) fn run(mut self, stop: &AtomicBool) -> Result<Heard> {
        let publish_ns = nanoseconds(PUBLISH);
        let mut ping_at = now_ns() + self.ping_ns;
        let mut publish_at = now_ns() + publish_ns;
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            let due_ns = ping_at.min(if self.ears.members > 0 { publish_at } else { u64::MAX });
            self.swarm.turn(due_ns, &mut self.ears)?;
            let now = now_ns();
            if now >= due_ns {
                self.ears.heard.lag.record(now - due_ns);
            }
            while ping_at <= now {
                self.ping(next % STRANGERS, ping_at);
                next += 1;
                ping_at += self.ping_ns;
            }
            while self.ears.members > 0 && publish_at <= now {
                self.publish(publish_at);
                publish_at += publish_ns;
            }
        }
        self.conclude()
    }

    /// A ping of a stranger that waits for no other.
    fn ping(&mut self, stranger: usize, due_ns: u64) {
        if self.ears.pending_ns[stranger].is_some() {
            return;
        }
        let link = self.ears.members + stranger;
        if self.swarm.is_open(link) {
            self.ears.pending_ns[stranger] = Some(due_ns);
            let mut bytes = Vec::new();
            frame::append(PING, &due_ns.to_be_bytes(), &mut bytes);
            self.swarm.send(link, &bytes, &mut self.ears);
        }
    }

    fn publish(&mut self, due_ns: u64) {
        let sequence = self.ears.heard.published as u32;
        if !self.swarm.is_open(0) {
            return;
        }
        let mut bytes = Vec::new();
        let stamp = Stamp { publisher: 0, sequence, due_ns };
        pubsub::append_publish(ROOM, stamp, PAYLOAD_BYTES, &mut bytes);
        self.ears.heard.published += 1;
        self.swarm.send(0, &bytes, &mut self.ears);
    }

    fn conclude(mut self) -> Result<Heard> {
        let end_ns = now_ns() + nanoseconds(PATIENCE);
        while now_ns() < end_ns && !self.ears.is_complete() {
            let wake_ns = end_ns.min(now_ns() + nanoseconds(PUBLISH));
            self.swarm.turn(wake_ns, &mut self.ears)?;
        }
        for stranger in 0..STRANGERS {
            if let Some(due_ns) = self.ears.pending_ns[stranger].take() {
                self.ears.answered(now_ns() - due_ns);
                self.ears.heard.unanswered += 1;
            }
        }
        let missing = self.ears.missing();
        let heard = &mut self.ears.heard;
        heard.missing = missing;
        heard.disordered = self.ears.ledger.repeated;
        Ok(self.ears.heard)
    }
}

impl Ears {
    fn is_complete(&self) -> bool {
        self.pending_ns.iter().all(Option::is_none) && self.missing() == 0
    }

    fn missing(&self) -> u64 {
        let members = self.members as u64;
        (self.heard.published * members).saturating_sub(self.ledger.delivered)
    }

    /// Records a wait, and those of the pings that were due during it.
    fn answered(&mut self, wait_ns: u64) {
        let mut left_ns = wait_ns;
        loop {
            self.heard.pongs.record(left_ns.max(1));
            if left_ns <= self.interval_ns {
                return;
            }
            left_ns -= self.interval_ns;
        }
    }
}

impl Traffic for Ears {
    fn on_message(&mut self, link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        // Strangers hear what is said to everyone.
        if link < self.members
            && let Ok(stamp) = self.reader.stamp(ROOM, message.payload)
        {
            self.ledger.enter(link, 0, stamp.sequence);
            self.heard.deliveries.record(stamp.age_ns(message.arrived_ns).max(1));
        }
    }

    fn on_pong(&mut self, link: usize, pong: Message<'_>) {
        let stranger = link.wrapping_sub(self.members);
        let sent_ns = pong.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        if let Some(pending) = self.pending_ns.get_mut(stranger)
            && pending.is_some()
            && *pending == sent_ns
            && let Some(due_ns) = pending.take()
        {
            self.answered(pong.arrived_ns.saturating_sub(due_ns));
        }
    }

    fn on_loss(&mut self, link: usize, loss: Loss) {
        self.heard.losses.add(&loss);
        if let Some(pending) = self.pending_ns.get_mut(link.wrapping_sub(self.members)) {
            *pending = None;
        }
    }
}
