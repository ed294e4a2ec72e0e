//! `connect`: how long it takes until all connections are upgraded and
//! subscribed, spread over rooms.

use super::{Plan, per_second};
use crate::client::Swarm;
use crate::client::opening::{Until, open};
use crate::measure::Window;
use crate::report::{Outcome, Unit};
use anyhow::Result;

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let mut swarm = Swarm::new(&plan.target)?;
    let window = Window::begin(plan.server);
    let until = Until::Subscribed { rooms: plan.rooms };
    let opened = open(&mut swarm, plan.connections, until)?;
    let usage = window.end();

    let mut outcome = Outcome::new("connect");
    let count = opened.count as u64;
    outcome.setting("rooms", plan.rooms);
    outcome.figure("opened", "connections open", count as f64, Unit::Count);
    let failed = opened.losses.count();
    outcome.figure("failed", "connections failed", failed as f64, Unit::Count);
    let took = opened.took_ns as f64;
    outcome.figure("all_ns", "time to the last", took, Unit::Nanoseconds);
    let rate = per_second(count, opened.took_ns);
    outcome.figure("rate", "connections", rate, Unit::PerSecond);
    outcome.usage(usage, count, "connection");
    let label = "connect to subscribed";
    outcome.latency("open", label, &opened.latency);
    outcome.forbid_losses(&opened.losses);
    Ok(outcome)
}
