//! `fanout`: one publisher at a fixed rate into one room. Its members may be
//! few among many connections that do nothing, and a share of them may never
//! read: the others' latency is what counts.

use super::Plan;
use super::audience::{self, Audience};
use super::schedule::Schedule;
use super::watch::{linger, per_second};
use crate::client::Swarm;
use crate::client::opening::{Seats, Until, open};
use crate::clock::now_ns;
use crate::measure::Usage;
use crate::outcome::{Outcome, Unit};
use crate::share::{Part, Share};
use anyhow::Result;

/// One process's members, and in the first process the publisher.
pub(super) struct Fanout {
    plan: Plan,
    /// Members that read.
    readers: Vec<usize>,
    audience: Audience,
    schedule: Schedule,
    swarm: Swarm,
}

impl Fanout {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        let room = Plan { first_room: 0, ..plan.clone() };
        Ok(Self {
            readers: readers(plan.members, plan.stalled_percent),
            audience: Audience::new(&room, plan.members, 1, 1)?,
            schedule: Schedule::new(now_ns(), plan.rate, 1, 1, plan.duration)?,
            swarm: plan.swarm()?,
            plan: plan.clone(),
        })
    }

    fn publishes(&self) -> bool {
        self.plan.process == 0
    }
}

/// The members that read: the publisher, which is the first, and of the others
/// all but `stalled_percent`, evenly spread.
fn readers(members: usize, stalled_percent: usize) -> Vec<usize> {
    let stalled_before = |member: usize| member * stalled_percent / 100;
    let reads =
        |member: &usize| *member == 0 || stalled_before(*member) == stalled_before(*member - 1);
    (0..members).filter(reads).collect()
}

impl Share for Fanout {
    fn open(&mut self) -> Result<()> {
        let Plan { members, first_room, connections, .. } = self.plan;
        let seats = Seats::Among { members, others_from: first_room + 1 };
        open(&mut self.swarm, connections, Until::Subscribed(seats))?.all()?;
        let mut reading = self.readers.iter().peekable();
        for member in 0..members {
            if reading.next_if(|reader| **reader == member).is_none() {
                self.swarm.ignore(member)?;
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let readers = self.readers.len();
        let total = self.schedule.total();
        let wanted = total * readers as u64;
        self.audience.await_last(readers, total);
        if self.publishes() {
            self.schedule.begin_at(now_ns());
            return self.audience.play(&mut self.swarm, &mut self.schedule, wanted);
        }
        self.audience.written_elsewhere(total);
        self.audience.listen(&mut self.swarm, self.plan.duration, wanted)
    }

    fn finish(&mut self) -> Result<Part> {
        linger(&mut self.swarm, &mut self.audience)?;
        let missing = self.audience.missing(self.readers.iter().copied());
        let mut part = self.audience.part(missing);
        part.count("published", self.schedule.issued());
        part.count("stalled", (self.plan.members - self.readers.len()) as u64);
        Ok(part)
    }
}

pub(super) fn outcome(plan: &Plan, part: &Part, usage: Usage) -> Outcome {
    let mut outcome = Outcome::new("fanout");
    outcome.setting("rate", plan.rate);
    outcome.setting("size", plan.size);
    outcome.setting("members", plan.members);
    let mut count = |key: &'static str, label: &str| {
        outcome.figure(key, label, part.counted(key) as f64, Unit::Count);
    };
    count("published", "messages published");
    count("delivered", "deliveries");
    if plan.stalled_percent > 0 {
        count("stalled", "members that never read");
    }
    let delivered = part.counted("delivered");
    let rate = per_second(delivered, usage.wall_ns);
    outcome.figure("rate", "deliveries", rate, Unit::PerSecond);
    outcome.usage(usage, delivered, "delivery");
    outcome.latency("delivery", "each delivery", &part.latency_of("delivery"));
    outcome.latency("last", "last delivery of a message", &part.last_latency());
    outcome.latency("lag", "publisher behind its schedule", &part.latency_of("lag"));
    audience::judge(&mut outcome, part);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_never_reads_is_spread_and_spares_the_publisher() {
        assert_eq!(readers(10, 0).len(), 10);
        assert_eq!(readers(10, 20), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
        let readers = readers(1_001, 10);
        assert_eq!((readers.len(), readers[0]), (901, 0));
    }
}
