//! `flood-everyone`: clients that broadcast without pause beside clients that
//! read and answer pings. None of those is closed, and the server still has time
//! for everybody else.

use super::attack::{self, Attack, Attacked};
use super::crowd::Crowd;
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::judge;
use super::options::Plan;
use crate::outcome::Unit;
use anyhow::Result;
use std::time::Duration;

/// The silence after which a client is pinged and closed: short, so that a
/// server that does not listen shows within seconds.
const FLAGS: [&str; 4] = ["--ping-interval", "1s", "--pong-timeout", "3s"];

/// Twice the time-out: a shorter run shows nothing.
const LEAST: Duration = Duration::from_secs(6);

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &FLAGS)?;
    let members = plan.connections(900, 300);
    let flooders = usize::from(plan.options.flooders);
    let crowd = Crowd::open(stage.target(), members, None, 0..0, None)?;
    let everyone = Audience::Everyone;
    let flood = Flood::open(stage.target(), flooders, None, everyone, plan.size(100))?;
    let duration = plan.duration(10).max(LEAST);
    let attack = Attack { duration, in_room: false, from_now: false };
    let (attacked, crowding) = attack.run_with(plan, &stage, flood, crowd)?;
    let Attacked { observed, flooded } = attacked;

    findings.note(format!("{flooders} flooders, {members} healthy clients"));
    findings.figure("broadcasts sent", flooded.sent as f64, Unit::Count);
    findings.figure("deliveries", crowding.delivered as f64, Unit::Count);
    findings.none("healthy clients closed", crowding.losses.count());
    if crowding.losses.count() > 0 {
        findings.note(format!("healthy clients: {}", crowding.losses));
    }
    findings.none("deliveries lost in silence", crowding.missing);
    attack::tell_flood(&mut findings, &flooded);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
