//! The kinds of load. Each scenario opens its connections, drives them from
//! this thread through its own [`crate::client::Traffic`], and returns an
//! [`Outcome`]; violations are part of it, an error means that there is none.

mod audience;
mod broadcast;
mod connect;
mod cross;
mod drain;
mod echo;
mod fanout;
mod idle;
mod schedule;
mod soak;

use crate::cli::{Scenario, Settings};
use crate::client::{Swarm, Target, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::STALL;
use crate::report::Outcome;
use crate::server_process::ServerProcess;
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long [`linger`] listens.
const LINGER: Duration = Duration::from_millis(300);

/// What a scenario is to do, with every default filled in.
#[derive(Clone, Debug)]
struct Plan {
    target: Target,
    server: Option<u32>,
    connections: usize,
    rooms: usize,
    publishers: usize,
    size: usize,
    pipeline: usize,
    threads: usize,
    rate: u32,
    duration: Duration,
}

/// Runs `scenario` against `server`.
pub(crate) fn run(
    settings: &Settings,
    scenario: Scenario,
    server: &mut ServerProcess,
) -> Result<Outcome> {
    ensure!(
        settings.client_threads == 1 || matches!(scenario, Scenario::Connect | Scenario::Echo),
        "only connect and echo spread their connections over several threads"
    );
    let plan = Plan {
        target: server.target().clone(),
        server: server.pid(),
        connections: settings.connections(scenario),
        rooms: settings.rooms(scenario),
        publishers: usize::from(settings.publishers),
        size: settings.size,
        pipeline: usize::from(settings.pipeline),
        threads: usize::from(settings.client_threads).min(settings.connections(scenario)),
        rate: settings.rate(scenario),
        duration: settings.duration(scenario),
    };
    let mut outcome = match scenario {
        Scenario::Connect => connect::run(&plan),
        Scenario::Echo => echo::run(&plan),
        Scenario::Broadcast => broadcast::run(&plan),
        Scenario::Fanout => fanout::run(&plan),
        Scenario::Idle => idle::run(&plan),
        Scenario::Soak => soak::run(&plan),
        Scenario::Cross => cross::run(&plan),
        Scenario::Drain => drain::run(&plan, server),
    }?;
    outcome.setting("connections", plan.connections);
    if settings.url.is_none() {
        outcome.setting("shards", settings.shards(scenario));
        outcome.setting("driver", settings.driver.as_deref().unwrap_or("auto"));
    }
    Ok(outcome)
}

/// Notices when nothing moves any more.
#[derive(Debug)]
struct Watch {
    seen: u64,
    since_ns: u64,
}

impl Watch {
    fn new() -> Self {
        Self { seen: 0, since_ns: now_ns() }
    }

    /// Says whether `count` has stood still for as long as a server may be
    /// silent.
    fn is_stalled(&mut self, count: u64) -> bool {
        if count != self.seen {
            self.seen = count;
            self.since_ns = now_ns();
        }
        now_ns() - self.since_ns >= nanoseconds(STALL)
    }

    /// When to look again at the latest.
    fn deadline_ns(&self) -> u64 {
        self.since_ns + nanoseconds(STALL)
    }
}

/// Listens for a moment after the last message that was due: one too many
/// comes after it.
fn linger<T: Traffic>(swarm: &mut Swarm, traffic: &mut T) -> Result<()> {
    let end_ns = now_ns() + nanoseconds(LINGER);
    while now_ns() < end_ns {
        swarm.turn(end_ns, traffic)?;
    }
    Ok(())
}

/// Events per second.
fn per_second(count: u64, wall_ns: u64) -> f64 {
    count as f64 * 1e9 / wall_ns.max(1) as f64
}
