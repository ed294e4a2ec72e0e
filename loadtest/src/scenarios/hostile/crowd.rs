//! Members that read as fast as they can and answer pings, and the account of
//! what each must have got. Healthy clients: none of them may suffer.

use super::seats;
use crate::client::pubsub::StampReader;
use crate::client::{Loss, Message, Swarm, Target, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::ledger::Ledger;
use crate::measure::Losses;
use anyhow::Result;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// "Try again later": the server says that it gives up on a connection.
pub(super) const TRY_AGAIN_LATER: u16 = 1013;

/// With nothing arriving for so long after the end of an attack, what is
/// missing counts as lost.
const QUIET: Duration = Duration::from_secs(3);

/// How long the rest of an attack may take to arrive: twice what it needs at the
/// rate at which messages came so far, within these bounds.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(180));

const WAKE: Duration = Duration::from_millis(20);

/// How far an attack has come, for those who take part in it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Set when the attack has ended: how many messages each publisher sent, 0 for
    /// one that was told by being closed that it is not known which were taken.
    pub(super) sent: OnceLock<Vec<u32>>,
    /// Everything has arrived, or never will.
    pub(super) finished: AtomicBool,
}

/// The members of one or more rooms, or simply clients.
pub(super) struct Crowd {
    swarm: Swarm,
    ears: Ears,
    links: Vec<usize>,
}

/// What a crowd found.
#[derive(Debug)]
pub(super) struct Crowding {
    pub(super) delivered: u64,
    /// Messages that never came to a member that was not told.
    pub(super) missing: u64,
    /// Messages that came before an earlier one, or twice.
    pub(super) disordered: u64,
    /// Members that the server closed with 1013.
    pub(super) told: u64,
    /// All members lost, by reason.
    pub(super) losses: Losses,
}

struct Ears {
    /// Reads stamps, if messages carry them.
    reader: Option<StampReader>,
    ledger: Ledger,
    /// By link.
    received: Vec<u64>,
    delivered: u64,
    lost: Vec<bool>,
    losses: Losses,
}

impl Crowd {
    /// `count` clients, on `shard` if that is given, each in all of `rooms`.
    /// With `publishers`, the messages of the first room carry their stamps.
    pub(super) fn open(
        target: &Target,
        count: usize,
        shard: Option<u8>,
        rooms: Range<usize>,
        publishers: Option<usize>,
    ) -> Result<Self> {
        let mut swarm = Swarm::new(target)?;
        let links = seats::open_on(&mut swarm, count, shard)?;
        seats::subscribe(&mut swarm, &links, rooms.clone())?;
        let ears = Ears {
            reader: publishers.map(|_| StampReader::new(rooms.start, 1)),
            ledger: Ledger::new(swarm.len(), publishers.unwrap_or(0)),
            received: vec![0; swarm.len()],
            delivered: 0,
            lost: vec![false; swarm.len()],
            losses: Losses::default(),
        };
        Ok(Self { swarm, ears, links })
    }

    /// Reads until all has arrived that `progress` says was sent, or nothing
    /// comes any more.
    pub(super) fn run(mut self, progress: &Progress) -> Result<Crowding> {
        let begun_ns = now_ns();
        let mut seen = 0;
        let mut moved_ns = now_ns();
        let mut end_ns = u64::MAX;
        let found = loop {
            self.swarm.turn(now_ns() + nanoseconds(WAKE), &mut self.ears)?;
            let now = now_ns();
            if self.ears.delivered > seen {
                seen = self.ears.delivered;
                moved_ns = now;
            }
            let Some(sent) = progress.sent.get() else {
                moved_ns = now;
                continue;
            };
            let missing = self.missing(sent);
            if end_ns == u64::MAX {
                let needed = (now - begun_ns) as f64 * missing as f64 / seen.max(1) as f64;
                let (least, most) = (nanoseconds(PATIENCE.0), nanoseconds(PATIENCE.1));
                end_ns = now + ((2.0 * needed) as u64).clamp(least, most);
            }
            let is_over = now >= end_ns || now - moved_ns >= nanoseconds(QUIET);
            if missing == 0 || is_over {
                break missing;
            }
        };
        progress.finished.store(true, Ordering::Relaxed);
        Ok(self.conclude(found))
    }

    /// Reads and answers pings until `stop`.
    pub(super) fn stay(mut self, stop: &AtomicBool) -> Result<Crowding> {
        while !stop.load(Ordering::Relaxed) {
            self.swarm.turn(now_ns() + nanoseconds(WAKE), &mut self.ears)?;
        }
        Ok(self.conclude(0))
    }

    /// What members that were not lost have not got of what was sent. Without
    /// stamps it may be more, if some publishers were lost.
    fn missing(&self, sent: &[u32]) -> u64 {
        let staying = self.links.iter().filter(|link| !self.ears.lost[**link]);
        staying.map(|link| self.ears.missing(*link, sent)).sum()
    }

    fn conclude(self, missing: u64) -> Crowding {
        let ears = self.ears;
        // Of members that were lost, what is missing before the last that came.
        let lost = self.links.iter().filter(|link| ears.lost[**link]);
        let gaps: u64 = lost.map(|link| ears.gaps(*link)).sum();
        Crowding {
            delivered: ears.delivered,
            missing: missing + gaps,
            disordered: ears.ledger.repeated,
            told: ears.losses.of(&Loss::Closed(TRY_AGAIN_LATER)),
            losses: ears.losses,
        }
    }
}

impl Ears {
    fn missing(&self, link: usize, sent: &[u32]) -> u64 {
        if self.reader.is_none() {
            let all: u64 = sent.iter().map(|count| u64::from(*count)).sum();
            return all.saturating_sub(self.received[link]);
        }
        let rest = |(publisher, sent): (usize, &u32)| {
            u64::from(sent.saturating_sub(self.ledger.passed(link, publisher)))
        };
        self.gaps(link) + sent.iter().enumerate().map(rest).sum::<u64>()
    }

    fn gaps(&self, link: usize) -> u64 {
        let passed: u64 = self.ledger.passed_in_all(link);
        if self.reader.is_some() { passed.saturating_sub(self.received[link]) } else { 0 }
    }
}

impl Traffic for Ears {
    fn on_message(&mut self, link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        if let Some(reader) = &self.reader {
            let Ok(stamp) = reader.stamp(reader.first(), message.payload) else {
                return;
            };
            self.ledger.enter(link, usize::from(stamp.publisher), stamp.sequence);
        } else if !message.payload.starts_with(br#"{"type":"message""#) {
            return;
        }
        self.received[link] += 1;
        self.delivered += 1;
    }

    fn on_loss(&mut self, link: usize, loss: Loss) {
        self.losses.add(&loss);
        self.lost[link] = true;
    }
}
