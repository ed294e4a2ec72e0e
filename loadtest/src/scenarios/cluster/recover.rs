//! One of two nodes is killed: all its clients come back to the other at once, each
//! from its last offset. How long that takes, whether each has exactly what was
//! published, and what the other clients of that node notice.

use super::bystanders::{self, Bystanders, Found};
use super::nodes::Nodes;
use super::options::Options;
use super::relayed::describe;
use super::returning::{Phase, Returning};
use crate::affinity;
use crate::client::Swarm;
use crate::clock::{nanoseconds, now_ns};
use crate::measure::Latency;
use crate::outcome::{Outcome, Unit};
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long the load goes on after all are back.
const AFTER: Duration = Duration::from_secs(3);

/// The longest recovery that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a turn may take until it is looked whether it was the last.
const TURN: Duration = Duration::from_millis(10);

/// The node that survives, and the one that is killed.
const SURVIVOR: usize = 0;
const VICTIM: usize = 1;

pub(super) fn run(options: &Options, redis: &str, others: usize) -> Result<Outcome> {
    ensure!(options.nodes() == 2, "--recover is about two nodes");
    let rooms = options.rooms();
    let stay = (options.bystanders as usize).div_ceil(rooms) * rooms;
    let fit = affinity::connections_per_process(stay + others)?;
    ensure!(stay + others <= fit, "{} clients do not fit: {fit} do", stay + others);
    let mut nodes = Nodes::start(options, redis)?;
    let targets = nodes.targets();
    let longest = options.duration() + PATIENCE + AFTER;
    let ready = Bystanders::open(options, &targets[SURVIVOR], stay, longest)?;
    let mut clients = Returning::new(rooms, 0, others);
    let mut swarm = Swarm::new(&targets[VICTIM])?;
    bystanders::open(&mut clients, &mut swarm, 0..others)?;
    let bystanders = ready.begin();
    play(&mut clients, &mut swarm, options.duration(), |_| false)?;

    swarm.aim(&targets[SURVIVOR]);
    let killed_ns = now_ns();
    clients.killed(killed_ns);
    bystanders.enter(Phase::During);
    nodes.kill(VICTIM)?;
    play(&mut clients, &mut swarm, PATIENCE, Returning::all_back)?;
    bystanders.enter(Phase::After);
    play(&mut clients, &mut swarm, AFTER, |_| false)?;
    let here = clients.here();
    let stayed = bystanders.end()?;
    bystanders::settle(&mut clients, &mut swarm, &stayed.written)?;

    let mut outcome = outcome(&clients, &stayed, killed_ns, others);
    describe(&mut outcome, options, &nodes);
    outcome.setting("recovering", others);
    outcome.setting("bystanders", stay);
    if here < others {
        outcome.violation(format!("{here} of {others} clients are connected"));
    }
    for ended in nodes.ended().into_iter().filter(|text| !text.contains("node 1 ")) {
        outcome.violation(ended);
    }
    Ok(outcome)
}

/// Lets clients come back for `duration`, or until `is_enough`.
fn play(
    clients: &mut Returning,
    swarm: &mut Swarm,
    duration: Duration,
    is_enough: impl Fn(&Returning) -> bool,
) -> Result<()> {
    let end_ns = now_ns() + nanoseconds(duration);
    while now_ns() < end_ns && !is_enough(clients) {
        clients.dial(swarm);
        swarm.turn(end_ns.min(now_ns() + nanoseconds(TURN)), clients)?;
    }
    Ok(())
}

fn outcome(clients: &Returning, stayed: &Found, killed_ns: u64, others: usize) -> Outcome {
    let mut outcome = Outcome::new("cluster recover");
    let recovered = clients.recovery.histogram().len();
    let exact = clients.exact(&stayed.written);
    let all_ns = clients.recovered_ns.saturating_sub(killed_ns) as f64;
    let mut count = |key: &str, label: &str, value: u64| {
        outcome.figure(key, label, value as f64, Unit::Count);
    };
    count("recovered", "clients back on the other node", recovered);
    count("exact", "clients with exactly what was published", exact as u64);
    count("retries", "attempts to connect that failed", clients.retries);
    outcome.figure("all_ns", "kill until the last had all", all_ns, Unit::Nanoseconds);
    let [before, during, after] = &stayed.clients.latencies;
    let p99 = |latency: &Latency| latency.histogram().value_at_quantile(0.99) as f64;
    let ratio = p99(during) / p99(before).max(1.0);
    let label = "other clients, p99, meanwhile over before";
    outcome.figure("bystander_p99_ratio", label, ratio, Unit::Ratio);
    outcome.latency("recovery", "kill until a client had all", &clients.recovery);
    outcome.latency("before", "other clients, before", before);
    outcome.latency("during", "other clients, meanwhile", during);
    outcome.latency("after", "other clients, afterwards", after);
    outcome.forbid((others - exact) as u64, "clients that have not exactly what was published");
    outcome.forbid(clients.not_recovered, "clients told that they cannot recover");
    let staying = stayed.clients.count_missing(&stayed.written);
    outcome.forbid(staying, "other clients that have not exactly what was published");
    for all in [clients, &stayed.clients] {
        outcome.forbid(all.jumps, "offsets that were not the next");
        outcome.forbid(all.ledger.skipped, "messages out of order or lost");
        outcome.forbid(all.ledger.repeated, "messages twice or late");
        outcome.forbid(all.strange_count, "answers that were not expected");
        for what in &all.strange {
            outcome.violation(what.clone());
        }
        outcome.forbid_losses(&all.losses);
    }
    outcome
}
