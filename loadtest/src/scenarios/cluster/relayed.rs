//! Latency and throughput from node to node, round after round, each beside the bare
//! client on the same Redis; ratios are taken within a round.

use super::bare;
use super::crowd::Crowd;
use super::load::{at_rate, without_pause};
use super::nodes::Nodes;
use super::options::Options;
use super::redis_process::Redis;
use crate::comparison::Spread;
use crate::measure::{Latency, cpu_ns};
use crate::outcome::{Outcome, Unit};
use crate::scenarios::watch::per_second;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;

/// The values of one figure, one for each round.
#[derive(Default)]
struct Rounds {
    values: BTreeMap<&'static str, Vec<f64>>,
}

impl Rounds {
    fn add(&mut self, key: &'static str, value: f64) {
        self.values.entry(key).or_default().push(value);
    }

    /// The median of the rounds, and for ratios the least and the most.
    fn figure(&self, outcome: &mut Outcome, key: &'static str, label: &str, unit: Unit) {
        let Some(values) = self.values.get(key) else {
            return;
        };
        let spread = Spread::of(values.clone());
        outcome.figure(key, label, spread.median, unit);
        if unit == Unit::Ratio && values.len() > 1 {
            outcome.figure(&format!("{key}_least"), "  least", spread.min, unit);
            outcome.figure(&format!("{key}_most"), "  most", spread.max, unit);
        }
    }
}

/// All that the rounds found.
struct Found {
    rounds: Rounds,
    unloaded: Latency,
    loaded: Latency,
    near: Latency,
    bare: Latency,
    violations: Vec<String>,
}

pub(super) fn run(options: &Options, redis: &Redis) -> Result<Outcome> {
    let mut nodes = Nodes::start(options, redis.url())?;
    let mut found = Found {
        rounds: Rounds::default(),
        unloaded: Latency::new(),
        loaded: Latency::new(),
        near: Latency::new(),
        bare: Latency::new(),
        violations: Vec::new(),
    };
    for round in 0..options.rounds {
        eprintln!("round {}: latency", round + 1);
        latencies(options, redis, &nodes, &mut found)?;
        eprintln!("round {}: throughput", round + 1);
        throughput(options, redis, &nodes, &mut found)?;
    }
    let mut outcome = outcome(options, &nodes, &found);
    for ended in nodes.ended() {
        outcome.violation(ended);
    }
    Ok(outcome)
}

/// Both without and under a load, and that of the bare client without.
fn latencies(options: &Options, redis: &Redis, nodes: &Nodes, found: &mut Found) -> Result<()> {
    let rate = options.unloaded_room_rate();
    let crowd = at_rate(nodes, options, rate, options.duration())?;
    let all = u64::from(rate) * options.rooms() as u64;
    let bare = bare::round(redis.url(), options.size, all, options.duration())?;
    let median = |latency: &Latency| latency.histogram().value_at_quantile(0.5) as f64;
    ensure!(!crowd.far.histogram().is_empty(), "nothing came from node to node");
    let (there, here) = (median(&crowd.far), median(&crowd.near));
    let bare_there = median(&bare.received.latency).max(1.0);
    // Whoever is on the publisher's node gets it without Redis: what is left is the way
    // from node to node, which is what the bare client has too.
    let between = (there - here).max(0.0);
    found.rounds.add("unloaded_ns", there);
    found.rounds.add("unloaded_near_ns", here);
    found.rounds.add("between_ns", between);
    found.rounds.add("bare_ns", bare_there);
    found.rounds.add("between_ratio", between / bare_there);
    found.rounds.add("latency_ratio", there / bare_there);
    found.unloaded.merge(&crowd.far);
    found.bare.merge(&bare.received.latency);
    judge(&crowd, "unloaded", &mut found.violations);
    let crowd = at_rate(nodes, options, options.rate(), options.duration())?;
    found.loaded.merge(&crowd.far);
    found.near.merge(&crowd.near);
    judge(&crowd, "at the rate", &mut found.violations);
    Ok(())
}

/// As much as goes, and what it costs.
fn throughput(options: &Options, redis: &Redis, nodes: &Nodes, found: &mut Found) -> Result<()> {
    let redis_cpu = || redis.pid().and_then(cpu_ns).unwrap_or(0);
    let own_cpu = || cpu_ns(std::process::id()).unwrap_or(0);
    let (begun, redis_begun, own_begun) = (nodes.cpu_ns(), redis_cpu(), own_cpu());
    let crowd = without_pause(nodes, options, options.duration())?;
    let (ended, redis_ended, own_ended) = (nodes.cpu_ns(), redis_cpu(), own_cpu());
    judge(&crowd, "without pause", &mut found.violations);
    let bare = bare::round(redis.url(), options.size, 0, options.duration())?;
    let bare_redis = redis_cpu() - redis_ended;

    let relayed = crowd.relayed.max(1);
    let each = |cpu_ns: u64, count: u64| cpu_ns as f64 / count.max(1) as f64;
    let rate = per_second(relayed, crowd.last_ns.saturating_sub(crowd.first_ns));
    let bare_rate = per_second(bare.received.count, bare.received.wall_ns);
    let node_cpu = each(ended.0 - begun.0, relayed);
    let relay_cpu = each(ended.1.saturating_sub(begun.1), relayed);
    let publisher_cpu = each(bare.published.cpu_ns, bare.published.count);
    let subscriber_cpu = each(bare.received.cpu_ns, bare.received.count);
    let bare_cpu = (publisher_cpu + subscriber_cpu).max(1.0);
    let rounds = &mut found.rounds;
    rounds.add("throughput", rate);
    rounds.add("bare_throughput", bare_rate);
    rounds.add("throughput_ratio", rate / bare_rate.max(1.0));
    rounds.add("node_cpu_ns", node_cpu);
    rounds.add("bare_publisher_cpu_ns", publisher_cpu);
    rounds.add("bare_subscriber_cpu_ns", subscriber_cpu);
    rounds.add("node_cpu_ratio", node_cpu / bare_cpu);
    if relay_cpu > 0.0 {
        rounds.add("relay_cpu_ns", relay_cpu);
        rounds.add("relay_cpu_ratio", relay_cpu / bare_cpu);
    }
    if redis.pid().is_some() {
        rounds.add("redis_cpu_ns", each(redis_ended - redis_begun, relayed));
        rounds.add("bare_redis_cpu_ns", each(bare_redis, bare.received.count));
    }
    rounds.add("client_cpu_ns", each(own_ended - own_begun, relayed));
    rounds.add("refused", crowd.refused as f64);
    Ok(())
}

/// What must not be while Redis is there.
fn judge(crowd: &Crowd, when: &str, violations: &mut Vec<String>) {
    let missing = crowd.missing();
    let counts = [
        (missing.by_node.iter().sum(), "messages lost between nodes"),
        (missing.near, "messages lost on the publisher's node"),
        (missing.uneven, "members that did not get what others of their node got"),
        (crowd.ledger.skipped, "messages out of order or lost"),
        (crowd.ledger.repeated, "messages twice or late"),
        (crowd.refused, "publications refused"),
        (crowd.gaps, "gaps told"),
        (crowd.strange_count, "answers that were not expected"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        violations.push(format!("{when}: {count} {what}"));
    }
    violations.extend(crowd.strange.iter().cloned());
    if crowd.losses.count() > 0 {
        violations.push(format!("{when}: connections lost: {}", crowd.losses));
    }
}

fn outcome(options: &Options, nodes: &Nodes, found: &Found) -> Outcome {
    let mut outcome = Outcome::new("cluster");
    describe(&mut outcome, options, nodes);
    let Found { rounds, .. } = found;
    let figures = [
        ("unloaded_ns", "client to client over two nodes, unloaded, median", Unit::Nanoseconds),
        ("unloaded_near_ns", "client to client on one node, unloaded, median", Unit::Nanoseconds),
        ("between_ns", "node to node: the difference", Unit::Nanoseconds),
        ("bare_ns", "bare client, median", Unit::Nanoseconds),
        ("between_ratio", "node to node over bare client", Unit::Ratio),
        ("latency_ratio", "client to client over bare client", Unit::Ratio),
        ("throughput", "from node to node", Unit::PerSecond),
        ("bare_throughput", "bare client", Unit::PerSecond),
        ("throughput_ratio", "from node to node over bare client", Unit::Ratio),
        ("node_cpu_ns", "CPU of nodes per relayed message", Unit::Nanoseconds),
        ("relay_cpu_ns", "  of it in relay threads", Unit::Nanoseconds),
        ("bare_publisher_cpu_ns", "CPU of the bare publisher per message", Unit::Nanoseconds),
        ("bare_subscriber_cpu_ns", "CPU of the bare subscriber per message", Unit::Nanoseconds),
        ("node_cpu_ratio", "CPU of nodes over bare clients", Unit::Ratio),
        ("relay_cpu_ratio", "CPU of relay threads over bare clients", Unit::Ratio),
        ("redis_cpu_ns", "CPU of Redis per relayed message", Unit::Nanoseconds),
        ("bare_redis_cpu_ns", "CPU of Redis per bare message", Unit::Nanoseconds),
        ("client_cpu_ns", "CPU of the load test per relayed message", Unit::Nanoseconds),
    ];
    for (key, label, unit) in figures {
        rounds.figure(&mut outcome, key, label, unit);
    }
    outcome.latency("unloaded", "node to node, unloaded", &found.unloaded);
    outcome.latency("bare", "bare client, unloaded", &found.bare);
    outcome.latency("loaded", "node to node, at the rate", &found.loaded);
    outcome.latency("near", "publisher's node, at the rate", &found.near);
    for violation in &found.violations {
        outcome.violation(violation.clone());
    }
    outcome
}

/// Notes the settings that every outcome of several nodes has.
pub(super) fn describe(outcome: &mut Outcome, options: &Options, nodes: &Nodes) {
    outcome.setting("nodes", nodes.len());
    outcome.setting("rooms", options.rooms());
    outcome.setting("members", options.members());
    outcome.setting("publishers", options.publishers);
    outcome.setting("rate", options.rate());
    outcome.setting("size", options.size);
    outcome.setting("shards", options.shards);
    outcome.setting("history", options.history || options.returning().is_some());
    outcome.setting("acks", options.acks);
    if let Some(doubt) = nodes.doubt() {
        outcome.setting("doubt", doubt);
    }
}
