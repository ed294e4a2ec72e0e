//! `broadcast`: every one of N clients sends one message to all, and the round
//! ends when all N² have arrived.

use super::Plan;
use super::watch::{Watch, linger, per_second};
use crate::client::opening::{Until, open_all};
use crate::client::{Loss, Message, Swarm, Traffic, pubsub};
use crate::clock::{nanoseconds, now_ns};
use crate::measure::{Latency, Losses, Window};
use crate::outcome::{Outcome, Unit};
use crate::progress;
use crate::share::Series;
use anyhow::Result;

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let (mut swarm, _) = open_all(&plan.target, plan.connections, Until::Greeted)?;
    let mut crowd = Crowd::new(plan.connections);
    let mut frame = Vec::new();
    pubsub::append_broadcast(plan.size, &mut frame);

    crowd.round(&mut swarm, &frame)?;
    let warmed_up = crowd.received;
    let mut rounds = Latency::new();
    let bar = progress::bar("broadcast", plan.duration.as_secs());
    let begun_ns = now_ns();
    crowd.series = Series::new(begun_ns, plan.duration);
    let window = Window::begin(plan.server);
    while crowd.complete && now_ns() - begun_ns < nanoseconds(plan.duration) {
        let round_ns = now_ns();
        crowd.round(&mut swarm, &frame)?;
        rounds.record(now_ns() - round_ns);
        bar.set_position((now_ns() - begun_ns) / 1_000_000_000);
    }
    let usage = window.end();
    let count = crowd.received - warmed_up;
    bar.finish_and_clear();
    linger(&mut swarm, &mut crowd)?;

    let mut outcome = Outcome::new("broadcast");
    outcome.setting("size", plan.size);
    let played = rounds.histogram().len() as f64;
    outcome.figure("rounds", "rounds", played, Unit::Count);
    outcome.figure("deliveries", "deliveries", count as f64, Unit::Count);
    let rate = per_second(count, usage.wall_ns);
    outcome.figure("rate", "deliveries", rate, Unit::PerSecond);
    outcome.usage(usage, count, "delivery");
    outcome.latency("round", "whole round", &rounds);
    outcome.series(&crowd.series);
    outcome.forbid(crowd.missing(), "messages lost");
    outcome.forbid(crowd.surplus(), "messages too many");
    outcome.forbid(crowd.strange, "answers that were not expected");
    outcome.forbid_losses(&crowd.losses);
    Ok(outcome)
}

struct Crowd {
    /// Per connection, messages received in all rounds.
    got: Vec<u64>,
    sent_rounds: u64,
    received: u64,
    complete: bool,
    strange: u64,
    series: Series,
    losses: Losses,
}

impl Crowd {
    fn new(connections: usize) -> Self {
        Self {
            got: vec![0; connections],
            sent_rounds: 0,
            received: 0,
            complete: true,
            strange: 0,
            series: Series::default(),
            losses: Losses::default(),
        }
    }

    /// What each connection should have got by now.
    fn due(&self) -> u64 {
        self.sent_rounds * self.got.len() as u64
    }

    fn missing(&self) -> u64 {
        let due = self.due();
        self.got.iter().map(|got| due.saturating_sub(*got)).sum()
    }

    fn surplus(&self) -> u64 {
        let due = self.due();
        self.got.iter().map(|got| got.saturating_sub(due)).sum()
    }

    fn round(&mut self, swarm: &mut Swarm, frame: &[u8]) -> Result<()> {
        self.sent_rounds += 1;
        for link in 0..self.got.len() {
            swarm.send(link, frame, self);
        }
        let wanted = self.due() * self.got.len() as u64;
        let mut watch = Watch::new();
        while self.received < wanted && self.complete {
            swarm.turn(watch.deadline_ns(), self)?;
            self.complete = !watch.is_stalled(self.received) && self.losses.count() == 0;
        }
        Ok(())
    }
}

impl Traffic for Crowd {
    fn on_message(&mut self, link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        if pubsub::is_message(message.payload) {
            self.got[link] += 1;
            self.received += 1;
            self.series.add(message.arrived_ns);
        } else {
            self.strange += 1;
        }
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}
