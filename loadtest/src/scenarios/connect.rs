//! `connect`: how long it takes until all connections are upgraded and
//! subscribed, spread over rooms.

use super::{Plan, per_second};
use crate::client::opening::{Opened, Until, open};
use crate::client::{Swarm, crew};
use crate::measure::Window;
use crate::report::{Outcome, Unit};
use anyhow::Result;

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let mut swarms = Vec::new();
    for count in crew::shares(plan.connections, plan.threads) {
        swarms.push((Swarm::new(&plan.target)?, count));
    }
    let window = Window::begin(plan.server);
    let until = Until::Subscribed { rooms: plan.rooms };
    let parts = crew::phase(&mut swarms, |(swarm, count)| open(swarm, *count, until))?;
    let usage = window.end();
    let opened = Opened::merge(parts);

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
