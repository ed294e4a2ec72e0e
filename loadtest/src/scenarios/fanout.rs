//! `fanout`: one publisher at a fixed rate into one room of all connections.

use super::audience::Audience;
use super::schedule::Schedule;
use super::{Plan, linger, per_second};
use crate::client::opening::{Until, open_all};
use crate::clock::now_ns;
use crate::measure::Window;
use crate::report::{Outcome, Unit};
use anyhow::Result;

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let mut audience = Audience::new(plan, 1, 1)?;
    let mut schedule = Schedule::new(now_ns(), plan.rate, 1, 1, plan.duration)?;
    let members = plan.connections;
    let everyone = Until::Subscribed { rooms: 1 };
    let (mut swarm, _) = open_all(&plan.target, members, everyone)?;
    schedule.begin_at(now_ns());
    audience.await_last(members as u32, schedule.total());
    let window = Window::begin(plan.server);
    let wanted = schedule.total() * members as u64;
    audience.play(&mut swarm, &mut schedule, wanted)?;
    let usage = window.end();
    let delivered = audience.ledger.delivered;
    linger(&mut swarm, &mut audience)?;

    let mut outcome = Outcome::new("fanout");
    outcome.setting("rate", plan.rate);
    outcome.setting("size", plan.size);
    let published = schedule.issued() as f64;
    outcome.figure("published", "messages published", published, Unit::Count);
    outcome.figure("delivered", "deliveries", delivered as f64, Unit::Count);
    let rate = per_second(delivered, usage.wall_ns);
    outcome.figure("rate", "deliveries", rate, Unit::PerSecond);
    outcome.usage(usage, delivered, "delivery");
    outcome.latency("delivery", "each delivery", &audience.latency[0]);
    if let Some(last) = audience.last() {
        outcome.latency("last", "last delivery of a message", last);
    }
    outcome.latency("lag", "publisher behind its schedule", &audience.lag);
    audience.judge(&mut outcome, audience.missing(0..members));
    outcome.forbid_losses(&audience.losses);
    Ok(outcome)
}
