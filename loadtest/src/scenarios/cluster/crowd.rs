//! The clients of all nodes while publications flow: what reaches whom, when, and what
//! never does. Knows neither when publications are due nor what is made of the account.

use super::seating::Seating;
use super::timeline::Timeline;
use crate::client::pubsub::{self, StampReader};
use crate::client::{Loss, Message, Swarm, Traffic};
use crate::ledger::Ledger;
use crate::measure::{Latency, Losses};
use crate::stamp::Stamp;

/// Answers that were not expected, of which so many are kept.
const STRANGE: usize = 3;

/// Holes that are kept to be placed in time; each is a gap that a node had.
const HOLES: usize = 100_000;

const ACK: &[u8] = br#"{"type":"ack","#;
const ERROR: &[u8] = br#"{"type":"error","#;
const GAP: &[u8] = br#"{"type":"gap","#;
/// Where presence is kept, members come and go beside the load.
const PRESENCE: &[u8] = br#"{"type":"presence_"#;

/// All clients of one load, and its account.
pub(super) struct Crowd {
    seating: Seating,
    size: usize,
    acks: bool,
    reader: StampReader,
    /// Order and repeats.
    pub(super) ledger: Ledger,
    /// How many of each publisher each connection has got.
    received: Vec<u32>,
    /// What the first of each room and node has not got when a later number came: the
    /// connection, the publisher and the numbers from the first up to the second.
    holes: Vec<(usize, usize, u32, u32)>,
    /// Of each room and publisher.
    written: Vec<u32>,
    /// Of each room and publisher, as far as they were answered.
    answered: Vec<u32>,
    /// To members on the publisher's node, and on others.
    pub(super) near: Latency,
    pub(super) far: Latency,
    /// Publications that came to another node, for each node once.
    pub(super) relayed: u64,
    /// When the first of those came, and the last.
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    /// By when things happened, if that is asked for.
    pub(super) timeline: Option<Timeline>,
    /// Publications refused by an answer.
    pub(super) refused: u64,
    /// Gaps that nodes told, and what was missed in them as far as they knew.
    pub(super) gaps: u64,
    pub(super) gap_missed: u64,
    pub(super) losses: Losses,
    pub(super) strange: Vec<String>,
    pub(super) strange_count: u64,
    frames: Vec<u8>,
}

/// What did not arrive, by the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// For each node the publications of other nodes that it did not get.
    pub(super) by_node: Vec<u64>,
    /// Deliveries that should have been, on the publisher's own node.
    pub(super) near: u64,
    /// Nodes of which one member got what another did not.
    pub(super) uneven: u64,
}

impl Crowd {
    /// Clients in `seating` without any account yet; publications are of `size`
    /// bytes, each acknowledged if `acks`.
    pub(super) fn new(seating: Seating, size: usize, acks: bool) -> Self {
        let all = seating.rooms * seating.publishers;
        Self {
            seating,
            size,
            acks,
            reader: StampReader::new(0, seating.rooms),
            ledger: Ledger::new(seating.count(), seating.publishers),
            received: vec![0; seating.count() * seating.publishers],
            holes: Vec::new(),
            written: vec![0; all],
            answered: vec![0; all],
            near: Latency::new(),
            far: Latency::new(),
            relayed: 0,
            first_ns: 0,
            last_ns: 0,
            timeline: None,
            refused: 0,
            gaps: 0,
            gap_missed: 0,
            losses: Losses::default(),
            strange: Vec::new(),
            strange_count: 0,
            frames: Vec::new(),
        }
    }

    fn index(&self, room: usize, publisher: usize) -> usize {
        room * self.seating.publishers + publisher
    }

    /// How many publications of `publisher` were written to `room`.
    pub(super) fn written(&self, room: usize, publisher: usize) -> u32 {
        self.written[self.index(room, publisher)]
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> u64 {
        self.seating.nodes as u64
    }

    /// Publications in all.
    pub(super) fn published(&self) -> u64 {
        self.written.iter().map(|count| u64::from(*count)).sum()
    }

    /// How many of them were not answered yet, of one publisher.
    pub(super) fn unanswered(&self, room: usize, publisher: usize) -> u32 {
        let index = self.index(room, publisher);
        self.written[index] - self.answered[index].min(self.written[index])
    }

    /// Deliveries on other nodes that are still to come, for each node once.
    pub(super) fn awaited(&self) -> u64 {
        (self.published() * (self.seating.nodes as u64 - 1)).saturating_sub(self.relayed)
    }

    /// Writes the next `count` publications of one publisher, all due at `due_ns`.
    pub(super) fn publish(
        &mut self,
        swarm: &mut Swarm,
        (room, publisher): (usize, usize),
        count: u32,
        due_ns: u64,
    ) {
        let index = self.index(room, publisher);
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        for _ in 0..count {
            let sequence = self.written[index];
            let stamp = Stamp { publisher: publisher as u8, sequence, due_ns };
            let id = self.acks.then_some(sequence);
            pubsub::append_publish_with_id(room, stamp, self.size, id, &mut frames);
            self.written[index] += 1;
            if let Some(timeline) = &mut self.timeline {
                timeline.published(due_ns);
            }
        }
        swarm.send(self.seating.publisher(room, publisher), &frames, self);
        self.frames = frames;
    }

    fn enter(&mut self, link: usize, stamp: Stamp, arrived_ns: u64) {
        let (room, publisher) = (self.seating.room(link), usize::from(stamp.publisher));
        if publisher >= self.seating.publishers || stamp.sequence >= self.written(room, publisher) {
            return self.strange("a publication that was never written".to_owned());
        }
        let passed = self.ledger.passed(link, publisher);
        if stamp.sequence > passed && self.seating.is_first(link) && self.holes.len() < HOLES {
            self.holes.push((link, publisher, passed, stamp.sequence));
        }
        self.ledger.enter(link, publisher, stamp.sequence);
        self.received[link * self.seating.publishers + publisher] += 1;
        let near = self.seating.publisher_node(room, publisher) == self.seating.node(link);
        let age_ns = stamp.age_ns(arrived_ns);
        if near { &mut self.near } else { &mut self.far }.record(age_ns);
        if !near && self.seating.is_first(link) {
            if self.relayed == 0 {
                self.first_ns = arrived_ns;
            }
            self.relayed += 1;
            self.last_ns = arrived_ns;
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.delivered(arrived_ns, age_ns, near);
        }
    }

    fn strange(&mut self, what: String) {
        self.strange_count += 1;
        if self.strange.len() < STRANGE {
            self.strange.push(what);
        }
    }

    /// The publisher on connection `link`.
    fn publisher_of(&self, link: usize) -> Option<usize> {
        let room = self.seating.room(link);
        let mut all = 0..self.seating.publishers;
        all.find(|publisher| self.seating.publisher(room, *publisher) == link)
    }

    fn answer(&mut self, link: usize) {
        if let Some(publisher) = self.publisher_of(link) {
            let index = self.index(self.seating.room(link), publisher);
            self.answered[index] += 1;
        }
    }

    /// The numbers of one publisher that never came to connection `link`, which is the
    /// first of its room and node.
    pub(super) fn never_received(&self, link: usize, publisher: usize) -> Vec<u32> {
        let own = self.holes.iter().filter(|hole| (hole.0, hole.1) == (link, publisher));
        let written = self.written(self.seating.room(link), publisher);
        let last = self.ledger.passed(link, publisher)..written;
        own.flat_map(|hole| hole.2..hole.3).chain(last).collect()
    }

    /// What has not arrived. A number that came twice makes it less than it is, and
    /// is told for itself.
    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing { by_node: vec![0; self.seating.nodes], near: 0, uneven: 0 };
        let publishers = self.seating.publishers;
        for link in 0..self.seating.count() {
            let (room, node) = (self.seating.room(link), self.seating.node(link));
            for publisher in 0..publishers {
                let got = self.received[link * publishers + publisher];
                let lacks = u64::from(self.written(room, publisher).saturating_sub(got));
                if self.seating.publisher_node(room, publisher) == node {
                    missing.near += lacks;
                } else if self.seating.is_first(link) {
                    missing.by_node[node] += lacks;
                }
                let first = node * self.seating.each() + room;
                let differs = self.received[first * publishers + publisher] != got;
                missing.uneven += u64::from(differs);
            }
        }
        missing
    }
}

impl Traffic for Crowd {
    fn on_message(&mut self, link: usize, message: Message<'_>, _reply: &mut Vec<u8>) {
        let payload = message.payload;
        if payload.starts_with(ACK) {
            return self.answer(link);
        }
        if payload.starts_with(PRESENCE) {
            return;
        }
        if payload.starts_with(GAP) {
            if self.seating.is_first(link) {
                self.gaps += 1;
                self.gap_missed += pubsub::missed(payload).unwrap_or(0);
            }
            return;
        }
        if self.acks && payload.starts_with(ERROR) {
            self.refused += 1;
            return self.answer(link);
        }
        match self.reader.stamp(self.seating.room(link), payload) {
            Ok(stamp) => self.enter(link, stamp, message.arrived_ns),
            Err(what) => self.strange(what),
        }
    }

    fn on_loss(&mut self, _link: usize, loss: Loss) {
        self.losses.add(&loss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(sequence: u32) -> Vec<u8> {
        let mut text = br#"{"type":"message","room":"load-0","data":""#.to_vec();
        Stamp { publisher: 0, sequence, due_ns: 5 }.append(20, &mut text);
        text.extend_from_slice(br#"","timestamp":1}"#);
        text
    }

    #[test]
    fn what_one_node_did_not_get_is_told_apart_from_what_one_member_did_not() {
        let seating = Seating { nodes: 2, rooms: 1, members: 2, publishers: 1 };
        let mut crowd = Crowd::new(seating, 20, false);
        crowd.written[0] = 3;
        let mut give = |link: usize, sequences: &[u32]| {
            for sequence in sequences {
                let payload = publication(*sequence);
                let message = Message { payload: &payload, arrived_ns: 9 };
                crowd.on_message(link, message, &mut Vec::new());
            }
        };
        // Links 0 and 1 are on the publisher's node, 2 and 3 on the other.
        give(0, &[0, 1, 2]);
        give(1, &[0, 1, 2]);
        give(2, &[0, 2]);
        give(3, &[0, 2]);
        assert_eq!((crowd.relayed, crowd.awaited()), (2, 1));
        let missing = Missing { by_node: vec![0, 1], near: 0, uneven: 0 };
        assert_eq!(crowd.missing(), missing);
        assert_eq!(crowd.never_received(2, 0), [1]);
        assert!(crowd.never_received(0, 0).is_empty());
        assert_eq!((crowd.ledger.skipped, crowd.ledger.repeated), (2, 0));
        assert_eq!((crowd.near.histogram().len(), crowd.far.histogram().len()), (6, 4));
        give_gap(&mut crowd);
        assert_eq!((crowd.gaps, crowd.gap_missed), (1, 1));
        assert_eq!(crowd.strange_count, 0);
    }

    fn give_gap(crowd: &mut Crowd) {
        for link in [2, 3] {
            let payload = br#"{"type":"gap","room":"load-0","data":{"missed":1},"timestamp":1}"#;
            let message = Message { payload, arrived_ns: 9 };
            crowd.on_message(link, message, &mut Vec::new());
        }
    }
}
