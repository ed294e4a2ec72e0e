//! `hold`: a publisher that never pauses into a room whose one member reads at a
//! steady rate, so that it is held and released again and again. What that costs
//! is told: the server's share of a core, and its processor time for a message.

use super::crowd::Progress;
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::options::Plan;
use super::sippers::{Ending, Sipper};
use super::stage::{Stage, beside, join};
use super::{attack_room, judge, tell_flood};
use crate::measure::Window;
use crate::outcome::Unit;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes a second that the member reads.
const RATE: usize = 8_000_000;
const SOCKET: usize = 64 * 1024;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = plan.findings();
    let stage = Stage::start(plan, &[])?;
    let room = attack_room();
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
    findings.figure("bytes read by the member", read as f64, Unit::Bytes);
    let cpu_ns = usage.server_cpu_ns.unwrap_or(0) as f64;
    findings.figure("server CPU", cpu_ns / usage.wall_ns as f64, Unit::Share);
    let each = cpu_ns / flooded.sent.max(1) as f64;
    findings.figure("server CPU per message", each, Unit::Nanoseconds);
    findings.none("members that read closed", u64::from(ending != Ending::Stayed));
    if ending != Ending::Stayed {
        findings.note(format!("the member: {ending:?}"));
    }
    tell_flood(&mut findings, &flooded);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
