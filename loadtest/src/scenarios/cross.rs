//! `cross`: what it costs a message to reach a member on another shard than
//! its publisher's. Of the connections, three are used: a publisher, a member
//! on its shard, a member on another.

use super::Plan;
use super::audience::{self, Audience};
use super::schedule::Schedule;
use super::watch::linger;
use crate::client::Swarm;
use crate::client::opening::{self, Until, open};
use crate::clock::now_ns;
use crate::outcome::{Outcome, Unit};
use anyhow::{Context, Result, ensure};

/// The groups of members.
const PUBLISHER: u8 = 0;
const SAME: u8 = 1;
const OTHER: u8 = 2;

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    ensure!(plan.connections >= 3, "cross needs at least 3 connections");
    let mut audience = Audience::new(plan, plan.connections, 1, 1)?;
    let mut swarm = Swarm::new(&plan.target)?;
    let opened = open(&mut swarm, plan.connections, Until::Greeted)?.all()?;
    let (same, other) = members(&opened.shards)?;
    let chosen = [0, same, other];
    for link in (1..plan.connections).filter(|link| !chosen.contains(link)) {
        swarm.abandon(link);
    }
    opening::subscribe(&mut swarm, &chosen)?;

    let mut groups = vec![PUBLISHER; plan.connections];
    (groups[same], groups[other]) = (SAME, OTHER);
    audience.group(groups);
    let mut schedule = Schedule::new(now_ns(), plan.rate, 1, 1, plan.duration)?;
    let wanted = schedule.total() * chosen.len() as u64;
    audience.play(&mut swarm, &mut schedule, wanted)?;
    linger(&mut swarm, &mut audience)?;

    let mut outcome = Outcome::new("cross");
    outcome.setting("rate", plan.rate);
    outcome.setting("size", plan.size);
    let median = |group: u8| {
        let latency = audience.latency[usize::from(group)].histogram();
        latency.value_at_quantile(0.5) as f64
    };
    let (near, far) = (median(SAME), median(OTHER));
    outcome.figure("same_ns", "median, same shard", near, Unit::Nanoseconds);
    outcome.figure("other_ns", "median, other shard", far, Unit::Nanoseconds);
    let ratio = far / near.max(1.0);
    outcome.figure("ratio", "other shard against same", ratio, Unit::Share);
    let of = |group: u8| &audience.latency[usize::from(group)];
    outcome.latency("publisher", "back to the publisher", of(PUBLISHER));
    outcome.latency("same", "same shard", of(SAME));
    outcome.latency("other", "other shard", of(OTHER));
    outcome.latency("lag", "publisher behind its schedule", &audience.lag);
    let missing = audience.missing(chosen.into_iter());
    audience::judge(&mut outcome, &audience.part(missing));
    outcome.forbid_losses(&audience.losses);
    Ok(outcome)
}

/// A connection on the shard of connection 0, and one on another.
fn members(shards: &[Option<u8>]) -> Result<(usize, usize)> {
    let own = shards[0].context("the client ids do not tell the shard")?;
    let find = |same: bool| {
        let others = shards.iter().enumerate().skip(1);
        let mut fitting = others.filter(|(_, shard)| shard.is_some_and(|it| (it == own) == same));
        fitting.next().map(|(link, _)| link)
    };
    let same = find(true).context("no other connection is on the publisher's shard")?;
    let other = find(false).context("all connections are on one shard; has the server two?")?;
    Ok((same, other))
}
