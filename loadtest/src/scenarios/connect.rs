//! `connect`: how long it takes until all connections are upgraded and
//! subscribed, spread over rooms.

use super::Plan;
use super::watch::per_second;
use crate::client::Swarm;
use crate::client::opening::{Opened, Seats, Until, open};
use crate::measure::Usage;
use crate::outcome::{Outcome, Unit};
use crate::share::{Part, Share};
use anyhow::Result;

/// The connections of one process. Opening them is the load.
pub(super) struct Connect {
    plan: Plan,
    swarm: Swarm,
    opened: Option<Opened>,
}

impl Connect {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self { swarm: plan.swarm()?, plan: plan.clone(), opened: None })
    }
}

impl Share for Connect {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let seats = Seats::Spread { first: self.plan.first_room, rooms: self.plan.rooms };
        let until = Until::Subscribed(seats);
        self.opened = Some(open(&mut self.swarm, self.plan.connections, until)?);
        Ok(())
    }

    fn finish(&mut self) -> Result<Part> {
        let mut part = Part::default();
        if let Some(opened) = self.opened.take() {
            part.count("opened", opened.count as u64);
            part.count("failed", opened.losses.count());
            part.latency("open", &opened.latency);
            part.losses = opened.losses;
            part.series = opened.series;
            part.ended_ns = opened.last_ns;
        }
        Ok(part)
    }
}

/// `begun_ns` is when the first was dialled.
pub(super) fn outcome(plan: &Plan, part: &Part, usage: Usage, begun_ns: u64) -> Outcome {
    let mut outcome = Outcome::new("connect");
    let opened = part.counted("opened");
    let took_ns = part.ended_ns.saturating_sub(begun_ns);
    outcome.setting("rooms", plan.rooms);
    outcome.figure("opened", "connections open", opened as f64, Unit::Count);
    let failed = part.counted("failed") as f64;
    outcome.figure("failed", "connections failed", failed, Unit::Count);
    outcome.figure("all_ns", "time to the last", took_ns as f64, Unit::Nanoseconds);
    outcome.figure("rate", "connections", per_second(opened, took_ns), Unit::PerSecond);
    outcome.usage(usage, opened, "connection");
    outcome.latency("open", "connect to subscribed", &part.latency_of("open"));
    outcome
}
