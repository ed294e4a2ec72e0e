//! `churn`: connections that come and go without pause: connect, join, leave,
//! drop, again. A third ends with a close frame, a third drops the socket after
//! leaving its room, a third drops it while in the room. What one of them costs is
//! told by `cycles`.

use super::Plan;
use super::watch::{Watch, per_second};
use crate::client::pubsub::{self, Said};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::DIALS_IN_FLIGHT;
use crate::measure::{Latency, Losses, Usage};
use crate::outcome::{Outcome, Unit};
use crate::progress;
use crate::share::{Part, Series, Share};
use anyhow::{Result, ensure};

/// The normal close (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;

/// The places of one process, each of which is taken again when it is left.
pub(super) struct Churn {
    plan: Plan,
    swarm: Swarm,
    crowd: Crowd,
}

impl Churn {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self { swarm: plan.swarm()?, crowd: Crowd::new(plan), plan: plan.clone() })
    }

    /// Takes the places that were never taken, as many as may be on their way.
    fn fill(&mut self) {
        while self.crowd.places.len() < self.plan.connections
            && self.crowd.arriving < DIALS_IN_FLIGHT
        {
            self.crowd.places.push(Place { since_ns: now_ns(), visits: 0, stage: Stage::Arriving });
            self.crowd.arriving += 1;
            self.swarm.dial(&mut self.crowd);
        }
    }

    /// Lets go whoever is done and puts new ones in their places.
    fn turn_over(&mut self) {
        for link in std::mem::take(&mut self.crowd.done) {
            let place = &mut self.crowd.places[link];
            if place.stage == Stage::Closing {
                self.swarm.leave(link, NORMAL, &mut self.crowd);
                continue;
            }
            place.visits += 1;
            place.stage = Stage::Arriving;
            place.since_ns = now_ns();
            self.crowd.visits += 1;
            self.crowd.arriving += 1;
            self.swarm.redial(link, &mut self.crowd);
        }
    }
}

impl Share for Churn {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let begun_ns = now_ns();
        let end_ns = begun_ns + nanoseconds(self.plan.duration);
        let bar = progress::bar("churn", self.plan.duration.as_secs());
        let mut watch = Watch::new();
        self.crowd.series = Series::new(begun_ns, self.plan.duration);
        let most = self.plan.connections as u64;
        while now_ns() < end_ns
            && self.crowd.losses.count() < most
            && !watch.is_stalled(self.crowd.visits)
        {
            self.fill();
            self.swarm.turn(end_ns.min(watch.deadline_ns()), &mut self.crowd)?;
            self.turn_over();
            bar.set_position((now_ns() - begun_ns) / 1_000_000_000);
        }
        bar.finish_and_clear();
        let Crowd { visits, losses, .. } = &self.crowd;
        ensure!(*visits > 0, "the server let nobody come and go: {losses}");
        Ok(())
    }

    fn finish(&mut self) -> Result<Part> {
        let mut part = Part::default();
        part.count("visits", self.crowd.visits);
        part.latency("open", &self.crowd.open);
        part.latency("leave", &self.crowd.leave);
        part.losses = self.crowd.losses.clone();
        part.series = self.crowd.series.clone();
        Ok(part)
    }
}

pub(super) fn outcome(plan: &Plan, part: &Part, usage: Usage) -> Outcome {
    let mut outcome = Outcome::new("churn");
    let visits = part.counted("visits");
    outcome.setting("rooms", plan.rooms);
    outcome.figure("visits", "connections come and gone", visits as f64, Unit::Count);
    let rate = per_second(visits, usage.wall_ns);
    outcome.figure("rate", "connections", rate, Unit::PerSecond);
    outcome.usage(usage, visits, "connection");
    outcome.latency("open", "connect to subscribed", &part.latency_of("open"));
    outcome.latency("leave", "unsubscribe to answer", &part.latency_of("leave"));
    outcome
}

/// How far the visitor at a place has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Connects and subscribes.
    Arriving,
    /// Has asked to leave its room.
    Leaving,
    /// Says goodbye with a close frame.
    Closing,
    /// Is to be dropped.
    Dropped,
}

struct Place {
    /// When the visitor was dialled or asked to leave.
    since_ns: u64,
    visits: usize,
    stage: Stage,
}

struct Crowd {
    first_room: usize,
    rooms: usize,
    places: Vec<Place>,
    /// Visitors on their way into a room.
    arriving: usize,
    /// Places whose visitor is to close or to be dropped.
    done: Vec<usize>,
    visits: u64,
    open: Latency,
    leave: Latency,
    series: Series,
    losses: Losses,
}

impl Crowd {
    fn new(plan: &Plan) -> Self {
        Self {
            first_room: plan.first_room,
            rooms: plan.rooms,
            places: Vec::with_capacity(plan.connections),
            arriving: 0,
            done: Vec::new(),
            visits: 0,
            open: Latency::new(),
            leave: Latency::new(),
            series: Series::default(),
            losses: Losses::default(),
        }
    }

    fn end(&mut self, link: usize, stage: Stage) {
        self.places[link].stage = stage;
        self.done.push(link);
    }
}

impl Traffic for Crowd {
    fn on_message(&mut self, link: usize, message: Message<'_>, reply: &mut Vec<u8>) {
        let room = self.first_room + link % self.rooms;
        let place = &mut self.places[link];
        let took_ns = message.arrived_ns.saturating_sub(place.since_ns);
        let turn = (link + place.visits) % 3;
        match (pubsub::read(message.payload), place.stage) {
            (Said::Connected(_), Stage::Arriving) => pubsub::append_subscribe(room, reply),
            (Said::Subscribed, Stage::Arriving) => {
                self.arriving -= 1;
                self.open.record(took_ns);
                self.series.add(message.arrived_ns);
                if turn == 0 {
                    return self.end(link, Stage::Dropped);
                }
                place.stage = Stage::Leaving;
                place.since_ns = message.arrived_ns;
                pubsub::append_unsubscribe(room, reply);
            }
            (Said::Unsubscribed, Stage::Leaving) => {
                self.leave.record(took_ns);
                self.end(link, if turn == 1 { Stage::Closing } else { Stage::Dropped });
            }
            (Said::Error(error), _) => {
                self.losses.add(&Loss::Refused(format!("the server says: {error}")));
            }
            _ => {}
        }
    }

    fn on_loss(&mut self, link: usize, loss: Loss) {
        let stage = self.places[link].stage;
        if stage != Stage::Closing || loss != Loss::Closed(NORMAL) {
            self.losses.add(&loss);
        }
        if stage == Stage::Arriving {
            self.arriving -= 1;
        }
        self.end(link, Stage::Dropped);
    }
}
