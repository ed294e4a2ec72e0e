//! Clients of rooms with history that lose their node and come back to another: each
//! says where it was, and must get what it missed, in order and once. Knows no process.

use crate::client::pubsub::{self, StampReader};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::ledger::Ledger;
use crate::limits::DIALS_IN_FLIGHT;
use crate::measure::{Latency, Losses};
use std::collections::VecDeque;

/// Answers that were not expected, of which so many are kept.
const STRANGE: usize = 3;

/// When something arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the kill.
    Before,
    /// Until all are back.
    During,
    /// From then on.
    After,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected.
    Away,
    /// Connecting, or waiting for the answer to its subscription.
    Coming,
    /// Told that all it missed follows, up to this offset.
    Catching(u64),
    /// Has all.
    Here,
}

/// All clients: those who stay, then those who come back.
pub(super) struct Returning {
    rooms: usize,
    stay: usize,
    states: Vec<State>,
    /// The last offset that each has seen.
    offsets: Vec<u64>,
    /// Of each room, once somebody has been told.
    epochs: Vec<Option<String>>,
    reader: StampReader,
    /// Publications by number, one publisher for each room.
    pub(super) ledger: Ledger,
    /// Offsets that were not the next.
    pub(super) jumps: u64,
    /// Who is to be connected.
    queue: VecDeque<usize>,
    coming: usize,
    here: usize,
    /// When the node was killed; 0 before.
    killed_ns: u64,
    /// From the kill until each client had all that it had missed.
    pub(super) recovery: Latency,
    /// When the last had.
    pub(super) recovered_ns: u64,
    pub(super) not_recovered: u64,
    /// To those who stay, by phase.
    pub(super) phase: Phase,
    pub(super) latencies: [Latency; 3],
    /// Attempts that failed after the kill, and connections lost that should not be.
    pub(super) retries: u64,
    pub(super) losses: Losses,
    pub(super) strange: Vec<String>,
    pub(super) strange_count: u64,
}

impl Returning {
    /// `stay` clients that keep their node, which must be a multiple of `rooms`, and
    /// `others` that lose theirs. Client `i` is in room `i % rooms`.
    pub(super) fn new(rooms: usize, stay: usize, others: usize) -> Self {
        let all = stay + others;
        Self {
            rooms,
            stay,
            states: vec![State::Away; all],
            offsets: vec![0; all],
            epochs: vec![None; rooms],
            reader: StampReader::new(0, rooms),
            ledger: Ledger::new(all, 1),
            jumps: 0,
            queue: VecDeque::new(),
            coming: 0,
            here: 0,
            killed_ns: 0,
            recovery: Latency::new(),
            recovered_ns: 0,
            not_recovered: 0,
            phase: Phase::Before,
            latencies: [Latency::new(), Latency::new(), Latency::new()],
            retries: 0,
            losses: Losses::default(),
            strange: Vec::new(),
            strange_count: 0,
        }
    }

    /// Deliveries in all, if all of `written`, for each room, comes to every client.
    pub(super) fn wanted(&self, written: &[u32]) -> u64 {
        (0..self.states.len()).map(|link| u64::from(written[link % self.rooms])).sum()
    }

    /// Clients that are connected and have all.
    pub(super) fn here(&self) -> usize {
        self.here
    }

    /// Whether all have lost their node, and are back: those who lose it first are back
    /// before the last has noticed.
    pub(super) fn all_back(&self) -> bool {
        self.here == self.states.len() && self.recovery.histogram().len() >= self.here as u64
    }

    /// These are to be connected next.
    pub(super) fn want(&mut self, links: std::ops::Range<usize>) {
        self.queue.extend(links);
    }

    /// Connects who waits for it, so many at a time.
    pub(super) fn dial(&mut self, swarm: &mut Swarm) {
        while self.coming < DIALS_IN_FLIGHT {
            let Some(link) = self.queue.pop_front() else {
                return;
            };
            self.states[link] = State::Coming;
            self.coming += 1;
            if link < swarm.len() {
                swarm.redial(link, self);
            } else {
                swarm.dial(self);
            }
        }
    }

    /// Their node was killed at `now_ns`: whoever loses it comes back.
    pub(super) fn killed(&mut self, now_ns: u64) {
        self.killed_ns = now_ns;
    }

    /// Clients that have every publication, `written` for each room, in order and once.
    pub(super) fn exact(&self, written: &[u32]) -> usize {
        let has_all = |link: &usize| self.ledger.passed(*link, 0) == written[link % self.rooms];
        (0..self.states.len()).filter(has_all).count()
    }

    /// Clients that lack something.
    pub(super) fn count_missing(&self, written: &[u32]) -> u64 {
        (self.states.len() - self.exact(written)) as u64
    }

    fn strange(&mut self, what: String) {
        self.strange_count += 1;
        if self.strange.len() < STRANGE {
            self.strange.push(what);
        }
    }

    fn subscribe(&self, link: usize, reply: &mut Vec<u8>) {
        let room = link % self.rooms;
        match &self.epochs[room] {
            Some(epoch) if self.killed_ns > 0 => {
                pubsub::append_recover(room, epoch, self.offsets[link], reply);
            }
            _ => pubsub::append_subscribe(room, reply),
        }
    }

    fn subscribed(&mut self, link: usize, message: Message<'_>) {
        let Some(place) = pubsub::place(message.payload) else {
            return self.strange("a subscription without a place in a history".to_owned());
        };
        let is_back = self.killed_ns > 0;
        self.epochs[link % self.rooms] = Some(place.epoch);
        if !is_back {
            self.offsets[link] = place.offset;
            return self.settle(link);
        }
        if place.recovered != Some(true) {
            self.not_recovered += 1;
            self.offsets[link] = place.offset;
        }
        self.states[link] = State::Catching(place.offset);
        self.settle_if_complete(link, message.arrived_ns);
    }

    fn settle_if_complete(&mut self, link: usize, arrived_ns: u64) {
        let State::Catching(until) = self.states[link] else {
            return;
        };
        if self.offsets[link] >= until {
            self.settle(link);
            self.recovery.record(arrived_ns.saturating_sub(self.killed_ns));
            self.recovered_ns = arrived_ns;
        }
    }

    fn settle(&mut self, link: usize) {
        self.states[link] = State::Here;
        self.coming = self.coming.saturating_sub(1);
        self.here += 1;
    }

    fn enter(&mut self, link: usize, message: Message<'_>) {
        let stamp = match self.reader.stamp(link % self.rooms, message.payload) {
            Ok(stamp) => stamp,
            Err(what) => return self.strange(what),
        };
        let Some(offset) = pubsub::offset(message.payload) else {
            return self.strange("a publication without an offset".to_owned());
        };
        self.jumps += u64::from(offset != self.offsets[link] + 1);
        self.offsets[link] = offset;
        self.ledger.enter(link, usize::from(stamp.publisher), stamp.sequence);
        if link < self.stay {
            let age_ns = stamp.age_ns(message.arrived_ns);
            self.latencies[self.phase as usize].record(age_ns);
        }
        self.settle_if_complete(link, message.arrived_ns);
    }
}

impl Traffic for Returning {
    fn on_message(&mut self, link: usize, message: Message<'_>, reply: &mut Vec<u8>) {
        if message.payload.starts_with(br#"{"type":"message","#) {
            return self.enter(link, message);
        }
        match pubsub::read(message.payload) {
            pubsub::Said::Connected(_) => self.subscribe(link, reply),
            pubsub::Said::Subscribed => self.subscribed(link, message),
            pubsub::Said::Error(error) => self.strange(format!("the server says: {error}")),
            other => self.strange(format!("unexpected: {other:?}")),
        }
    }

    fn on_loss(&mut self, link: usize, loss: Loss) {
        match self.states[link] {
            State::Here => self.here -= 1,
            State::Coming | State::Catching(_) => self.coming -= 1,
            State::Away => {}
        }
        let expected = self.killed_ns > 0 && link >= self.stay;
        if !expected {
            self.losses.add(&loss);
            self.states[link] = State::Away;
            return;
        }
        self.retries += u64::from(self.states[link] != State::Here);
        self.states[link] = State::Away;
        self.queue.push_back(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    fn say(clients: &mut Returning, link: usize, text: &str, arrived_ns: u64) -> Vec<u8> {
        let mut reply = Vec::new();
        let message = Message { payload: text.as_bytes(), arrived_ns };
        clients.on_message(link, message, &mut reply);
        reply
    }

    fn subscribed(offset: u64, recovered: &str) -> String {
        format!(
            r#"{{"type":"subscribed","room":"load-0","data":{{"room":"load-0","client_count":2,"epoch":"0123456789abcdef","offset":{offset}{recovered}}},"timestamp":1}}"#
        )
    }

    fn publication(sequence: u32, offset: u64) -> String {
        let mut data = Vec::new();
        Stamp { publisher: 0, sequence, due_ns: 0 }.append(20, &mut data);
        let data = String::from_utf8(data).unwrap();
        format!(
            r#"{{"type":"message","room":"load-0","data":"{data}","offset":{offset},"timestamp":1}}"#
        )
    }

    #[test]
    fn a_client_is_back_when_it_has_all_that_it_was_promised() {
        let mut clients = Returning::new(1, 1, 1);
        for link in [0, 1] {
            clients.states[link] = State::Coming;
            say(&mut clients, link, &subscribed(0, ""), 1);
            say(&mut clients, link, &publication(0, 1), 2);
        }
        assert_eq!(clients.here(), 2);
        clients.killed(10);
        clients.on_loss(1, Loss::Ended);
        assert_eq!((clients.here(), clients.queue.len()), (1, 1));
        clients.states[1] = State::Coming;
        let mut request = Vec::new();
        pubsub::append_recover(0, "0123456789abcdef", 1, &mut request);
        let connected = r#"{"type":"connected","data":{"client_id":"x"},"timestamp":1}"#;
        assert_eq!(say(&mut clients, 1, connected, 11), request);
        say(&mut clients, 1, &subscribed(3, r#","recovered":true"#), 12);
        say(&mut clients, 1, &publication(1, 2), 13);
        assert_eq!(clients.here(), 1);
        say(&mut clients, 1, &publication(2, 3), 15);
        assert_eq!(clients.here(), 2);
        assert_eq!(clients.recovered_ns, 15);
        say(&mut clients, 0, &publication(1, 2), 16);
        assert_eq!(clients.exact(&[3]), 1);
        assert_eq!((clients.jumps, clients.strange_count, clients.not_recovered), (0, 0, 0));
    }

    #[test]
    fn a_client_that_lacks_one_is_not_exact() {
        let mut clients = Returning::new(1, 0, 1);
        clients.states[0] = State::Coming;
        say(&mut clients, 0, &subscribed(0, ""), 1);
        clients.killed(2);
        clients.on_loss(0, Loss::Ended);
        clients.states[0] = State::Coming;
        say(&mut clients, 0, &subscribed(2, r#","recovered":false"#), 3);
        say(&mut clients, 0, &publication(3, 4), 4);
        assert_eq!((clients.jumps, clients.not_recovered), (1, 1));
        assert_eq!(clients.exact(&[5]), 0);
        assert!(clients.all_back());
    }
}
