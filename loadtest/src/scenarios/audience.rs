//! Members of rooms and those who publish into them: what `fanout`, `soak`,
//! `cross` and `drain` have in common. Connection `i` is a member of room
//! `i % rooms`; publisher `j` of room `r` is connection `r + j * rooms`.

use super::schedule::{Publication, Schedule};
use super::{Plan, Watch};
use crate::client::pubsub::{self, StampReader};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::clock::now_ns;
use crate::ledger::Ledger;
use crate::limits::PUBLISHES_PER_TURN;
use crate::measure::{Latency, Losses};
use crate::progress;
use crate::report::Outcome;
use crate::stamp::Stamp;
use anyhow::{Result, ensure};

/// All members, what has reached them and when.
#[derive(Debug)]
pub(super) struct Audience {
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
    /// Members that have not yet got each publication of the one publisher, and
    /// the time to the last of them.
    awaited: Option<(Vec<u32>, Latency)>,
    /// Connections lost.
    pub(super) losses: Losses,
    strange: Vec<String>,
    strange_count: u64,
    frame: Vec<u8>,
}

impl Audience {
    /// An audience of `plan`'s connections in `rooms`, all in one group.
    pub(super) fn new(plan: &Plan, rooms: usize, publishers: usize) -> Result<Self> {
        ensure!(
            rooms * publishers <= plan.connections,
            "{publishers} publishers in each of {rooms} rooms need {} connections",
            rooms * publishers
        );
        Ok(Self {
            rooms,
            publishers,
            size: plan.size,
            reader: StampReader::new(rooms),
            ledger: Ledger::new(plan.connections, publishers),
            latency: vec![Latency::new()],
            groups: vec![0; plan.connections],
            lag: Latency::new(),
            written: vec![0; rooms * publishers],
            awaited: None,
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
    pub(super) fn await_last(&mut self, members: u32, total: u64) {
        self.awaited = Some((vec![members; total as usize], Latency::new()));
    }

    /// The time to the last delivery of each publication that reached all.
    pub(super) fn last(&self) -> Option<&Latency> {
        self.awaited.as_ref().map(|(_, latency)| latency)
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
        pubsub::append_publish(room, stamp, self.size, &mut frame);
        let connection = room + publisher * self.rooms;
        self.written[connection] = publication.sequence + 1;
        swarm.send(connection, &frame, self);
        self.frame = frame;
    }

    /// Publishes all of `schedule` and waits until `wanted` deliveries are in,
    /// or no more come.
    pub(super) fn play(
        &mut self,
        swarm: &mut Swarm,
        schedule: &mut Schedule,
        wanted: u64,
    ) -> Result<()> {
        let bar = progress::bar("publishing", schedule.total());
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

    /// Enters into `outcome` whatever must not have happened.
    pub(super) fn judge(&self, outcome: &mut Outcome, missing: u64) {
        outcome.forbid(missing, "messages lost");
        outcome.forbid(self.ledger.skipped, "messages out of order or lost");
        outcome.forbid(self.ledger.repeated, "messages twice or late");
        outcome.forbid(self.strange_count, "answers that were not expected");
        for what in &self.strange {
            outcome.violation(what.clone());
        }
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

impl Traffic for Audience {
    fn on_message(&mut self, link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        let stamp = match self.reader.stamp(link % self.rooms, message.payload) {
            Ok(stamp) => stamp,
            Err(what) => {
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
        let expected = self.ledger.enter(link, publisher, stamp.sequence);
        if expected
            && let Some((awaited, last)) = &mut self.awaited
            && let Some(left) = awaited.get_mut(stamp.sequence as usize)
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                last.record(age_ns);
            }
        }
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}
