//! `flood-room`: publishers without pause on shard 0, reading members on shard 1.
//! What was accepted is delivered in order, or the publisher or the member is
//! told; the memory that it takes is bounded and comes back.

use super::attack::{self, Attack, Attacked};
use super::crowd::Crowd;
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::judge;
use super::options::Plan;
use crate::outcome::Unit;
use anyhow::Result;
use std::time::Duration;

/// Above idle, at any time.
const PEAK_BYTES: u64 = 128 << 20;
/// Above idle, once everyone has left.
const SETTLED_BYTES: u64 = 64 << 20;
/// How long the memory may take to come back.
const SETTLE: Duration = Duration::from_secs(30);

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &[])?;
    let (mine, others) = if plan.shards() > 1 { (Some(0), Some(1)) } else { (None, None) };
    let flooders = usize::from(plan.options.flooders);
    let members = plan.connections(200, 100);
    let size = plan.size(100);
    let room = attack::attack_room();
    let target = stage.target();
    let crowd = Crowd::open(target, members, others, room.clone(), Some(flooders))?;
    let flood = Flood::open(target, flooders, mine, Audience::Rooms(room), size)?;
    let attack = Attack { duration: plan.duration(10), in_room: true, from_now: false };
    let (attacked, crowding) = attack.run_with(plan, &stage, flood, crowd)?;
    let Attacked { observed, flooded } = attacked;
    let peak = stage.grown().1;

    findings.note(format!("{flooders} flooders, {members} members, {size} bytes"));
    findings.figure("messages sent", flooded.sent as f64, Unit::Count);
    findings.figure("deliveries", crowding.delivered as f64, Unit::Count);
    // An error stands for a message that nobody got.
    let told = flooded.errors * members as u64;
    findings.none("deliveries lost in silence", crowding.missing.saturating_sub(told));
    findings.none("deliveries out of order or twice", crowding.disordered);
    // They read all the time; that some are late is the fault of few cores.
    findings.none("members cut without 1013", crowding.losses.count() - crowding.told);
    let most = (members / 10) as f64;
    findings.at_most("members closed with 1013", crowding.told as f64, Unit::Count, most);
    attack::tell_flood(&mut findings, &flooded);
    findings.at_most("resident above idle, peak", peak as f64, Unit::Bytes, PEAK_BYTES as f64);
    let (settled, took) = stage.settle(SETTLED_BYTES, SETTLE);
    let what = format!("resident above idle, {} s after", took.as_secs());
    findings.at_most(&what, settled as f64, Unit::Bytes, SETTLED_BYTES as f64);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
