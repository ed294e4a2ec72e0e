//! `echo-unread`: clients that send everything in a loop before they read, as a
//! script does with a library that queues. Everything comes back, in order.

use super::attack;
use super::findings::Findings;
use super::options::Plan;
use crate::client::frame::{self, BINARY};
use crate::client::opening::{Until, open};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::STALL;
use crate::measure::Losses;
use crate::outcome::Unit;
use anyhow::Result;
use std::thread;
use std::time::Duration;

/// Messages and their bytes.
const SHAPES: [(u32, usize); 3] = [(10_000, 1_024), (100, 65_536), (20, 400_000)];

/// How long a client does not read what has already come back.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let (mut findings, stage) = attack::open(plan, &[])?;
    let clients = plan.connections(8, 3);
    findings.note(format!("{clients} clients for each shape"));
    for (count, size) in SHAPES {
        let mut echoes =
            Echoes { next: vec![0; clients], size, wrong: 0, losses: Losses::default() };
        let mut swarm = Swarm::new(&stage.target().raw())?;
        open(&mut swarm, clients, Until::Upgraded)?.all()?;
        let mut frames = Vec::new();
        let mut payload = vec![b'e'; size];
        for number in 0..count {
            payload[..4].copy_from_slice(&number.to_be_bytes());
            frame::append(BINARY, &payload, &mut frames);
        }
        for link in 0..clients {
            swarm.send(link, &frames, &mut echoes);
        }
        thread::sleep(PAUSE);
        let due = u64::from(count) * clients as u64;
        let (mut seen, mut moved_ns) = (0, now_ns());
        while echoes.count() < due && now_ns() - moved_ns < nanoseconds(STALL) {
            swarm.turn(moved_ns + nanoseconds(STALL), &mut echoes)?;
            if echoes.count() > seen {
                (seen, moved_ns) = (echoes.count(), now_ns());
            }
            if echoes.losses.count() >= clients as u64 {
                break;
            }
        }
        findings.group(&format!("{count} x {size} B"));
        findings.figure("echoes", seen as f64, Unit::Count);
        findings.none("echoes missing", due - echoes.count());
        findings.none("echoes wrong", echoes.wrong);
        findings.none("clients closed", echoes.losses.count());
        if echoes.losses.count() > 0 {
            findings.note(echoes.losses.to_string());
        }
        findings.group("");
    }
    let peak = stage.grown().1 as f64;
    findings.figure("resident above idle, peak", peak, Unit::Bytes);
    Ok(findings)
}

struct Echoes {
    /// By link, the number that comes next.
    next: Vec<u32>,
    size: usize,
    wrong: u64,
    losses: Losses,
}

impl Echoes {
    fn count(&self) -> u64 {
        self.next.iter().map(|next| u64::from(*next)).sum()
    }
}

impl Traffic for Echoes {
    fn on_message(&mut self, link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        let number = message.payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        if number != Some(self.next[link]) || message.payload.len() != self.size {
            self.wrong += 1;
        }
        self.next[link] += 1;
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}
