//! What a connection costs that comes, is upgraded and goes, and one that also
//! subscribes to a room: the server's processor time for each, beside that of a
//! bare loop that exchanges the same bytes. All run in turn, round after round, and
//! a ratio is taken within a round.

use super::Plan;
use crate::affinity;
use crate::client::pubsub::{self, Said};
use crate::client::{Loss, Message, Swarm, Target, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::comparison::Spread;
use crate::limits::STALL;
use crate::measure::{Losses, Window};
use crate::outcome::{Outcome, Unit};
use crate::server_command::ServerCommand;
use crate::server_process::ServerProcess;
use anyhow::{Result, ensure};
use std::time::Duration;

/// Rounds. Odd, so that there is a median.
const ROUNDS: u32 = 5;

/// The least time of one run.
const LEAST: Duration = Duration::from_millis(100);

/// Connections at a time: enough to keep a server busy, few enough that none waits
/// for long.
const AT_A_TIME: usize = 64;

/// The normal close (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;

/// One way to come and go, before two servers.
struct Exchange {
    key: &'static str,
    what: &'static str,
    subscribes: bool,
    bare: ServerProcess,
    /// Nanoseconds for each connection, of the server and of the bare loop, by round.
    server_ns: Vec<f64>,
    bare_ns: Vec<f64>,
}

/// Adds to `outcome` what coming and going costs the server of `plan`, whose
/// process is `pid`.
pub(super) fn measure(plan: &Plan, pid: u32, outcome: &mut Outcome) -> Result<()> {
    let slice = (plan.duration / (ROUNDS * 4)).max(LEAST);
    let cores = affinity::cores_of(pid);
    let exchange = |key, what, subscribes| -> Result<Exchange> {
        let bare = ServerProcess::start(&ServerCommand::bare(subscribes)?, &cores)?;
        Ok(Exchange { key, what, subscribes, bare, server_ns: Vec::new(), bare_ns: Vec::new() })
    };
    let mut exchanges = [
        exchange("cycle", "connect, upgrade, close", false)?,
        exchange("subscribed_cycle", "connect, upgrade, subscribe, close", true)?,
    ];
    let mut losses = Losses::default();
    for _ in 0..ROUNDS {
        for exchange in &mut exchanges {
            let subscribes = exchange.subscribes;
            let target = if subscribes { plan.target.clone() } else { plan.target.raw() };
            let own = cycle(&target, pid, subscribes, plan.rooms, slice, &mut losses)?;
            let bare = &exchange.bare;
            let bare_pid = bare.pid().unwrap_or_default();
            let least = cycle(bare.target(), bare_pid, subscribes, 1, slice, &mut losses)?;
            exchange.server_ns.push(own);
            exchange.bare_ns.push(least);
        }
    }
    for exchange in exchanges {
        tell(exchange, outcome);
    }
    outcome.forbid_losses(&losses);
    Ok(())
}

fn tell(exchange: Exchange, outcome: &mut Outcome) {
    let Exchange { key, what, server_ns, bare_ns, .. } = exchange;
    let ratios = server_ns.iter().zip(&bare_ns).map(|(server, bare)| server / bare.max(1e-9));
    let ratio = Spread::of(ratios.collect()).median;
    let (server, bare) = (Spread::of(server_ns).median, Spread::of(bare_ns).median);
    let unit = Unit::Nanoseconds;
    outcome.figure(&format!("{key}_server_ns"), &format!("{what}: server CPU"), server, unit);
    outcome.figure(&format!("{key}_bare_ns"), "  the same bytes by a bare loop", bare, unit);
    let label = format!("  ratio, median of {ROUNDS} rounds");
    outcome.figure(&format!("{key}_ratio"), &label, ratio, Unit::Ratio);
}

/// Lets connections come and go for `duration`. Gives the processor time of the
/// server, process `pid`, for each.
fn cycle(
    target: &Target,
    pid: u32,
    subscribes: bool,
    rooms: usize,
    duration: Duration,
    losses: &mut Losses,
) -> Result<f64> {
    let mut swarm = Swarm::new(target)?;
    let mut visitors = Visitors {
        subscribes,
        rooms,
        ready: Vec::new(),
        gone: Vec::new(),
        cycles: 0,
        losses: Losses::default(),
    };
    let window = Window::begin(Some(pid));
    let end_ns = window.begun_ns() + nanoseconds(duration);
    let deadline_ns = end_ns + nanoseconds(STALL);
    for _ in 0..AT_A_TIME {
        swarm.dial(&mut visitors);
    }
    let mut inside = AT_A_TIME;
    while inside > 0 && now_ns() < deadline_ns {
        swarm.turn(deadline_ns, &mut visitors)?;
        for link in std::mem::take(&mut visitors.ready) {
            swarm.leave(link, NORMAL, &mut visitors);
        }
        for link in std::mem::take(&mut visitors.gone) {
            if now_ns() < end_ns && visitors.losses.count() < AT_A_TIME as u64 {
                swarm.redial(link, &mut visitors);
            } else {
                inside -= 1;
            }
        }
    }
    let usage = window.end();
    ensure!(visitors.cycles > 0, "the server let nobody come and go: {}", visitors.losses);
    losses.merge(&visitors.losses);
    Ok(usage.server_cpu_ns.unwrap_or(0) as f64 / visitors.cycles as f64)
}

/// Those who come and go.
struct Visitors {
    subscribes: bool,
    rooms: usize,
    /// Who is to say goodbye.
    ready: Vec<usize>,
    /// Whose place is free.
    gone: Vec<usize>,
    cycles: u64,
    losses: Losses,
}

impl Traffic for Visitors {
    fn on_open(&mut self, link: usize, _reply: &mut Vec<u8>) {
        if !self.subscribes {
            self.ready.push(link);
        }
    }

    fn on_message(&mut self, link: usize, message: Message<'_>, reply: &mut Vec<u8>) {
        match pubsub::read(message.payload) {
            Said::Connected(_) => pubsub::append_subscribe(link % self.rooms, reply),
            Said::Subscribed => self.ready.push(link),
            Said::Error(error) => {
                self.losses.add(&Loss::Refused(format!("the server says: {error}")));
                self.ready.push(link);
            }
            _ => {}
        }
    }

    fn on_loss(&mut self, link: usize, loss: Loss) {
        if loss == Loss::Closed(NORMAL) {
            self.cycles += 1;
        } else {
            self.losses.add(&loss);
        }
        self.gone.push(link);
    }
}
