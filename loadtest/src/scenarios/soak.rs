//! `soak`: publishers in many rooms for a long while. Every message must reach
//! every member of its room, in the order of its publisher, and only once.

use super::audience::Audience;
use super::schedule::Schedule;
use super::{Plan, linger, per_second};
use crate::client::opening::{Until, open_all};
use crate::clock::now_ns;
use crate::measure::Window;
use crate::report::{Outcome, Unit};
use anyhow::Result;

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let (rooms, publishers) = (plan.rooms, plan.publishers);
    let mut audience = Audience::new(plan, rooms, publishers)?;
    let mut schedule = Schedule::new(now_ns(), plan.rate, rooms, publishers, plan.duration)?;
    let until = Until::Subscribed { rooms };
    let (mut swarm, _) = open_all(&plan.target, plan.connections, until)?;
    schedule.begin_at(now_ns());
    let window = Window::begin(plan.server);
    let per_room = schedule.total() / rooms as u64;
    let wanted = per_room * plan.connections as u64;
    audience.play(&mut swarm, &mut schedule, wanted)?;
    let usage = window.end();
    let delivered = audience.ledger.delivered;
    linger(&mut swarm, &mut audience)?;

    let mut outcome = Outcome::new("soak");
    outcome.setting("rooms", rooms);
    outcome.setting("publishers", publishers);
    outcome.setting("rate", plan.rate);
    outcome.setting("size", plan.size);
    let published = schedule.issued() as f64;
    outcome.figure("published", "messages published", published, Unit::Count);
    outcome.figure("wanted", "deliveries due", wanted as f64, Unit::Count);
    outcome.figure("delivered", "deliveries", delivered as f64, Unit::Count);
    let rate = per_second(delivered, usage.wall_ns);
    outcome.figure("rate", "deliveries", rate, Unit::PerSecond);
    outcome.usage(usage, delivered, "delivery");
    outcome.latency("delivery", "each delivery", &audience.latency[0]);
    outcome.latency("lag", "publisher behind its schedule", &audience.lag);
    audience.judge(&mut outcome, audience.missing(0..plan.connections));
    outcome.forbid_losses(&audience.losses);
    Ok(outcome)
}
