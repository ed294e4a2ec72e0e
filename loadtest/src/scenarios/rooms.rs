//! `rooms` and `soak`: publishers in many rooms. Every message must reach every
//! member of its room, in the order of its publisher, and only once. A soak is
//! the same for a long while.

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

/// The rooms of one process, with all their members and publishers.
pub(super) struct Rooms {
    plan: Plan,
    audience: Audience,
    schedule: Schedule,
    swarm: Swarm,
}

impl Rooms {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        let (rooms, publishers) = (plan.rooms, plan.publishers);
        Ok(Self {
            audience: Audience::new(plan, plan.connections, rooms, publishers)?,
            schedule: Schedule::new(now_ns(), plan.rate, rooms, publishers, plan.duration)?,
            swarm: plan.swarm()?,
            plan: plan.clone(),
        })
    }
}

impl Share for Rooms {
    fn open(&mut self) -> Result<()> {
        let seats = Seats::Spread { first: self.plan.first_room, rooms: self.plan.rooms };
        open(&mut self.swarm, self.plan.connections, Until::Subscribed(seats))?.all()?;
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let per_room = self.schedule.total() / self.plan.rooms as u64;
        let wanted = per_room * self.plan.connections as u64;
        self.schedule.begin_at(now_ns());
        self.audience.play(&mut self.swarm, &mut self.schedule, wanted)
    }

    fn finish(&mut self) -> Result<Part> {
        linger(&mut self.swarm, &mut self.audience)?;
        let missing = self.audience.missing(0..self.plan.connections);
        let mut part = self.audience.part(missing);
        let per_room = self.schedule.total() / self.plan.rooms as u64;
        part.count("wanted", per_room * self.plan.connections as u64);
        part.count("published", self.schedule.issued());
        Ok(part)
    }
}

pub(super) fn outcome(name: &'static str, plan: &Plan, part: &Part, usage: Usage) -> Outcome {
    let mut outcome = Outcome::new(name);
    outcome.setting("rooms", plan.rooms);
    outcome.setting("publishers", plan.publishers);
    outcome.setting("rate", plan.rate);
    outcome.setting("size", plan.size);
    let mut count = |key: &'static str, label: &str| {
        outcome.figure(key, label, part.counted(key) as f64, Unit::Count);
    };
    count("published", "messages published");
    count("wanted", "deliveries due");
    count("delivered", "deliveries");
    let delivered = part.counted("delivered");
    let rate = per_second(delivered, usage.wall_ns);
    outcome.figure("rate", "deliveries", rate, Unit::PerSecond);
    outcome.usage(usage, delivered, "delivery");
    outcome.latency("delivery", "each delivery", &part.latency_of("delivery"));
    outcome.latency("lag", "publisher behind its schedule", &part.latency_of("lag"));
    audience::judge(&mut outcome, part);
    outcome
}
