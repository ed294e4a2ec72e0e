//! `many-rooms`: readers in 127 rooms each, and one publisher to all of those. A
//! stranger waits no longer for it than with one room and the same deliveries.

use super::crowd::{Crowd, Progress};
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::judge;
use super::options::Plan;
use super::stage::{Observed, Stage, beside, join};
use crate::outcome::Unit;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// Beside the room of its own that every connection may need: 128 is the limit.
const ROOMS: usize = 127;

/// Messages for each second asked for: what one room takes with ease.
const PER_SECOND: u64 = 4_000;

/// How many times the wait with one room.
const FACTOR: f64 = 3.0;

/// A wait with one room that is shorter than this says nothing: it is the
/// scheduler's.
const LEAST_NS: f64 = 20e6;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = plan.findings();
    let readers = plan.connections(300, 100);
    findings.note(format!("{readers} readers, 1 and {ROOMS} rooms"));
    let one = phase(plan, readers, 1, &mut findings)?;
    let many = phase(plan, readers, ROOMS, &mut findings)?;
    let worst = |observed: &Observed| observed.heard.pongs.histogram().max() as f64;
    let bar = FACTOR * worst(&one).max(LEAST_NS);
    findings.figure("1 room: stranger's longest wait", worst(&one), Unit::Nanoseconds);
    let what = format!("{ROOMS} rooms: stranger's longest wait");
    findings.at_most(&what, worst(&many), Unit::Nanoseconds, bar);
    findings.none("strangers closed", many.heard.losses.count());
    judge::newcomers(&mut findings, &many);
    judge::health(&mut findings, &many);
    Ok(findings)
}

fn phase(plan: &Plan, readers: usize, rooms: usize, findings: &mut Findings) -> Result<Observed> {
    let stage = Stage::start(plan, &[])?;
    let duration = plan.duration(5);
    let crowd = Crowd::open(stage.target(), readers, None, 0..rooms, None)?;
    let audience = Audience::Rooms(0..rooms);
    let mut flood = Flood::open(stage.target(), 1, None, audience, plan.size(100))?;
    flood.limit((duration.as_secs() * PER_SECOND) as u32);
    let watch = stage.watch(plan, false)?;
    let progress = Arc::new(Progress::default());
    let reading = {
        let progress = Arc::clone(&progress);
        beside(move || crowd.run(&progress))
    };
    // It ends when all is sent; the time is a bound for servers that hold it.
    let end = stage.end_after(duration + Duration::from_secs(10));
    let flooding = beside(move || flood.run(&end, &progress));
    let crowding = join(reading)??;
    let flooded = join(flooding)??;
    let observed = watch.end()?;
    findings.group(&format!("{rooms} rooms"));
    findings.figure("messages sent", flooded.sent as f64, Unit::Count);
    findings.figure("deliveries", crowding.delivered as f64, Unit::Count);
    findings.none("deliveries lost in silence", crowding.missing);
    findings.none("readers closed", crowding.losses.count());
    findings.group("");
    Ok(observed)
}
