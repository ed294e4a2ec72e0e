//! Redis stopped under load and started again: who notices and when, what is lost, and
//! whether it is what the nodes say was lost.

use super::load::{Outage, through_outage};
use super::nodes::Nodes;
use super::options::Options;
use super::redis_process::Redis;
use super::relayed::describe;
use crate::measure::Latency;
use crate::outcome::{Outcome, Unit};
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;

type Counters = Vec<BTreeMap<String, u64>>;

pub(super) fn run(options: &Options, redis: &mut Redis, outage: Duration) -> Result<Outcome> {
    let mut nodes = Nodes::start(options, redis.url())?;
    let before = nodes.counters();
    let found = through_outage(&nodes, options, redis, outage)?;
    let after = nodes.counters();
    let mut outcome = Outcome::new("cluster restart");
    describe(&mut outcome, options, &nodes);
    outcome.setting("away s", outage.as_secs());
    readiness(&mut outcome, &found);
    losses(&mut outcome, options, &found, &before, &after);
    latencies(&mut outcome, options, &found);
    for ended in nodes.ended() {
        outcome.violation(ended);
    }
    Ok(outcome)
}

/// When nodes were not ready, and when they were again.
fn readiness(outcome: &mut Outcome, found: &Outage) {
    let watched = &found.watched;
    let mut time = |key: &str, label: &str, after_ns: Option<u64>| match after_ns {
        Some(after_ns) => drop(outcome.figure(key, label, after_ns as f64, Unit::Nanoseconds)),
        None => outcome.violation(format!("{label}: never")),
    };
    let red = watched.red_after(found.stopped_ns);
    time("red_ns", "Redis stopped to no node ready", red);
    let back = watched.redis_back(found.started_ns);
    let green = back.and_then(|back_ns| watched.green_after(back_ns));
    time("green_ns", "Redis back to all nodes ready", green);
    for (at, reason) in watched.reasons.iter().enumerate() {
        outcome.setting(&format!("reason {}", at + 1), reason.as_str());
    }
}

/// What never arrived, against what the nodes counted.
fn losses(
    outcome: &mut Outcome,
    options: &Options,
    found: &Outage,
    before: &Counters,
    after: &Counters,
) {
    let crowd = &found.crowd;
    let missing = crowd.missing();
    let lost: u64 = missing.by_node.iter().sum();
    let counted = |name: &str| -> u64 {
        let of = |node: &BTreeMap<String, u64>| node.get(name).copied().unwrap_or(0);
        after.iter().zip(before).map(|(after, before)| of(after).saturating_sub(of(before))).sum()
    };
    let mut count = |key: &str, label: &str, value: u64| {
        outcome.figure(key, label, value as f64, Unit::Count);
    };
    count("published", "publications", crowd.published());
    count("relayed", "came to other nodes, for each once", crowd.relayed);
    count("lost", "never did", lost);
    count("counted_lost", "lost, as nodes counted", counted("lost"));
    count("counted_dropped", "dropped before Redis, as nodes counted", counted("dropped"));
    count("refused", "publications refused", crowd.refused);
    count("counted_gaps", "gaps, as nodes counted", counted("gaps"));
    count("gaps_told", "gaps told, for each room and node once", crowd.gaps);
    count("gap_missed", "messages missed in them, as told", crowd.gap_missed);
    count("reconnects", "connections to Redis made anew", counted("reconnects"));
    let others = crowd.nodes() - 1;
    let accounted = counted("lost").max(counted("dropped") * others);
    if lost != accounted && lost != counted("lost") + counted("dropped") * others {
        outcome.violation(format!(
            "{lost} messages were lost, of which the nodes counted {} lost and {} dropped",
            counted("lost"),
            counted("dropped")
        ));
    }
    if options.history {
        outcome.forbid(lost, "messages lost in rooms with history");
    } else {
        outcome.forbid(missing.near, "messages lost on the publisher's own node");
    }
    outcome.forbid(crowd.ledger.repeated, "messages twice or out of order");
    outcome.forbid(missing.uneven, "members that did not get what others of their node got");
    outcome.forbid(crowd.strange_count, "answers that were not expected");
    for what in &crowd.strange {
        outcome.violation(what.clone());
    }
    outcome.forbid_losses(&crowd.losses);
}

/// Before the outage and during it, and both over time.
fn latencies(outcome: &mut Outcome, options: &Options, found: &Outage) {
    let Some(timeline) = &found.crowd.timeline else {
        return;
    };
    let (from, to) = found.away;
    let (before, during) = (timeline.near_within(0, from), timeline.near_within(from, to));
    // Rooms with history wait for Redis on every node.
    if !options.history {
        let p99 = |latency: &Latency| latency.histogram().value_at_quantile(0.99) as f64;
        let ratio = p99(&during) / p99(&before).max(1.0);
        outcome.figure(
            "near_p99_ratio",
            "publisher's node, p99, away over before",
            ratio,
            Unit::Ratio,
        );
    }
    outcome.latency("near_before", "publisher's node, before", &before);
    outcome.latency("near_away", "publisher's node, Redis away", &during);
    outcome.latency("far", "other nodes, all the time", &found.crowd.far);
    for chart in timeline.charts("Redis stopped and started") {
        outcome.chart(chart);
    }
}
