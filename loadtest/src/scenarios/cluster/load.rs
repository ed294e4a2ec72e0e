//! The kinds of load on all nodes: publications at a rate, without pause, and at a rate
//! while Redis is away. Each with connections of its own.

use super::crowd::Crowd;
use super::nodes::Nodes;
use super::options::Options;
use super::redis_process::Redis;
use super::seating::Seating;
use super::timeline::Timeline;
use super::watch::{Watch, Watched};
use crate::affinity;
use crate::client::Swarm;
use crate::client::opening::{Seats, Until, open};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::{BATCH, LOST_AFTER, PUBLISHES_PER_TURN, UNACKNOWLEDGED};
use crate::scenarios::schedule::Schedule;
use crate::scenarios::watch::linger;
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// How long the load goes on before Redis is stopped, and after it is back.
const BEFORE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(8);

/// What is found when Redis is away for a while.
pub(super) struct Outage {
    pub(super) crowd: Crowd,
    pub(super) watched: Watched,
    /// When Redis was told to end, and when it was started again.
    pub(super) stopped_ns: u64,
    pub(super) started_ns: u64,
    /// Seconds of the timeline in which it was away.
    pub(super) away: (usize, usize),
}

/// The seats that `options` ask for.
pub(super) fn seating(options: &Options, nodes: usize) -> Result<Seating> {
    let (members, publishers) = (options.members(), usize::from(options.publishers));
    if publishers > members * nodes {
        let seats = members * nodes;
        bail!("{publishers} publishers in a room need as many members, of which it has {seats}");
    }
    Ok(Seating { nodes, rooms: options.rooms(), members, publishers })
}

/// Connects all clients to their nodes and subscribes them.
fn connect(nodes: &Nodes, seating: Seating) -> Result<Swarm> {
    affinity::connections_per_process(seating.count())?;
    let targets = nodes.targets();
    let first = targets.first().context("there is no node")?;
    let mut swarm = Swarm::new(first)?;
    let until = Until::Subscribed(Seats::Spread { first: 0, rooms: seating.rooms });
    for target in &targets {
        swarm.aim(target);
        open(&mut swarm, seating.each(), until)?.all()?;
    }
    Ok(swarm)
}

/// Publishes what is due.
fn publish_due(crowd: &mut Crowd, swarm: &mut Swarm, schedule: &mut Schedule) {
    for _ in 0..PUBLISHES_PER_TURN {
        let Some(due) = schedule.take_due(now_ns()) else {
            return;
        };
        crowd.publish(swarm, (due.room, due.publisher), 1, due.due_ns);
    }
}

/// Waits until everything has come to every node, or nothing more comes.
fn await_all(crowd: &mut Crowd, swarm: &mut Swarm) -> Result<()> {
    let patience_ns = nanoseconds(LOST_AFTER);
    let mut seen = crowd.ledger.delivered;
    let mut since_ns = now_ns();
    while crowd.awaited() > 0 && now_ns() - since_ns < patience_ns {
        swarm.turn(since_ns + patience_ns, crowd)?;
        if crowd.ledger.delivered > seen {
            seen = crowd.ledger.delivered;
            since_ns = now_ns();
        }
    }
    linger(swarm, crowd)
}

/// `rate` publications per second and room for `duration`.
pub(super) fn at_rate(
    nodes: &Nodes,
    options: &Options,
    rate: u32,
    duration: Duration,
) -> Result<Crowd> {
    let seating = seating(options, nodes.len())?;
    let mut swarm = connect(nodes, seating)?;
    let mut crowd = Crowd::new(seating, options.size, options.acks);
    let mut schedule = Schedule::new(now_ns(), rate, seating.rooms, seating.publishers, duration)?;
    schedule.begin_at(now_ns());
    while let Some(next_ns) = schedule.next_due_ns() {
        publish_due(&mut crowd, &mut swarm, &mut schedule);
        swarm.turn(schedule.next_due_ns().unwrap_or(next_ns), &mut crowd)?;
    }
    await_all(&mut crowd, &mut swarm)?;
    Ok(crowd)
}

/// Publications as fast as the nodes take them, or acknowledge them, for `duration`.
pub(super) fn without_pause(nodes: &Nodes, options: &Options, duration: Duration) -> Result<Crowd> {
    let seating = seating(options, nodes.len())?;
    let mut swarm = connect(nodes, seating)?;
    let mut crowd = Crowd::new(seating, options.size, options.acks);
    let publishers: Vec<_> = seating.publishers().collect();
    let end_ns = now_ns() + nanoseconds(duration);
    while now_ns() < end_ns && crowd.losses.count() == 0 {
        let mut is_held = true;
        for (room, publisher) in &publishers {
            let link = seating.publisher(*room, *publisher);
            let unanswered = if options.acks { crowd.unanswered(*room, *publisher) } else { 0 };
            let sequences = (1 << 24) - crowd.written(*room, *publisher);
            let free = UNACKNOWLEDGED.saturating_sub(unanswered).min(BATCH).min(sequences);
            if free > 0 && swarm.unsent(link) == 0 {
                crowd.publish(&mut swarm, (*room, *publisher), free, now_ns());
                is_held = false;
            }
        }
        let deadline_ns = if is_held { end_ns } else { 0 };
        swarm.turn(deadline_ns, &mut crowd)?;
    }
    await_all(&mut crowd, &mut swarm)?;
    Ok(crowd)
}

/// Publications at a rate, and Redis away for `outage` in the middle.
pub(super) fn through_outage(
    nodes: &Nodes,
    options: &Options,
    redis: &mut Redis,
    outage: Duration,
) -> Result<Outage> {
    let seating = seating(options, nodes.len())?;
    let mut swarm = connect(nodes, seating)?;
    let mut crowd = Crowd::new(seating, options.size, options.acks);
    let duration = BEFORE + outage + AFTER;
    let (rooms, publishers) = (seating.rooms, seating.publishers);
    let mut schedule = Schedule::new(now_ns(), options.rate(), rooms, publishers, duration)?;
    let address = redis.address().context("only a Redis started here can be stopped")?;
    let watch = Watch::begin(nodes.targets(), address);
    let begun_ns = now_ns();
    schedule.begin_at(begun_ns);
    crowd.timeline = Some(Timeline::new(begun_ns, duration + LOST_AFTER));
    let stop_ns = begun_ns + nanoseconds(BEFORE);
    let start_ns = stop_ns + nanoseconds(outage);
    let (mut stopped_ns, mut started_ns) = (0, 0);
    while let Some(next_ns) = schedule.next_due_ns() {
        let now_ns = now_ns();
        if stopped_ns == 0 && now_ns >= stop_ns {
            stopped_ns = now_ns;
            redis.stop()?;
        }
        if started_ns == 0 && now_ns >= start_ns {
            started_ns = now_ns;
            redis.start_again()?;
        }
        publish_due(&mut crowd, &mut swarm, &mut schedule);
        swarm.turn(schedule.next_due_ns().unwrap_or(next_ns), &mut crowd)?;
    }
    await_all(&mut crowd, &mut swarm)?;
    enter_losses(&mut crowd, seating, &schedule);
    let away = (BEFORE.as_secs() as usize, (BEFORE + outage).as_secs() as usize);
    Ok(Outage { crowd, watched: watch.end(), stopped_ns, started_ns, away })
}

/// Enters into the timeline what never came, by when it was due.
fn enter_losses(crowd: &mut Crowd, seating: Seating, schedule: &Schedule) {
    let Some(mut timeline) = crowd.timeline.take() else {
        return;
    };
    for (room, publisher) in seating.publishers() {
        for witness in seating.witnesses(room, publisher) {
            for sequence in crowd.never_received(witness, publisher) {
                timeline.lost(schedule.due_ns_of(room, publisher, sequence));
            }
        }
    }
    crowd.timeline = Some(timeline);
}
