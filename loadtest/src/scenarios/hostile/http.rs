//! `http`: one address takes as many HTTP connections as it gets, and keeps them
//! open, or sends request after request and never reads. Probes from another
//! address are answered.

use super::findings::Findings;
use super::judge;
use super::options::Plan;
use super::pushers::Pushers;
use super::stage::Stage;
use crate::client::Wire;
use crate::outcome::Unit;
use anyhow::Result;
use std::net::Ipv4Addr;
use std::time::Duration;

const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PATIENCE: Duration = Duration::from_secs(2);

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: load\r\n\r\n";

/// The one and the other.
const KEPT: usize = 1_100;
const PIPELINED: usize = 1_024;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = plan.findings();
    for (what, count) in [("kept open", KEPT), ("never read", PIPELINED)] {
        let stage = Stage::start(plan, &[])?;
        let count = plan.connections(count, count);
        let mut idle = Vec::new();
        let mut pushers = Pushers::default();
        for _ in 0..count {
            let connected = Wire::connect(stage.target(), FROM, None, PATIENCE);
            let Ok(mut wire) = connected else {
                continue;
            };
            if what == "never read" {
                pushers.add(wire, REQUEST)?;
            } else if wire.send(REQUEST).is_ok() {
                idle.push(wire);
            }
        }
        let watch = stage.watch(plan, false)?;
        let (taken, closed) = pushers.run(&stage.end_after(plan.duration(5)));
        let observed = watch.end()?;
        findings.note(format!("{count} connections, {what}"));
        findings.group(what);
        if what == "never read" {
            findings.figure("bytes that the server took", taken as f64, Unit::Bytes);
            findings.figure("connections closed", closed as f64, Unit::Count);
        }
        judge::strangers(&mut findings, &observed);
        judge::newcomers(&mut findings, &observed);
        judge::health(&mut findings, &observed);
        findings.group("");
    }
    Ok(findings)
}
