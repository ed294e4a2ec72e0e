//! `drain`: SIGTERM in the middle of traffic. A publication that its publisher
//! got back before its close is acknowledged: it must reach every member of the
//! room before theirs. Every client must see close 1001, the server exit 0.

use super::Plan;
use super::audience::{self, Audience};
use super::schedule::Schedule;
use super::watch::Watch;
use crate::client::opening::{Seats, Until, open_all};
use crate::client::{Loss, Swarm};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::SERVER_STOP;
use crate::outcome::{Outcome, Unit};
use crate::server_process::ServerProcess;
use anyhow::{Result, bail, ensure};
use std::time::Duration;

/// Traffic goes on for so long after the signal, if the server lets it.
const AFTER: Duration = Duration::from_secs(2);

/// "Going away" (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

pub(super) fn run(plan: &Plan, server: &mut ServerProcess) -> Result<Outcome> {
    ensure!(server.is_own(), "drain stops the server, and only one that this program started");
    let (rooms, publishers) = (plan.rooms, plan.publishers);
    let mut audience = Audience::new(plan, plan.connections, rooms, publishers)?;
    let whole = plan.duration + AFTER;
    let mut schedule = Schedule::new(now_ns(), plan.rate, rooms, publishers, whole)?;
    let until = Until::Subscribed(Seats::Spread { first: 0, rooms });
    let (mut swarm, _) = open_all(&plan.target, plan.connections, until)?;
    schedule.begin_at(now_ns());
    let stop_ns = now_ns() + nanoseconds(plan.duration);
    play(&mut audience, &mut swarm, &mut schedule, stop_ns)?;
    if audience.losses.count() > 0 {
        bail!("connections lost before the signal: {}", audience.losses);
    }

    let signalled_ns = now_ns();
    server.terminate()?;
    let all = plan.connections as u64;
    let mut watch = Watch::new();
    while audience.losses.count() < all && !watch.is_stalled(audience.losses.count()) {
        audience.publish(&mut swarm, &mut schedule);
        let next_ns = schedule.next_due_ns().unwrap_or(u64::MAX);
        swarm.turn(next_ns.min(watch.deadline_ns()), &mut audience)?;
    }
    let closed_ns = now_ns() - signalled_ns;
    let deadline_ns = signalled_ns + nanoseconds(SERVER_STOP);
    let mut status = server.exited();
    while status.is_none() && now_ns() < deadline_ns {
        swarm.turn(now_ns() + 1_000_000, &mut audience)?;
        status = server.exited();
    }
    let ended_ns = now_ns() - signalled_ns;

    let mut outcome = outcome(plan, &audience);
    let label = "signal to the last close";
    outcome.figure("closed_ns", label, closed_ns as f64, Unit::Nanoseconds);
    let label = "signal to the server's end";
    outcome.figure("ended_ns", label, ended_ns as f64, Unit::Nanoseconds);
    match status {
        Some(status) if status.success() => {}
        Some(status) => outcome.violation(format!("the server ended with {status}")),
        None => outcome.violation("the server did not end"),
    }
    Ok(outcome)
}

/// What the clients saw.
fn outcome(plan: &Plan, audience: &Audience) -> Outcome {
    let mut outcome = Outcome::new("drain");
    outcome.setting("rooms", plan.rooms);
    outcome.setting("publishers", plan.publishers);
    outcome.setting("rate", plan.rate);
    let closed = audience.losses.of(&Loss::Closed(GOING_AWAY));
    let label = "clients that saw 1001";
    outcome.figure("closed", label, closed as f64, Unit::Count);
    let acknowledged = acknowledged(audience) as f64;
    let label = "messages acknowledged";
    outcome.figure("acknowledged", label, acknowledged, Unit::Count);
    let delivered = audience.ledger.delivered as f64;
    outcome.figure("delivered", "deliveries", delivered, Unit::Count);
    audience::judge(&mut outcome, &audience.part(missing(audience, plan.connections)));
    if closed < plan.connections as u64 {
        let (all, losses) = (plan.connections, &audience.losses);
        outcome.violation(format!("{closed} of {all} clients saw 1001: {losses}"));
    }
    outcome
}

/// Keeps up the traffic until `stop_ns`.
fn play(
    audience: &mut Audience,
    swarm: &mut Swarm,
    schedule: &mut Schedule,
    stop_ns: u64,
) -> Result<()> {
    while now_ns() < stop_ns {
        audience.publish(swarm, schedule);
        let next_ns = schedule.next_due_ns().unwrap_or(u64::MAX);
        swarm.turn(next_ns.min(stop_ns), audience)?;
    }
    Ok(())
}

fn publishers(audience: &Audience) -> impl Iterator<Item = (usize, usize, u32)> {
    (0..audience.rooms).flat_map(move |room| {
        (0..audience.publishers).map(move |publisher| {
            let itself = room + publisher * audience.rooms;
            (room, publisher, audience.ledger.passed(itself, publisher))
        })
    })
}

fn acknowledged(audience: &Audience) -> u64 {
    publishers(audience).map(|(_, _, count)| u64::from(count)).sum()
}

/// Acknowledged publications that some member has not got.
fn missing(audience: &Audience, connections: usize) -> u64 {
    publishers(audience)
        .flat_map(|(room, publisher, acknowledged)| {
            (room..connections).step_by(audience.rooms).map(move |member| {
                let passed = audience.ledger.passed(member, publisher);
                u64::from(acknowledged.saturating_sub(passed))
            })
        })
        .sum()
}
