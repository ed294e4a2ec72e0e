//! Who sits where: connections on a given shard, and subscriptions to any number
//! of rooms, many under way at a time.

use crate::client::opening::{Until, open};
use crate::client::pubsub::{self, Said};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::STALL;
use crate::measure::Losses;
use anyhow::{Result, bail, ensure};
use std::ops::Range;

/// Subscriptions under way on all connections.
const IN_FLIGHT: usize = 8_192;

/// Opens `count` connections, on `shard` if that is given, and gives their
/// indices. Those that the kernel put on another shard are closed again.
pub(super) fn open_on(swarm: &mut Swarm, count: usize, shard: Option<u8>) -> Result<Vec<usize>> {
    let mut links = Vec::with_capacity(count);
    for _ in 0..64 {
        let missing = count - links.len();
        if missing == 0 {
            return Ok(links);
        }
        let first = swarm.len();
        let wanted = if shard.is_some() { missing * 2 + 2 } else { missing };
        let opened = open(swarm, wanted, Until::Greeted)?.all()?;
        for (index, on) in (first..).zip(&opened.shards) {
            if links.len() < count && (shard.is_none() || *on == shard) {
                links.push(index);
            } else {
                swarm.abandon(index);
            }
        }
    }
    bail!("only {} of {count} connections came to shard {shard:?}", links.len())
}

/// Subscribes each of `links` to all of `rooms` and waits for the answers.
pub(super) fn subscribe(swarm: &mut Swarm, links: &[usize], rooms: Range<usize>) -> Result<()> {
    let mut frames = Vec::new();
    for room in rooms.clone() {
        pubsub::append_subscribe(room, &mut frames);
    }
    let wanted = links.len() * rooms.len();
    let mut seating = Seating { answered: 0, errors: Vec::new(), losses: Losses::default() };
    let mut asked = 0;
    let mut moved_ns = now_ns();
    for link in links {
        swarm.send(*link, &frames, &mut seating);
        asked += rooms.len();
        let most = IN_FLIGHT.min(wanted - asked);
        while asked - seating.answered > most && now_ns() - moved_ns < nanoseconds(STALL) {
            let before = seating.answered;
            swarm.turn(moved_ns + nanoseconds(STALL), &mut seating)?;
            if seating.answered > before {
                moved_ns = now_ns();
            }
            ensure!(seating.losses.count() == 0, "connections lost: {}", seating.losses);
            if let Some(error) = seating.errors.first() {
                bail!("a subscription failed: {error}");
            }
        }
    }
    ensure!(seating.answered == wanted, "{} of {wanted} subscriptions answered", seating.answered);
    Ok(())
}

struct Seating {
    answered: usize,
    errors: Vec<String>,
    losses: Losses,
}

impl Traffic for Seating {
    fn on_message(&mut self, _link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        match pubsub::read(message.payload) {
            Said::Subscribed => self.answered += 1,
            Said::Error(error) => self.errors.push(error),
            _ => {}
        }
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}

/// Reads and does nothing with it.
pub(super) struct Deaf;

impl Traffic for Deaf {
    fn on_message(&mut self, _link: usize, _message: Message<'_>, _reply: &mut Vec<u8>) {}

    fn on_loss(&mut self, _link: usize, _loss: Loss) {}
}
