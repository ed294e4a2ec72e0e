//! `flood-everyone`: clients that broadcast without pause beside clients that
//! read and answer pings. None of those is closed, and the server still has time
//! for everybody else.

use super::crowd::{Crowd, Progress};
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::options::Plan;
use super::stage::{Stage, beside, join};
use super::{judge, tell_flood};
use crate::outcome::Unit;
use anyhow::Result;
use std::sync::Arc;

/// The silence after which a client is pinged and closed: short, so that a
/// server that does not listen shows within seconds.
const FLAGS: [&str; 4] = ["--ping-interval", "1s", "--pong-timeout", "3s"];

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = plan.findings();
    let stage = Stage::start(plan, &FLAGS)?;
    let members = plan.connections(900, 300);
    let flooders = usize::from(plan.options.flooders);
    let crowd = Crowd::open(stage.target(), members, None, 0..0, None)?;
    let everyone = Audience::Everyone;
    let flood = Flood::open(stage.target(), flooders, None, everyone, plan.size(100))?;
    let watch = stage.watch(plan, false)?;

    let progress = Arc::new(Progress::default());
    let reading = {
        let progress = Arc::clone(&progress);
        beside(move || crowd.run(&progress))
    };
    let end = stage.end_after(plan.duration(10).max(std::time::Duration::from_secs(6)));
    let flooding = {
        let (progress, end) = (Arc::clone(&progress), end.clone());
        beside(move || flood.run(&end, &progress))
    };
    end.wait();
    let observed = watch.end()?;
    let crowding = join(reading)??;
    let flooded = join(flooding)??;

    findings.note(format!("{flooders} flooders, {members} healthy clients"));
    findings.figure("broadcasts sent", flooded.sent as f64, Unit::Count);
    findings.figure("deliveries", crowding.delivered as f64, Unit::Count);
    findings.none("healthy clients closed", crowding.losses.count());
    if crowding.losses.count() > 0 {
        findings.note(format!("healthy clients: {}", crowding.losses));
    }
    findings.none("deliveries lost in silence", crowding.missing);
    tell_flood(&mut findings, &flooded);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
