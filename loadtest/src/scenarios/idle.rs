//! `idle`: the memory that the server's process keeps per connection that does
//! nothing in one room. What is fixed is paid for by a first hundred, which is
//! not counted; what the kernel keeps is not in it.

use super::{Plan, linger};
use crate::client::opening::{Until, open};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::measure::{Losses, Memory};
use crate::report::{Outcome, Unit};
use anyhow::{Context, Result, ensure};

/// Connections that pay for what is fixed.
const FIRST: usize = 100;

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let pid = plan.server.context("--url needs --pid for this scenario")?;
    ensure!(plan.connections > FIRST, "idle needs more than {FIRST} connections");
    let memory = || Memory::of(pid).context("cannot read the server's memory");
    let everyone = Until::Subscribed { rooms: 1 };
    let mut silence = Silence::default();
    let mut swarm = Swarm::new(&plan.target)?;
    let empty = memory()?;
    open(&mut swarm, FIRST, everyone)?.all()?;
    linger(&mut swarm, &mut silence)?;
    let warm = memory()?;
    let counted = plan.connections - FIRST;
    open(&mut swarm, counted, everyone)?.all()?;
    linger(&mut swarm, &mut silence)?;
    let full = memory()?;

    let mut outcome = Outcome::new("idle");
    let mut bytes = |key: &str, label: &str, value: f64| {
        outcome.figure(key, label, value, Unit::Bytes);
    };
    bytes("resident_empty", "resident, no connection", empty.resident as f64);
    bytes("resident_warm", "resident, first hundred", warm.resident as f64);
    bytes("resident_full", "resident, all", full.resident as f64);
    let grown = |from: u64, to: u64| to.saturating_sub(from) as f64 / counted as f64;
    let resident = grown(warm.resident, full.resident);
    bytes("resident_each", "resident per connection", resident);
    let private = grown(warm.private, full.private);
    bytes("private_each", "private per connection", private);
    outcome.forbid_losses(&silence.losses);
    Ok(outcome)
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
