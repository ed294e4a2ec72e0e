//! `frozen`: the server's process stands still for longer than its pong timeout,
//! as on a machine that is paused or migrated. Whoever answers afterwards stays.

use super::attack;
use super::crowd::Crowd;
use super::findings::Findings;
use super::options::Plan;
use super::stage::{beside, join};
use crate::outcome::Unit;
use anyhow::Result;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const FLAGS: [&str; 4] = ["--ping-interval", "1s", "--pong-timeout", "2s"];

/// How long the server stands still, unless told otherwise.
const PAUSE: Duration = Duration::from_secs(3);

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &FLAGS)?;
    let members = plan.connections(1_000, 200);
    let crowd = Crowd::open(stage.target(), members, None, attack::attack_room(), None)?;
    let stop = Arc::new(AtomicBool::new(false));
    let staying = {
        let stop = Arc::clone(&stop);
        beside(move || crowd.stay(&stop))
    };
    // The unread bytes of those who speak meanwhile wait in their sockets.
    let watch = stage.watch(plan, true)?;
    thread::sleep(Duration::from_secs(1));
    stage.server.signal(Signal::STOP)?;
    let pause = plan.options.frozen_for.unwrap_or(PAUSE);
    thread::sleep(pause);
    stage.server.signal(Signal::CONT)?;
    thread::sleep(plan.duration(5));
    let observed = watch.end()?;
    stop.store(true, Ordering::Relaxed);
    let crowding = join(staying)??;

    findings.note(format!("stopped for {} s, pong timeout 2 s", pause.as_secs()));
    findings.figure("clients that answer", members as f64, Unit::Count);
    findings.none("of them closed", crowding.losses.count());
    if crowding.losses.count() > 0 {
        findings.note(format!("clients: {}", crowding.losses));
    }
    let heard = &observed.heard;
    findings.none("clients closed that spoke meanwhile", heard.losses.count());
    findings.none("deliveries lost", heard.missing);
    findings.none("deliveries out of order or twice", heard.disordered);
    let after = observed.newcomers.latency.histogram();
    findings.figure("newcomers: slowest", after.max() as f64, Unit::Nanoseconds);
    Ok(findings)
}
