//! `echo`: every connection keeps messages in flight to a server that sends
//! them back. A closed loop: it finds the most that the server can do, and its
//! latencies are those of a server that is always busy.

use super::Plan;
use super::watch::{Watch, per_second};
use crate::client::opening::{Until, open};
use crate::client::{Loss, Message, Swarm, Traffic, frame};
use crate::clock::{nanoseconds, now_ns};
use crate::measure::{Latency, Losses, Usage};
use crate::outcome::{Outcome, Unit};
use crate::progress;
use crate::share::{Part, Series, Share};
use crate::stamp::payload;
use anyhow::Result;
use std::time::Duration;

/// Load before the measurement: caches fill, buffers grow, clocks speed up.
const WARM_UP: Duration = Duration::from_secs(1);

/// The connections of one process.
pub(super) struct Echoes {
    plan: Plan,
    swarm: Swarm,
    echo: Echo,
}

impl Echoes {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            swarm: Swarm::new(&plan.target.raw())?,
            echo: Echo::new(plan, plan.connections),
            plan: plan.clone(),
        })
    }
}

impl Share for Echoes {
    fn open(&mut self) -> Result<()> {
        open(&mut self.swarm, self.plan.connections, Until::Upgraded)?.all()?;
        self.echo.begin(&mut self.swarm);
        self.echo.run_for(&mut self.swarm, WARM_UP.min(self.plan.duration))
    }

    fn run(&mut self) -> Result<()> {
        self.echo.received = 0;
        self.echo.latency = Latency::new();
        self.echo.run_for(&mut self.swarm, self.plan.duration)
    }

    fn finish(&mut self) -> Result<Part> {
        let mut part = Part::default();
        part.count("messages", self.echo.received);
        part.latency("round_trip", &self.echo.latency);
        part.series = self.echo.series.clone();
        part.count("unanswered", self.echo.finish(&mut self.swarm)?);
        part.count("wrong", self.echo.wrong);
        part.losses = self.echo.losses.clone();
        Ok(part)
    }
}

pub(super) fn outcome(plan: &Plan, part: &Part, usage: Usage) -> Outcome {
    let mut outcome = Outcome::new("echo");
    let messages = part.counted("messages");
    outcome.setting("size", plan.size);
    outcome.setting("pipeline", plan.pipeline);
    outcome.figure("messages", "messages echoed", messages as f64, Unit::Count);
    let rate = per_second(messages, usage.wall_ns);
    outcome.figure("rate", "messages", rate, Unit::PerSecond);
    outcome.usage(usage, messages, "message");
    outcome.latency("round_trip", "round trip", &part.latency_of("round_trip"));
    outcome.forbid(part.counted("unanswered"), "messages never came back");
    outcome.forbid(part.counted("wrong"), "messages came back changed");
    outcome
}

struct Echo {
    pipeline: usize,
    /// `pipeline` times the same frame: as many as come back go out in one send.
    frames: Vec<u8>,
    frame_bytes: usize,
    payload: Vec<u8>,
    /// Per connection, a ring of the times at which its messages were sent.
    sent_ns: Vec<u64>,
    /// Per connection, how many have come back.
    returned: Vec<u32>,
    stopping: bool,
    in_flight: u64,
    received: u64,
    wrong: u64,
    latency: Latency,
    series: Series,
    losses: Losses,
}

impl Echo {
    fn new(plan: &Plan, connections: usize) -> Self {
        let payload = payload(plan.size);
        let mut frames = Vec::new();
        frame::append(frame::BINARY, &payload, &mut frames);
        let frame_bytes = frames.len();
        Self {
            pipeline: plan.pipeline,
            frames: frames.repeat(plan.pipeline),
            frame_bytes,
            payload,
            sent_ns: vec![0; connections * plan.pipeline],
            returned: vec![0; connections],
            stopping: false,
            in_flight: 0,
            received: 0,
            wrong: 0,
            latency: Latency::new(),
            series: Series::default(),
            losses: Losses::default(),
        }
    }

    fn begin(&mut self, swarm: &mut Swarm) {
        let frames = std::mem::take(&mut self.frames);
        for link in 0..swarm.len() {
            let slots = link * self.pipeline..(link + 1) * self.pipeline;
            self.sent_ns[slots].fill(now_ns());
            self.in_flight += self.pipeline as u64;
            swarm.send(link, &frames, self);
        }
        self.frames = frames;
    }

    fn run_for(&mut self, swarm: &mut Swarm, duration: Duration) -> Result<()> {
        let begun_ns = now_ns();
        let end_ns = begun_ns + nanoseconds(duration);
        let bar = progress::bar("echo", duration.as_secs());
        let mut watch = Watch::new();
        self.series = Series::new(begun_ns, duration);
        while now_ns() < end_ns && !watch.is_stalled(self.received) && !self.is_alone() {
            swarm.turn(end_ns.min(watch.deadline_ns()), self)?;
            bar.set_position((now_ns() - begun_ns) / 1_000_000_000);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Whether every connection is lost.
    fn is_alone(&self) -> bool {
        self.losses.count() >= self.returned.len() as u64
    }

    /// Sends no more and waits for what is in flight. Gives what never came.
    fn finish(&mut self, swarm: &mut Swarm) -> Result<u64> {
        self.stopping = true;
        let mut watch = Watch::new();
        while self.in_flight > 0 && !watch.is_stalled(self.received) && !self.is_alone() {
            swarm.turn(watch.deadline_ns(), self)?;
        }
        Ok(self.in_flight)
    }
}

impl Traffic for Echo {
    fn on_message(&mut self, link: usize, message: Message<'_>, reply: &mut Vec<u8>) {
        self.wrong += u64::from(message.payload != self.payload);
        self.received += 1;
        self.series.add(message.arrived_ns);
        let slot = link * self.pipeline + self.returned[link] as usize % self.pipeline;
        self.returned[link] = self.returned[link].wrapping_add(1);
        let sent_ns = std::mem::replace(&mut self.sent_ns[slot], message.arrived_ns);
        self.latency.record(message.arrived_ns.saturating_sub(sent_ns));
        if self.stopping {
            self.in_flight -= 1;
        } else {
            reply.extend_from_slice(&self.frames[..self.frame_bytes]);
        }
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}
