//! `lossy`: members that never read, each in 127 rooms, under each policy that
//! drops; the messages are as short as they get. Strangers do not notice, and a
//! stalled client keeps what `--queue-bytes` says.

use super::attack::{Attack, Attacked};
use super::findings::Findings;
use super::flood::{Audience, Flood};
use super::options::Plan;
use super::seats;
use super::stage::Stage;
use crate::client::Swarm;
use crate::outcome::Unit;
use anyhow::Result;

const POLICIES: [&str; 3] = ["drop-oldest", "drop-newest", "conflate"];
const ROOMS: usize = 127;

/// What may wait for each, so that a thousand fit into a small machine.
const QUEUE_BYTES: u64 = 128 * 1024;
/// For what an allocator rounds up.
const FACTOR: f64 = 1.1;

const PING_MS: f64 = 100.0;

/// The receive buffer of those that never read: the least there is.
pub(super) const SMALL_SOCKET: usize = 4 * 1024;

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = plan.findings();
    let stalled = plan.connections(1_000, 200);
    findings.note(format!("{stalled} stalled in {ROOMS} rooms each, {QUEUE_BYTES} queue bytes"));
    for policy in POLICIES {
        phase(plan, policy, stalled, &mut findings)?;
    }
    Ok(findings)
}

fn phase(plan: &Plan, policy: &str, stalled: usize, findings: &mut Findings) -> Result<()> {
    let bytes = QUEUE_BYTES.to_string();
    let stage = Stage::start(plan, &["--slow-policy", policy, "--queue-bytes", &bytes])?;
    let mut swarm = Swarm::new(stage.target())?;
    swarm.limit_socket(SMALL_SOCKET);
    let links = seats::open_on(&mut swarm, stalled, None)?;
    seats::subscribe(&mut swarm, &links, 0..ROOMS)?;
    let flood = Flood::open(stage.target(), 1, None, Audience::Briefly(0..ROOMS), 0)?;
    for link in links {
        swarm.ignore(link)?;
    }
    // Connections and seats are not what waits for them.
    let attack = Attack { duration: plan.duration(6), in_room: false, from_now: true };
    let Attacked { observed, flooded } = attack.run(plan, &stage, flood)?;
    drop(swarm);

    findings.group(policy);
    findings.figure("messages sent", flooded.sent as f64, Unit::Count);
    findings.percentile("stranger's ping, p99", &observed.heard.pongs, 99.0, PING_MS);
    findings.none("strangers closed", observed.heard.losses.count());
    let each = stage.peak_each(stalled);
    let bar = QUEUE_BYTES as f64 * FACTOR;
    findings.at_most("resident per stalled client", each, Unit::Bytes, bar);
    findings.group("");
    Ok(())
}
