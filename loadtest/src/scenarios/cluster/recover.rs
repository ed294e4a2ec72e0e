//! One of two nodes is killed: all its clients come back to the other at once, each
//! from its last offset. How long that takes, whether each has exactly what was
//! published, and what the other clients of that node notice.

use super::nodes::Nodes;
use super::options::Options;
use super::relayed::describe;
use super::returning::Returning;
use crate::affinity;
use crate::client::Swarm;
use crate::client::pubsub;
use crate::clock::{nanoseconds, now_ns};
use crate::limits::{LOST_AFTER, PUBLISHES_PER_TURN, STALL};
use crate::outcome::{Outcome, Unit};
use crate::scenarios::schedule::Schedule;
use crate::scenarios::watch::linger;
use crate::stamp::Stamp;
use anyhow::{Result, bail, ensure};
use std::time::Duration;

/// How long the load goes on after all are back.
const AFTER: Duration = Duration::from_secs(3);

/// The longest recovery that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node that survives, and the one that is killed.
const SURVIVOR: usize = 0;
const VICTIM: usize = 1;

struct Run<'a> {
    options: &'a Options,
    clients: Returning,
    swarm: Swarm,
    schedule: Schedule,
    written: Vec<u32>,
    frame: Vec<u8>,
}

pub(super) fn run(options: &Options, redis: &str, others: usize) -> Result<Outcome> {
    ensure!(options.nodes() == 2, "--recover is about two nodes");
    let rooms = options.rooms();
    let stay = (options.bystanders as usize).div_ceil(rooms) * rooms;
    let fit = affinity::connections_per_process(stay + others)?;
    ensure!(stay + others <= fit, "{} clients do not fit: {fit} do", stay + others);
    let mut nodes = Nodes::start(options, redis)?;
    let targets = nodes.targets();
    let whole = options.duration() + PATIENCE + AFTER;
    let mut run = Run {
        options,
        clients: Returning::new(rooms, stay, others),
        swarm: Swarm::new(&targets[SURVIVOR])?,
        schedule: Schedule::new(now_ns(), options.rate(), rooms, 1, whole)?,
        written: vec![0; rooms],
        frame: Vec::new(),
    };
    run.open(0..stay)?;
    run.swarm.aim(&targets[VICTIM]);
    run.open(stay..stay + others)?;
    run.schedule.begin_at(now_ns());
    run.play(options.duration(), |_| false)?;

    let killed_ns = now_ns();
    run.swarm.aim(&targets[SURVIVOR]);
    run.clients.killed(killed_ns);
    nodes.kill(VICTIM)?;
    // Until the first of them has noticed, all are here.
    run.play(PATIENCE, |clients| !clients.all_here())?;
    run.play(PATIENCE, Returning::all_here)?;
    run.play(AFTER, |_| false)?;
    let back = run.clients.all_here();
    run.settle()?;

    let mut outcome = outcome(&run, killed_ns, others);
    describe(&mut outcome, options, &nodes);
    outcome.setting("recovering", others);
    outcome.setting("bystanders", stay);
    if !back {
        let here = run.clients.here();
        outcome.violation(format!("{here} of {} clients are connected", stay + others));
    }
    for ended in nodes.ended().into_iter().filter(|text| !text.contains("node 1 ")) {
        outcome.violation(ended);
    }
    Ok(outcome)
}

impl Run<'_> {
    /// Connects and subscribes `links`.
    fn open(&mut self, links: std::ops::Range<usize>) -> Result<()> {
        let all = links.end;
        self.clients.want(links);
        let mut here = self.clients.here();
        let mut moved_ns = now_ns();
        while self.clients.here() < all {
            self.clients.dial(&mut self.swarm);
            self.swarm.turn(moved_ns + nanoseconds(STALL), &mut self.clients)?;
            if self.clients.here() > here {
                here = self.clients.here();
                moved_ns = now_ns();
            }
            let Returning { losses, strange, .. } = &self.clients;
            ensure!(losses.count() == 0, "not every connection opened: {losses}");
            if now_ns() - moved_ns >= nanoseconds(STALL) {
                bail!("{here} of {all} clients are subscribed, and no more: {strange:?}");
            }
        }
        Ok(())
    }

    /// Publishes what is due for `duration`, or until `is_enough`.
    fn play(&mut self, duration: Duration, is_enough: impl Fn(&Returning) -> bool) -> Result<()> {
        let end_ns = now_ns() + nanoseconds(duration);
        while now_ns() < end_ns && !is_enough(&self.clients) {
            self.publish_due();
            self.clients.dial(&mut self.swarm);
            let next_ns = self.schedule.next_due_ns().unwrap_or(end_ns);
            self.swarm.turn(next_ns.min(end_ns), &mut self.clients)?;
        }
        Ok(())
    }

    fn publish_due(&mut self) {
        for _ in 0..PUBLISHES_PER_TURN {
            let Some(due) = self.schedule.take_due(now_ns()) else {
                return;
            };
            let stamp = Stamp { publisher: 0, sequence: due.sequence, due_ns: due.due_ns };
            self.frame.clear();
            pubsub::append_publish(due.room, stamp, self.options.size, &mut self.frame);
            self.written[due.room] = due.sequence + 1;
            // The first clients stay, one for each room.
            self.swarm.send(due.room, &self.frame, &mut self.clients);
        }
    }

    /// Waits until everybody has all, or nothing more comes.
    fn settle(&mut self) -> Result<()> {
        let mut seen = 0;
        let mut since_ns = now_ns();
        let members = |clients: &Returning| clients.ledger.delivered;
        let all: u64 = self.written.iter().map(|count| u64::from(*count)).sum();
        let wanted = all * (self.clients.count() / self.options.rooms()) as u64;
        while members(&self.clients) < wanted && now_ns() - since_ns < nanoseconds(LOST_AFTER) {
            self.swarm.turn(since_ns + nanoseconds(LOST_AFTER), &mut self.clients)?;
            if members(&self.clients) > seen {
                seen = members(&self.clients);
                since_ns = now_ns();
            }
        }
        linger(&mut self.swarm, &mut self.clients)
    }
}

fn outcome(run: &Run<'_>, killed_ns: u64, others: usize) -> Outcome {
    let clients = &run.clients;
    let mut outcome = Outcome::new("cluster recover");
    let recovered = clients.recovery.histogram().len();
    let exact = clients.exact(&run.written);
    let all_ns = clients.recovered_ns.saturating_sub(killed_ns) as f64;
    outcome.figure("recovered", "clients back on the other node", recovered as f64, Unit::Count);
    outcome.figure("exact", "clients with exactly what was published", exact as f64, Unit::Count);
    outcome.figure("all_ns", "kill until the last had all", all_ns, Unit::Nanoseconds);
    outcome.figure(
        "retries",
        "attempts to connect that failed",
        clients.retries as f64,
        Unit::Count,
    );
    let p99 =
        |latency: &crate::measure::Latency| latency.histogram().value_at_quantile(0.99) as f64;
    let ratio = p99(&clients.during) / p99(&clients.before).max(1.0);
    outcome.figure(
        "bystander_p99_ratio",
        "other clients, p99, meanwhile over before",
        ratio,
        Unit::Ratio,
    );
    outcome.latency("recovery", "kill until a client had all", &clients.recovery);
    outcome.latency("before", "other clients, before", &clients.before);
    outcome.latency("during", "other clients, meanwhile", &clients.during);
    outcome.latency("after", "other clients, afterwards", &clients.after);
    let missing = (others - exact.min(others)) as u64;
    outcome.forbid(missing, "clients that have not exactly what was published");
    outcome.forbid(clients.not_recovered, "clients told that they cannot recover");
    outcome.forbid(clients.jumps, "offsets that were not the next");
    outcome.forbid(clients.ledger.skipped, "messages out of order or lost");
    outcome.forbid(clients.ledger.repeated, "messages twice or late");
    outcome.forbid(clients.strange_count, "answers that were not expected");
    for what in &clients.strange {
        outcome.violation(what.clone());
    }
    outcome.forbid_losses(&clients.losses);
    outcome
}
