//! `idle`: the memory that the server's process keeps per connection that does
//! nothing in one room. What is fixed is paid for by a first hundred, which is
//! not counted. What the kernel keeps is shown beside it, for both ends together:
//! it has no account for each.

use super::Plan;
use super::watch::linger;
use crate::client::opening::{Seats, Until, open};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::measure::{Losses, Memory, kernel_objects};
use crate::outcome::{Outcome, Unit};
use crate::share::{Part, Share};
use crate::workforce::Workforce;
use anyhow::{Context, Result, ensure};

/// Connections that pay for what is fixed; the first process opens them.
const FIRST: usize = 100;

const EVERYONE: Until = Until::Subscribed(Seats::ONE_ROOM);

/// The connections of one process.
pub(super) struct Idle {
    plan: Plan,
    first: usize,
    swarm: Swarm,
    silence: Silence,
}

impl Idle {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        let first = if plan.process == 0 { FIRST } else { 0 };
        ensure!(plan.connections > first, "idle needs more than {first} connections");
        let silence = Silence::default();
        Ok(Self { swarm: plan.swarm()?, plan: plan.clone(), first, silence })
    }
}

impl Share for Idle {
    fn open(&mut self) -> Result<()> {
        if self.first > 0 {
            open(&mut self.swarm, self.first, EVERYONE)?.all()?;
        }
        linger(&mut self.swarm, &mut self.silence)
    }

    fn run(&mut self) -> Result<()> {
        open(&mut self.swarm, self.plan.connections - self.first, EVERYONE)?.all()?;
        linger(&mut self.swarm, &mut self.silence)
    }

    fn finish(&mut self) -> Result<Part> {
        let mut part = Part::default();
        part.losses = self.silence.losses.clone();
        Ok(part)
    }
}

/// Runs it, reading the server's memory between the steps.
pub(super) fn run(plan: &Plan, force: &mut Workforce) -> Result<(Outcome, Part)> {
    let pid = plan.server.context("--url needs --pid for this scenario")?;
    let memory = || Memory::of(pid).context("cannot read the server's memory");
    let empty = memory()?;
    force.open()?;
    let warm = memory()?;
    let kernel_warm = kernel_objects();
    force.run()?;
    let full = memory()?;
    let kernel_full = kernel_objects();
    let part = force.finish()?;

    let mut outcome = Outcome::new("idle");
    let mut bytes = |key: &str, label: &str, value: f64| {
        outcome.figure(key, label, value, Unit::Bytes);
    };
    bytes("resident_empty", "resident, no connection", empty.resident as f64);
    bytes("resident_warm", "resident, first hundred", warm.resident as f64);
    bytes("resident_full", "resident, all", full.resident as f64);
    let counted = (plan.connections - FIRST) as f64;
    let grown = |from: u64, to: u64| to.saturating_sub(from) as f64 / counted;
    let resident = grown(warm.resident, full.resident);
    bytes("resident_each", "resident per connection", resident);
    let private = grown(warm.private, full.private);
    bytes("private_each", "private per connection", private);
    if let (Some(warm), Some(full)) = (kernel_warm, kernel_full) {
        bytes("kernel_each", "kernel, both ends of one", grown(warm, full));
    }
    Ok((outcome, part))
}

#[derive(Default)]
struct Silence {
    losses: Losses,
}

impl Traffic for Silence {
    fn on_message(&mut self, _link: usize, _message: Message<'_>, _reply: &mut Vec<u8>) {}

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}
