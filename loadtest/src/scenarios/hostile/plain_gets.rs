//! `plain-gets`: thousands of plain requests at once, again and again, beside
//! strangers. Their sockets leave the shards for the HTTP side; the strangers do
//! not notice.

use super::attack;
use super::findings::Findings;
use super::judge;
use super::options::Plan;
use super::stage::{beside, join};
use crate::client::Wire;
use crate::outcome::Unit;
use anyhow::Result;
use std::net::Ipv4Addr;
use std::time::Duration;

const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PATIENCE: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n";

/// How many times the strangers' p99 without.
const FACTOR: f64 = 3.0;

/// A p99 without load that is shorter than this says nothing: it is the
/// scheduler's.
const LEAST_NS: f64 = 5e6;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &[])?;
    let count = plan.connections(2_000, 1_000);
    let duration = plan.duration(5);
    let quiet = stage.watch(plan, true)?;
    stage.end_after(duration).wait();
    let quiet = quiet.end()?;

    let watch = stage.watch(plan, true)?;
    let end = stage.end_after(duration);
    let target = stage.target().clone();
    let asking = beside(move || {
        let (mut sent, mut answered) = (0u64, 0u64);
        while !end.is_reached() {
            let connect = |_| Wire::connect(&target, FROM, None, PATIENCE).ok();
            let mut wires: Vec<Wire> = (0..count).filter_map(connect).collect();
            wires.retain_mut(|wire| wire.send(REQUEST).is_ok());
            sent += wires.len() as u64;
            let answers = wires.iter_mut().filter_map(|wire| wire.read_to_end().ok());
            answered += answers.filter(|answer| answer.starts_with(b"HTTP/1.1 ")).count() as u64;
        }
        (sent, answered)
    });
    let (sent, answered) = join(asking)?;
    let observed = watch.end()?;

    findings.note(format!("{count} requests at once"));
    findings.figure("requests", sent as f64, Unit::Count);
    findings.figure("answers", answered as f64, Unit::Count);
    let p99 = |pongs: &crate::measure::Latency| pongs.histogram().value_at_percentile(99.0) as f64;
    let without = p99(&quiet.heard.pongs);
    findings.figure("stranger's ping without, p99", without, Unit::Nanoseconds);
    let bar = FACTOR * without.max(LEAST_NS);
    findings.at_most(
        "stranger's ping with, p99",
        p99(&observed.heard.pongs),
        Unit::Nanoseconds,
        bar,
    );
    let worst = observed.heard.pongs.histogram().max();
    findings.figure("stranger's ping with, slowest", worst as f64, Unit::Nanoseconds);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
