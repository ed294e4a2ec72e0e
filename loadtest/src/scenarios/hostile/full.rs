//! `full`: the server has no descriptor left, and hundreds of surplus clients say
//! nothing. A further one is told at once, the health is answered, and the log
//! stays short.

use super::crowd::TRY_AGAIN_LATER;
use super::findings::Findings;
use super::judge;
use super::options::Plan;
use super::seats::Deaf;
use super::stage::Stage;
use crate::client::opening::{Until, open};
use crate::client::{Swarm, Target, Wire};
use crate::clock::{nanoseconds, now_ns};
use crate::measure::Latency;
use crate::outcome::Unit;
use anyhow::Result;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The limit of open files that many systems have for a service.
const DESCRIPTORS: u64 = 1_024;

/// Connections opened at a time: few enough that those who are told too much do
/// not take the descriptors that telling needs.
const STEP: usize = 16;

/// From one further client to the next.
const INTERVAL: Duration = Duration::from_millis(500);
/// Twice what is promised.
const PATIENCE: Duration = Duration::from_secs(2);
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// From its connect to its Close frame.
const TOLD_MS: f64 = 1_000.0;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = plan.findings();
    let stage = Stage::start_limited(plan, &[], Some(DESCRIPTORS))?;
    let watch = stage.watch(plan, false)?;
    let mut swarm = Swarm::new(stage.target())?;
    let open_count = fill(&mut swarm)?;
    let mut silent = Vec::new();
    for _ in 0..plan.connections(300, 300) {
        // One that cannot connect is one fewer.
        silent.extend(Wire::connect(stage.target(), FROM, None, PATIENCE));
    }
    let logged = stage.log.count();
    let begun_ns = now_ns();
    let end = stage.end_after(plan.duration(5));
    let mut told = Latency::new();
    let mut untold = Vec::new();
    while !end.is_reached() {
        match be_told(stage.target()) {
            Ok(took_ns) => told.record(took_ns),
            Err(why) => untold.push(why),
        }
        let next_ns = now_ns() + nanoseconds(INTERVAL);
        while now_ns() < next_ns {
            swarm.turn(next_ns, &mut Deaf)?;
        }
    }
    let seconds = (now_ns() - begun_ns) as f64 / 1e9;
    let lines = stage.log.count() - logged;
    let observed = watch.end()?;
    drop(swarm);

    findings.note(format!("{DESCRIPTORS} descriptors, {} silent surplus clients", silent.len()));
    findings.figure("connections open", open_count as f64, Unit::Count);
    findings.none("further clients not told 1013", untold.len() as u64);
    findings.percentile("further clients: told after, slowest", &told, 100.0, TOLD_MS);
    findings.note_first("a further client", &untold);
    findings.at_most("log lines", lines as f64, Unit::Count, seconds.ceil());
    findings.note_first("log", &stage.log.first());
    judge::strangers(&mut findings, &observed);
    judge::health(&mut findings, &observed);
    Ok(findings)
}

/// Opens connections until the server has told one that it is full, and lets
/// those that were told go.
fn fill(swarm: &mut Swarm) -> Result<usize> {
    let mut count = 0;
    while count < DESCRIPTORS as usize {
        let Ok(opened) = open(swarm, STEP, Until::Greeted) else {
            break;
        };
        count += opened.count;
        if opened.losses.count() > 0 {
            break;
        }
    }
    let end_ns = now_ns() + nanoseconds(INTERVAL);
    while now_ns() < end_ns {
        swarm.turn(end_ns, &mut Deaf)?;
    }
    Ok(count)
}

/// Comes in and waits for the Close frame. Gives the time it took.
fn be_told(target: &Target) -> Result<u64, String> {
    let begun_ns = now_ns();
    let opened = Wire::open(target, FROM, None, PATIENCE);
    let mut wire = opened.map_err(|loss| loss.to_string())?;
    loop {
        match wire.sip(1024).map_err(|loss| loss.to_string())?.closed {
            None => {}
            Some(TRY_AGAIN_LATER) => return Ok(now_ns() - begun_ns),
            Some(code) => return Err(format!("closed with {code}")),
        }
    }
}
