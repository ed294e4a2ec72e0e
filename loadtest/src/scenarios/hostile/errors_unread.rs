//! `errors-unread`: clients that send empty frames or what is no JSON, and never
//! read the errors that they are told. What waits for each is bounded.

use super::attack;
use super::findings::Findings;
use super::judge;
use super::lossy::SMALL_SOCKET;
use super::options::Plan;
use super::pushers::Pushers;
use super::stage::{beside, join};
use crate::client::Wire;
use crate::client::frame::{self, TEXT};
use crate::outcome::Unit;
use anyhow::{Context, Result};
use std::net::Ipv4Addr;
use std::time::Duration;

/// 1.1 MiB: what may wait for a slow reader, and what an allocator rounds up.
const EACH_BYTES: f64 = 1.1 * 1024.0 * 1024.0;

const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &[])?;
    let clients = plan.connections(500, 60);
    let mut pushers = Pushers::default();
    for number in 0..clients {
        let mut unit = Vec::new();
        let payload: &[u8] = if number % 2 == 0 { b"" } else { b"{" };
        frame::append(TEXT, payload, &mut unit);
        let opened = Wire::open(stage.target(), FROM, Some(SMALL_SOCKET), PATIENCE);
        let wire = opened.map_err(|loss| anyhow::anyhow!("{loss}"));
        pushers.add(wire.context("a client could not connect")?, &unit)?;
    }
    let watch = stage.watch(plan, true)?;
    stage.rest();
    let end = stage.end_after(plan.duration(12));
    let pushing = beside(move || {
        let done = pushers.run(&end);
        (done, pushers)
    });
    let ((taken, closed), pushers) = join(pushing)?;
    let observed = watch.end()?;
    let each = stage.peak_each(clients);
    drop(pushers);

    findings.note(format!("{clients} clients, half with empty frames, half with invalid JSON"));
    findings.figure("bytes that the server took", taken as f64, Unit::Bytes);
    findings.figure("clients closed", closed as f64, Unit::Count);
    findings.at_most("resident per client, peak", each, Unit::Bytes, EACH_BYTES);
    judge::all(&mut findings, &observed);
    Ok(findings)
}
