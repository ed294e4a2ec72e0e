//! Publishers that are held for every message: each publishes one, with a ping
//! behind it that is answered only when its hold is over, and goes on then. So the
//! holds are counted from outside, one for each answer, at a given rate.

use super::options::Plan;
use super::seats;
use super::stage::Stage;
use crate::client::frame::{self, PING};
use crate::client::{Loss, Message, Swarm, Traffic, pubsub};
use crate::clock::{nanoseconds, now_ns};
use crate::measure::{Losses, Window};
use crate::scenarios::watch::per_second;
use crate::stamp::Stamp;
use anyhow::Result;
use std::time::Duration;

/// Publishers, each in a room of its own: enough to wait for each other's turns.
const PUBLISHERS: usize = 32;

/// Holds a second that are aimed at.
const RATE: u64 = 10_000;

/// The least that waits for a room's members is more than this, so that each
/// publication holds its publisher until it is sent.
const HOLDING: [&str; 2] = ["--room-share-bytes", "1"];

const WAKE: Duration = Duration::from_millis(1);

/// What one run came to.
#[derive(Debug)]
pub(super) struct Cycled {
    /// Messages published and taken, a second.
    pub(super) rate: f64,
    /// The server's processor time, as a share of the time that passed.
    pub(super) cpu: f64,
    /// The same for each message, in nanoseconds.
    pub(super) cpu_ns_each: f64,
    pub(super) losses: Losses,
}

/// Runs for `duration`, against a server that holds each publisher or none.
pub(super) fn run(plan: &Plan, duration: Duration, holds: bool) -> Result<Cycled> {
    let stage = Stage::start(plan, if holds { &HOLDING } else { &[] })?;
    let mut swarm = Swarm::new(stage.target())?;
    let links = seats::open_on(&mut swarm, PUBLISHERS, None)?;
    for link in &links {
        seats::subscribe(&mut swarm, &[*link], *link..link + 1)?;
    }
    let mut cycles = Cycles { idle: links, answered: 0, losses: Losses::default() };
    let window = Window::begin(Some(stage.pid));
    let (begun_ns, mut sent) = (now_ns(), 0u64);
    let end_ns = begun_ns + nanoseconds(duration);
    let mut frames = Vec::new();
    while now_ns() < end_ns && cycles.losses.count() == 0 {
        let due = (now_ns() - begun_ns) * RATE / 1_000_000_000;
        while sent < due
            && let Some(link) = cycles.idle.pop()
        {
            frames.clear();
            let stamp = Stamp { publisher: 0, sequence: sent as u32, due_ns: now_ns() };
            pubsub::append_publish(link, stamp, plan.size(100), &mut frames);
            frame::append(PING, &[], &mut frames);
            swarm.send(link, &frames, &mut cycles);
            sent += 1;
        }
        swarm.turn(now_ns() + nanoseconds(WAKE), &mut cycles)?;
    }
    let usage = window.end();
    let cpu_ns = usage.server_cpu_ns.unwrap_or(0) as f64;
    Ok(Cycled {
        rate: per_second(cycles.answered, usage.wall_ns),
        cpu: cpu_ns / usage.wall_ns as f64,
        cpu_ns_each: cpu_ns / cycles.answered.max(1) as f64,
        losses: cycles.losses,
    })
}

struct Cycles {
    /// Publishers whose last ping was answered.
    idle: Vec<usize>,
    answered: u64,
    losses: Losses,
}

impl Traffic for Cycles {
    fn on_message(&mut self, _link: usize, _message: Message<'_>, _reply: &mut Vec<u8>) {}

    fn on_pong(&mut self, link: usize, _pong: Message<'_>) {
        self.answered += 1;
        self.idle.push(link);
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}
