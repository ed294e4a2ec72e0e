//! Members of rooms and those who publish into them: what `fanout`, `rooms`,
//! `cross` and `drain` have in common. Member `i` is in room `i % rooms`;
//! publisher `j` of room `r` is connection `r + j * rooms`. Rooms are numbered
//! from that of this share.

use super::Plan;
use super::schedule::{Publication, Schedule};
use super::watch::Watch;
use crate::client::pubsub::{self, StampReader};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::clock::now_ns;
use crate::ledger::Ledger;
use crate::limits::PUBLISHES_PER_TURN;
use crate::measure::{Latency, Losses};
use crate::outcome::Outcome;
use crate::progress;
use crate::share::{Part, Series};
use crate::stamp::Stamp;
use anyhow::{Result, ensure};
use std::time::Duration;

/// All members, what has reached them and when.
#[derive(Debug)]
pub(super) struct Audience {
    first_room: usize,
    pub(super) rooms: usize,
    pub(super) publishers: usize,
    size: usize,
    reader: StampReader,
    /// Who has got what.
    pub(super) ledger: Ledger,
    /// From when a publication was due to each delivery, by group of members.
    pub(super) latency: Vec<Latency>,
    groups: Vec<u8>,
    /// From when a publication was due to when it was written.
    pub(super) lag: Latency,
    /// How many publications of each publisher of each room were written.
    written: Vec<u32>,
    /// Of each publication of the one publisher, the members that have not yet
    /// got it, and the time to the latest that has.
    awaited: Vec<(u32, u64)>,
    /// Deliveries over time.
    pub(super) series: Series,
    /// Connections lost.
    pub(super) losses: Losses,
    strange: Vec<String>,
    strange_count: u64,
    frame: Vec<u8>,
}

impl Audience {
    /// An audience of `members` in the first `rooms` of `plan`, all in one
    /// group.
    pub(super) fn new(
        plan: &Plan,
        members: usize,
        rooms: usize,
        publishers: usize,
    ) -> Result<Self> {
        ensure!(
            plan.process > 0 || rooms * publishers <= members,
            "{publishers} publishers in each of {rooms} rooms need {} connections",
            rooms * publishers
        );
        Ok(Self {
            first_room: plan.first_room,
            rooms,
            publishers,
            size: plan.size,
            reader: StampReader::new(plan.first_room, rooms),
            ledger: Ledger::new(members, publishers),
            latency: vec![Latency::new()],
            groups: vec![0; members],
            lag: Latency::new(),
            written: vec![0; rooms * publishers],
            awaited: Vec::new(),
            series: Series::default(),
            losses: Losses::default(),
            strange: Vec::new(),
            strange_count: 0,
            frame: Vec::new(),
        })
    }

    /// Keeps the latencies of members by `groups`, one number per connection.
    pub(super) fn group(&mut self, groups: Vec<u8>) {
        let count = groups.iter().max().map_or(1, |most| usize::from(*most) + 1);
        self.latency = vec![Latency::new(); count];
        self.groups = groups;
    }

    /// Times the last of `members` deliveries of each of `total` publications
    /// of one publisher.
    pub(super) fn await_last(&mut self, members: usize, total: u64) {
        self.awaited = vec![(members as u32, 0); total as usize];
    }

    /// The time to the last delivery of each publication, if it reached all.
    pub(super) fn last(&self) -> impl Iterator<Item = Option<u64>> {
        self.awaited.iter().map(|(left, latest_ns)| (*left == 0).then_some(*latest_ns))
    }

    /// Counts `total` publications of the one publisher as written, by another
    /// process.
    pub(super) fn written_elsewhere(&mut self, total: u64) {
        self.written[0] = total as u32;
    }

    /// How many publications of `publisher` were written to `room`.
    pub(super) fn written(&self, room: usize, publisher: usize) -> u32 {
        self.written[room + publisher * self.rooms]
    }

    /// Publishes what is due at `now_ns`, within the bound of a turn.
    pub(super) fn publish(&mut self, swarm: &mut Swarm, schedule: &mut Schedule) {
        for _ in 0..PUBLISHES_PER_TURN {
            let now_ns = now_ns();
            let Some(due) = schedule.take_due(now_ns) else {
                return;
            };
            self.lag.record(now_ns - due.due_ns);
            self.write(swarm, due);
        }
    }

    fn write(&mut self, swarm: &mut Swarm, publication: Publication) {
        let Publication { room, publisher, .. } = publication;
        let stamp = Stamp {
            publisher: publisher as u8,
            sequence: publication.sequence,
            due_ns: publication.due_ns,
        };
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        pubsub::append_publish(self.first_room + room, stamp, self.size, &mut frame);
        let connection = room + publisher * self.rooms;
        self.written[connection] = publication.sequence + 1;
        swarm.send(connection, &frame, self);
        self.frame = frame;
    }

    /// Publishes all of `schedule` and waits until `wanted` deliveries are in,
    /// or no more come, or every connection is lost.
    pub(super) fn play(
        &mut self,
        swarm: &mut Swarm,
        schedule: &mut Schedule,
        wanted: u64,
    ) -> Result<()> {
        let bar = progress::bar("publishing", schedule.total());
        let span = Duration::from_secs(schedule.total() / schedule.per_second().max(1));
        self.series = Series::new(now_ns(), span);
        let mut watch = Watch::new();
        loop {
            self.publish(swarm, schedule);
            bar.set_position(schedule.issued());
            let next_ns = schedule.next_due_ns();
            if next_ns.is_none() && self.ledger.delivered >= wanted {
                break;
            }
            let abandoned = self.losses.count() >= self.groups.len() as u64;
            if abandoned || watch.is_stalled(self.ledger.delivered) {
                break;
            }
            let deadline_ns = next_ns.unwrap_or(u64::MAX).min(watch.deadline_ns());
            swarm.turn(deadline_ns, self)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Listens to deliveries, which another process publishes, until `wanted`
    /// are in or no more come.
    pub(super) fn listen(
        &mut self,
        swarm: &mut Swarm,
        duration: Duration,
        wanted: u64,
    ) -> Result<()> {
        self.series = Series::new(now_ns(), duration);
        let mut watch = Watch::new();
        while self.ledger.delivered < wanted
            && self.losses.count() < self.groups.len() as u64
            && !watch.is_stalled(self.ledger.delivered)
        {
            swarm.turn(watch.deadline_ns(), self)?;
        }
        Ok(())
    }

    /// What all of it comes to, `missing` being messages that never arrived.
    pub(super) fn part(&self, missing: u64) -> Part {
        let mut part = Part::default();
        part.count("delivered", self.ledger.delivered);
        part.count("missing", missing);
        part.count("skipped", self.ledger.skipped);
        part.count("repeated", self.ledger.repeated);
        part.count("strange", self.strange_count);
        part.latency("delivery", &self.latency[0]);
        part.latency("lag", &self.lag);
        part.last(self.last());
        part.strange.clone_from(&self.strange);
        part.losses = self.losses.clone();
        part.series = self.series.clone();
        part
    }

    /// Publications that `members` should have got and have not.
    pub(super) fn missing(&self, members: impl Iterator<Item = usize>) -> u64 {
        members
            .flat_map(|member| (0..self.publishers).map(move |publisher| (member, publisher)))
            .map(|(member, publisher)| {
                let written = self.written(member % self.rooms, publisher);
                u64::from(written.saturating_sub(self.ledger.passed(member, publisher)))
            })
            .sum()
    }
}

/// Enters into `outcome` whatever must not have happened.
pub(super) fn judge(outcome: &mut Outcome, part: &Part) {
    outcome.forbid(part.counted("missing"), "messages lost");
    outcome.forbid(part.counted("skipped"), "messages out of order or lost");
    outcome.forbid(part.counted("repeated"), "messages twice or late");
    outcome.forbid(part.counted("strange"), "answers that were not expected");
    for what in &part.strange {
        outcome.violation(what.clone());
    }
}

impl Traffic for Audience {
    fn on_message(&mut self, link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        let room = self.first_room + link % self.rooms;
        let stamp = match self.reader.stamp(room, message.payload) {
            Ok(stamp) if link < self.groups.len() => stamp,
            other => {
                let what = other.err().unwrap_or_else(|| "a message to a bystander".to_owned());
                self.strange_count += 1;
                if self.strange.len() < 3 {
                    self.strange.push(what);
                }
                return;
            }
        };
        let publisher = usize::from(stamp.publisher);
        let age_ns = stamp.age_ns(message.arrived_ns);
        self.latency[usize::from(self.groups[link])].record(age_ns);
        self.series.add(message.arrived_ns);
        let expected = self.ledger.enter(link, publisher, stamp.sequence);
        if expected && let Some((left, latest_ns)) = self.awaited.get_mut(stamp.sequence as usize) {
            *left = left.saturating_sub(1);
            *latest_ns = age_ns.max(*latest_ns);
        }
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}
