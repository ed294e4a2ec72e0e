//! Opening connections: many attempts in flight, each upgraded, greeted and
//! subscribed as the scenario needs it, with the time that each took.

use super::pubsub::{self, Said};
use super::{Loss, Message, Swarm, Target, Traffic};
use crate::clock::{nanoseconds, now_ns};
use crate::limits::{DIALS_IN_FLIGHT, STALL};
use crate::measure::{Latency, Losses};
use crate::progress;
use crate::share::Series;
use anyhow::{Result, bail};
use std::time::Duration;

/// When a connection counts as open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Upgraded.
    Upgraded,
    /// Greeted, in no room.
    Greeted,
    /// Subscribed to its room.
    Subscribed(Seats),
}

/// Which connection sits in which room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seats {
    /// Connection `index` in room `first + index % rooms`.
    Spread {
        /// The number of the first room.
        first: usize,
        /// How many rooms there are.
        rooms: usize,
    },
    /// The first `members` in room 0; the others in rooms of that size, from
    /// room `others_from` on.
    Among {
        /// How many sit in room 0.
        members: usize,
        /// The number of the first other room.
        others_from: usize,
    },
}

impl Seats {
    /// All in room 0.
    pub(crate) const ONE_ROOM: Self = Self::Spread { first: 0, rooms: 1 };

    /// The room of connection `index`.
    fn room(self, index: usize) -> usize {
        match self {
            Self::Spread { first, rooms } => first + index % rooms,
            Self::Among { members, .. } if index < members => 0,
            Self::Among { members, others_from } => {
                others_from + (index - members) / members.max(1)
            }
        }
    }
}

/// How the opening went.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Connections open.
    pub(crate) count: usize,
    /// When the last was acknowledged.
    pub(crate) last_ns: u64,
    /// Acknowledgements over time.
    pub(crate) series: Series,
    /// Of each connection, from its attempt to its acknowledgement.
    pub(crate) latency: Latency,
    /// Those that failed.
    pub(crate) losses: Losses,
    /// The shard of each connection, where its greeting tells.
    pub(crate) shards: Vec<Option<u8>>,
}

impl Opened {
    /// For scenarios that make no sense with some connections missing.
    pub(crate) fn all(self) -> Result<Self> {
        if self.losses.count() > 0 {
            bail!("not every connection opened: {}", self.losses);
        }
        Ok(self)
    }
}

/// Opens `count` more connections in `swarm`.
///
/// # Errors
/// If the server refuses all, or stops answering. Single failures are in the
/// result.
pub(crate) fn open(swarm: &mut Swarm, count: usize, until: Until) -> Result<Opened> {
    let mut opening = Opening::new(swarm.len(), count, until);
    let bar = progress::bar("connecting", count as u64);
    let begun_ns = now_ns();
    let mut moved_ns = begun_ns;
    let mut settled = 0;
    while opening.settled() < count {
        while opening.started_ns.len() < count
            && opening.started_ns.len() - opening.settled() < DIALS_IN_FLIGHT
        {
            opening.started_ns.push(now_ns());
            swarm.dial(&mut opening);
        }
        swarm.turn(moved_ns + nanoseconds(STALL), &mut opening)?;
        if opening.settled() > settled {
            settled = opening.settled();
            moved_ns = now_ns();
            bar.set_position(settled as u64);
        } else if now_ns() - moved_ns >= nanoseconds(STALL) {
            bail!("the server stopped answering: {} of {count} connections open", opening.done);
        }
        if opening.done == 0 && opening.losses.count() >= DIALS_IN_FLIGHT.min(count) as u64 {
            bail!("no connection could be opened: {}", opening.losses);
        }
    }
    bar.finish_and_clear();
    Ok(Opened {
        count: opening.done,
        last_ns: opening.last_ns,
        series: opening.series,
        latency: opening.latency,
        losses: opening.losses,
        shards: opening.shards,
    })
}

/// Subscribes the greeted connections `links` to room 0, one at a time and
/// waiting for each.
pub(crate) fn subscribe(swarm: &mut Swarm, links: &[usize]) -> Result<()> {
    let mut frame = Vec::new();
    pubsub::append_subscribe(0, &mut frame);
    for &link in links {
        let mut opening = Opening::new(0, swarm.len(), Until::Subscribed(Seats::ONE_ROOM));
        opening.started_ns = vec![now_ns(); swarm.len()];
        let deadline_ns = now_ns() + nanoseconds(STALL);
        swarm.send(link, &frame, &mut opening);
        while opening.settled() == 0 {
            swarm.turn(deadline_ns, &mut opening)?;
            if now_ns() >= deadline_ns {
                bail!("the server did not answer a subscription");
            }
        }
        if opening.losses.count() > 0 {
            bail!("a subscription failed: {}", opening.losses);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Done,
    Failed,
}

struct Opening {
    first: usize,
    until: Until,
    started_ns: Vec<u64>,
    states: Vec<State>,
    done: usize,
    failed: usize,
    last_ns: u64,
    latency: Latency,
    losses: Losses,
    series: Series,
    shards: Vec<Option<u8>>,
}

impl Opening {
    fn new(first: usize, count: usize, until: Until) -> Self {
        Self {
            first,
            until,
            started_ns: Vec::with_capacity(count),
            states: vec![State::Pending; count],
            done: 0,
            failed: 0,
            last_ns: 0,
            latency: Latency::new(),
            losses: Losses::default(),
            series: Series::new(now_ns(), Duration::ZERO),
            shards: vec![None; count],
        }
    }

    /// Connections that are open or have failed.
    fn settled(&self) -> usize {
        self.done + self.failed
    }

    fn done(&mut self, link: usize, now_ns: u64) {
        let index = link.wrapping_sub(self.first);
        if self.states.get(index) != Some(&State::Pending) {
            return;
        }
        self.states[index] = State::Done;
        let took_ns = now_ns.saturating_sub(self.started_ns[index]);
        self.latency.record(took_ns);
        self.series.add(now_ns);
        self.last_ns = now_ns;
        self.done += 1;
    }
}

impl Traffic for Opening {
    fn on_open(&mut self, link: usize, _reply: &mut Vec<u8>) {
        if matches!(self.until, Until::Upgraded) {
            self.done(link, now_ns());
        }
    }

    fn on_message(&mut self, link: usize, message: Message<'_>, reply: &mut Vec<u8>) {
        let Some(shard) = self.shards.get_mut(link.wrapping_sub(self.first)) else {
            return;
        };
        match (pubsub::read(message.payload), self.until) {
            (Said::Connected(of), until) => {
                *shard = of;
                match until {
                    Until::Subscribed(seats) => pubsub::append_subscribe(seats.room(link), reply),
                    Until::Greeted => self.done(link, message.arrived_ns),
                    Until::Upgraded => {}
                }
            }
            (Said::Subscribed, _) => self.done(link, message.arrived_ns),
            (Said::Error(error), _) => {
                let why = format!("the server says: {error}");
                self.on_loss(link, Loss::Refused(why));
            }
            (Said::Unsubscribed | Said::Message | Said::Other(_), _) => {}
        }
    }

    fn on_loss(&mut self, link: usize, loss: Loss) {
        self.losses.add(&loss);
        let Some(state) = self.states.get_mut(link.wrapping_sub(self.first)) else {
            return;
        };
        match std::mem::replace(state, State::Failed) {
            State::Pending => self.failed += 1,
            State::Done => {
                self.done -= 1;
                self.failed += 1;
            }
            State::Failed => {}
        }
    }
}

/// Opens all connections of a scenario in a swarm of their own.
pub(crate) fn open_all(target: &Target, count: usize, until: Until) -> Result<(Swarm, Opened)> {
    let mut swarm = Swarm::new(target)?;
    let opened = open(&mut swarm, count, until)?.all()?;
    Ok((swarm, opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_sits_in_rooms_of_the_same_size() {
        let seats = Seats::Among { members: 2, others_from: 5 };
        let rooms: Vec<_> = (0..7).map(|index| seats.room(index)).collect();
        assert_eq!(rooms, [0, 0, 5, 5, 6, 6, 7]);
        let nobody = Seats::Among { members: 0, others_from: 1 };
        assert_eq!((nobody.room(0), nobody.room(3)), (1, 4));
    }
}
