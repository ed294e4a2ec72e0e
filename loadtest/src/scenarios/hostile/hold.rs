//! `hold`: a publisher that never pauses into a room whose one member reads at a
//! steady rate, so that it is held and released again and again; then publishers
//! that are held for every message, ten thousand times a second. What that costs is
//! told: the server's share of a core, and its processor time for a hold.

use super::crowd::Progress;
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::hold_cycles::{self, Cycled};
use super::options::Plan;
use super::sippers::{Ending, Sipper};
use super::stage::{beside, join};
use super::{attack, judge};
use crate::measure::Window;
use crate::outcome::Unit;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes a second that the member reads.
const RATE: usize = 8_000_000;
const SOCKET: usize = 64 * 1024;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = flooded(plan)?;
    let held = hold_cycles::run(plan, plan.duration(5), true)?;
    let free = hold_cycles::run(plan, plan.duration(5), false)?;
    findings.group("held for each message");
    findings.figure("holds a second", held.rate, Unit::PerSecond);
    findings.figure("server CPU", held.cpu, Unit::Share);
    findings.figure("server CPU per message", held.cpu_ns_each, Unit::Nanoseconds);
    let Cycled { rate, cpu, cpu_ns_each, .. } = free;
    findings.figure("messages a second without a hold", rate, Unit::PerSecond);
    findings.figure("server CPU without a hold", cpu, Unit::Share);
    findings.figure("server CPU per message, no hold", cpu_ns_each, Unit::Nanoseconds);
    findings.none("publishers closed", held.losses.count() + free.losses.count());
    findings.group("");
    Ok(findings)
}

/// The publisher that never pauses.
fn flooded(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &[])?;
    let room = attack::attack_room();
    let sipper = Sipper::open(stage.target(), room.start, RATE, SOCKET)?;
    let flooders = usize::from(plan.options.flooders);
    let audience = Audience::Rooms(room);
    let flood = Flood::open(stage.target(), flooders, None, audience, plan.size(100))?;
    let watch = stage.watch(plan, true)?;
    let progress = Arc::new(Progress::default());
    let end = stage.end_after(plan.duration(5));
    let window = Window::begin(Some(stage.pid));
    let sipping = {
        let end = end.clone();
        beside(move || sipper.run(&end))
    };
    let flooding = {
        let (progress, end) = (Arc::clone(&progress), end.clone());
        beside(move || flood.run(&end, &progress))
    };
    end.wait();
    let usage = window.end();
    let observed = watch.end()?;
    let (ending, read) = join(sipping)?;
    progress.finished.store(true, Ordering::Relaxed);
    let flooded = join(flooding)??;

    findings.note(format!("{flooders} flooders, one member that reads {RATE} B/s"));
    findings.figure("messages sent", flooded.sent as f64, Unit::Count);
    findings.figure("publishers stopped and released", flooded.blocked as f64, Unit::Count);
    findings.figure("bytes read by the member", read as f64, Unit::Bytes);
    let cpu_ns = usage.server_cpu_ns.unwrap_or(0) as f64;
    findings.figure("server CPU", cpu_ns / usage.wall_ns as f64, Unit::Share);
    let each = cpu_ns / flooded.sent.max(1) as f64;
    findings.figure("server CPU per message", each, Unit::Nanoseconds);
    findings.none("members that read closed", u64::from(ending != Ending::Stayed));
    if ending != Ending::Stayed {
        findings.note(format!("the member: {ending:?}"));
    }
    attack::tell_flood(&mut findings, &flooded);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
