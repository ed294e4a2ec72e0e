//! `stalled-large`: members that never read while a publisher that reads sends
//! large messages. What the kernel keeps for each of them is bounded, and nobody
//! who reads is closed.

use super::attack::{self, Attack, Attacked};
use super::crowd::Crowd;
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::lossy::SMALL_SOCKET;
use super::options::Plan;
use super::{judge, seats};
use crate::client::Swarm;
use crate::outcome::Unit;
use anyhow::Result;

/// Members that read.
const READERS: usize = 5;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &[])?;
    let target = stage.target();
    let stalled = plan.connections(500, 100);
    let size = plan.size(100_000);
    let room = attack::attack_room();
    let mut swarm = Swarm::new(target)?;
    swarm.limit_socket(SMALL_SOCKET);
    let links = seats::open_on(&mut swarm, stalled, None)?;
    seats::subscribe(&mut swarm, &links, room.clone())?;
    let crowd = Crowd::open(target, READERS, None, room.clone(), Some(1))?;
    let flood = Flood::open(target, 1, None, Audience::Rooms(room), size)?;
    for link in links {
        swarm.ignore(link)?;
    }
    let attack = Attack { duration: plan.duration(8), in_room: true, from_now: true };
    let (attacked, crowding) = attack.run_with(plan, &stage, flood, crowd)?;
    let Attacked { observed, flooded } = attacked;
    drop(swarm);

    findings.note(format!("{stalled} stalled, {size} bytes"));
    findings.figure("messages sent", flooded.sent as f64, Unit::Count);
    let each = stage.kernel_grown() as f64 / stalled as f64;
    let bar = plan.options.kernel_bytes as f64;
    findings.at_most("kernel memory per stalled reader", each, Unit::Bytes, bar);
    let resident = stage.grown().1 as f64;
    findings.figure("resident above idle, peak", resident, Unit::Bytes);
    findings.none("members that read closed", crowding.losses.count());
    findings.none("deliveries lost in silence", crowding.missing);
    findings.none("publishers that read closed", flooded.losses.count());
    attack::tell_flood(&mut findings, &flooded);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
