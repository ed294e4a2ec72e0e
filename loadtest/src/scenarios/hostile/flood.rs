//! Clients that publish without pause: whenever the kernel has taken all that
//! one of them sent, it sends more. They read what comes back.

use super::crowd::Progress;
use super::seats;
use super::stage::End;
use crate::client::pubsub::{self, Said};
use crate::client::{Loss, Message, Swarm, Target, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::kernel_queues;
use crate::measure::Losses;
use crate::stamp::Stamp;
use anyhow::Result;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What one client has under way at least: as much as its socket takes at once.
const BATCH_BYTES: usize = 32 * 1024;

/// The most messages of one publisher: what a stamp can number.
const MESSAGES: u32 = (1 << 24) - 1;

/// How long the server may take to read what was sent until the end: twice what
/// it needs at the rate at which it has read so far, within these bounds.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(180));

/// How long the rest may take to arrive everywhere.
const FINISH: Duration = Duration::from_secs(200);

const WAKE: Duration = Duration::from_millis(5);

/// Whom the messages are for.
#[derive(Clone, Debug)]
pub(super) enum Audience {
    /// The rooms, one after the other.
    Rooms(Range<usize>),
    /// The same, with the shortest data there is and no stamp.
    Briefly(Range<usize>),
    /// Everyone.
    Everyone,
}

/// The flooders.
pub(super) struct Flood {
    swarm: Swarm,
    links: Vec<usize>,
    audience: Audience,
    size: usize,
    /// The most messages of each.
    most: u32,
    sent: Vec<u32>,
    /// Bytes of all those messages.
    sent_bytes: u64,
    /// Times that a client found its socket full, and later not.
    blocked: u64,
    ears: Ears,
}

/// What a flood came to.
#[derive(Debug)]
pub(super) struct Flooded {
    pub(super) sent: u64,
    /// Bytes that the server had not read so long after the end.
    pub(super) unread: u64,
    pub(super) waited: Duration,
    /// Times that a publisher was stopped by a full socket and went on.
    pub(super) blocked: u64,
    /// Errors that the flooders were told, and the first of them.
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) losses: Losses,
}

#[derive(Debug, Default)]
struct Ears {
    errors: u64,
    first_error: Option<String>,
    losses: Losses,
}

impl Flood {
    /// `count` flooders, on `shard` if that is given, that send `size` bytes.
    pub(super) fn open(
        target: &Target,
        count: usize,
        shard: Option<u8>,
        audience: Audience,
        size: usize,
    ) -> Result<Self> {
        let mut swarm = Swarm::new(target)?;
        let links = seats::open_on(&mut swarm, count, shard)?;
        if let Audience::Rooms(rooms) | Audience::Briefly(rooms) = &audience {
            seats::subscribe(&mut swarm, &links, rooms.clone())?;
        }
        let sent = vec![0; links.len()];
        let ears = Ears::default();
        let most = MESSAGES;
        Ok(Self { swarm, links, audience, size, most, sent, sent_bytes: 0, blocked: 0, ears })
    }

    /// Lets each flooder send at most `messages`.
    pub(super) fn limit(&mut self, messages: u32) {
        self.most = messages.min(MESSAGES);
    }

    /// Floods until `end` or until all was sent, tells `progress` what was sent
    /// and reads on until that is finished.
    pub(super) fn run(mut self, end: &End, progress: &Progress) -> Result<Flooded> {
        let pushed = self.push(end);
        let taken = self.links.iter().zip(&self.sent);
        let taken = taken.map(|(link, sent)| if self.swarm.is_open(*link) { *sent } else { 0 });
        // Nobody else sets it. Whatever failed, others wait for it.
        let _ = progress.sent.set(taken.collect());
        let (unread, waited) = pushed?;
        let end_ns = now_ns() + nanoseconds(FINISH);
        while !progress.finished.load(Ordering::Relaxed) && now_ns() < end_ns {
            self.swarm.turn(now_ns() + nanoseconds(WAKE), &mut self.ears)?;
        }
        Ok(Flooded {
            sent: self.sent.iter().map(|count| u64::from(*count)).sum(),
            unread,
            waited,
            blocked: self.blocked,
            errors: self.ears.errors,
            first_error: self.ears.first_error,
            losses: self.ears.losses,
        })
    }

    /// Floods until `end`, and waits until the server has taken it. Gives the
    /// bytes that it has not, and for how long they were waited for.
    fn push(&mut self, end: &End) -> Result<(u64, Duration)> {
        let begun_ns = now_ns();
        let mut frames = Vec::new();
        while !end.is_reached() {
            let mut busy = false;
            let mut left = false;
            for at in 0..self.links.len() {
                let link = self.links[at];
                left |= self.swarm.is_open(link) && self.sent[at] < self.most;
                if self.swarm.is_open(link) && self.swarm.unsent(link) == 0 {
                    frames.clear();
                    self.batch(at, &mut frames);
                    self.swarm.send(link, &frames, &mut self.ears);
                    self.sent_bytes += frames.len() as u64;
                    let is_full = self.swarm.unsent(link) > 0;
                    self.blocked += u64::from(is_full);
                    busy |= !is_full;
                }
            }
            if !left {
                break;
            }
            let wake_ns = if busy { 0 } else { now_ns() + nanoseconds(WAKE) };
            self.swarm.turn(wake_ns, &mut self.ears)?;
        }
        let ended_ns = now_ns();
        let backlog = self.unread() + kernel_queues::towards(self.swarm.port());
        let patience = patience(self.sent_bytes, backlog, ended_ns - begun_ns);
        let patience_ns = ended_ns + nanoseconds(patience);
        while self.unread() > 0 && now_ns() < patience_ns {
            self.swarm.turn(now_ns() + nanoseconds(WAKE), &mut self.ears)?;
        }
        Ok((self.unread(), Duration::from_nanos(now_ns() - ended_ns)))
    }

    fn unread(&self) -> u64 {
        self.links.iter().map(|link| self.swarm.unsent(*link) as u64).sum()
    }

    /// The next messages of flooder `at`.
    fn batch(&mut self, at: usize, frames: &mut Vec<u8>) {
        let due_ns = now_ns();
        while frames.len() < BATCH_BYTES && self.sent[at] < self.most {
            let sequence = self.sent[at];
            match &self.audience {
                Audience::Everyone => pubsub::append_broadcast(self.size, frames),
                Audience::Briefly(rooms) => {
                    let room = rooms.start + sequence as usize % rooms.len();
                    pubsub::append_brief(room, frames);
                }
                Audience::Rooms(rooms) => {
                    let room = rooms.start + sequence as usize % rooms.len();
                    let stamp = Stamp { publisher: at as u8, sequence, due_ns };
                    pubsub::append_publish(room, stamp, self.size, frames);
                }
            }
            self.sent[at] += 1;
        }
    }
}

/// How long `backlog` of `sent` bytes may take a server that has read the others
/// in `elapsed_ns`.
fn patience(sent: u64, backlog: u64, elapsed_ns: u64) -> Duration {
    let (least, most) = PATIENCE;
    let taken = sent.saturating_sub(backlog).max(1) as f64;
    let needed_s = backlog as f64 / taken * elapsed_ns as f64 / 1e9;
    Duration::from_secs_f64((2.0 * needed_s).min(most.as_secs_f64())).max(least)
}

impl Traffic for Ears {
    fn on_message(&mut self, _link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        if pubsub::is_message(message.payload) {
            return;
        }
        if let Said::Error(error) = pubsub::read(message.payload) {
            self.errors += 1;
            self.first_error.get_or_insert(error);
        }
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_waited_for_as_long_as_the_server_needs_for_it() {
        let second_ns = 1_000_000_000;
        // 10 MB in 10 s, 90 MB to go: 90 s at that rate.
        assert_eq!(patience(100_000_000, 90_000_000, 10 * second_ns).as_secs(), 180);
        assert_eq!(patience(100_000_000, 80_000_000, 10 * second_ns).as_secs(), 80);
        assert_eq!(patience(100_000_000, 0, 10 * second_ns), PATIENCE.0);
        assert_eq!(patience(100, 100, second_ns), PATIENCE.1, "nothing was read");
    }
}
