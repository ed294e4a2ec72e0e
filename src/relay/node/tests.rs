//! Nodes on one broker in memory, driven by hand.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, Mutex},
};

use super::{
    super::{
        Inlet, RelayStatus,
        broker::{Arrival, Channel, Operation},
        memory::{MemoryBroker, MemoryLink},
        wire::{self, Announcement, Beat, Number, Numbered},
    },
    *,
};
use crate::{
    cluster::{Charge, ClusterAnswer, FromRelay, Question, ToRelay},
    publication::{Audience, Data, Publication},
};

/// Shards that take everything and remember it.
#[derive(Default)]
struct Shards {
    given: Mutex<Vec<FromRelay>>,
    credits: Mutex<Vec<Charge>>,
}

impl Inlet for Shards {
    fn give(&self, what: FromRelay) -> Result<(), FromRelay> {
        self.given.lock().unwrap().push(what);
        Ok(())
    }

    fn ring(&self) {}

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    fn credit(&self, charge: Charge) {
        self.credits.lock().unwrap().push(charge);
    }

    fn answer(&self, _: Question) -> Pin<Box<dyn Future<Output = ClusterAnswer> + Send>> {
        Box::pin(ready(ClusterAnswer { count: 1, ..ClusterAnswer::default() }))
    }
}

/// A node, its shards and its connection to the broker.
struct Bed {
    node: Node,
    link: MemoryLink,
    shards: Shards,
    status: Arc<RelayStatus>,
    now: u64,
}

impl Bed {
    fn new(node: u64, broker: &MemoryBroker, settings: NodeSettings) -> Self {
        let status = Arc::<RelayStatus>::default();
        let settings = NodeSettings { node, ..settings };
        let now = 1_000_000;
        let node = Node::new(settings, status.clone(), now);
        Self { node, link: broker.connect(|| ()), shards: Shards::default(), status, now }
    }

    fn does(&mut self, what: ToRelay) {
        self.node.on_outgoing(what, self.now);
        self.work();
    }

    /// Works until nothing is left to do now.
    fn work(&mut self) {
        loop {
            self.link.submit(self.node.take_operations(), self.now);
            for (asker, _) in self.node.take_questions() {
                let answer = ClusterAnswer { count: 1, ..ClusterAnswer::default() };
                self.node.on_answer(asker, &answer, self.now);
            }
            assert!(self.node.flush(&self.shards));
            let arrivals = self.link.take(100);
            if arrivals.is_empty() {
                return;
            }
            for arrival in arrivals {
                self.node.on_arrival(arrival, self.now);
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.node.on_tick(self.now);
        self.work();
    }

    fn given(&self) -> Vec<FromRelay> {
        std::mem::take(&mut *self.shards.given.lock().unwrap())
    }

    fn events(&self) -> Vec<String> {
        let published = self.given().into_iter().filter_map(|given| match given {
            FromRelay::Publish(publication) => Some(publication.event.to_string()),
            _ => None,
        });
        published.collect()
    }
}

fn room(name: &str) -> Audience {
    Audience::Room(name.into())
}

fn publish(name: &str, event: &str) -> ToRelay {
    let publication = Publication::new(room(name), event, Data::text("x"), 5);
    let charge = Charge { conn: None, bytes: 10 };
    ToRelay::Publish { publication: publication.into(), receipt: None, once: None, charge }
}

#[test]
fn a_publication_reaches_the_members_on_the_other_node_and_not_its_own() {
    let broker = MemoryBroker::new();
    let mut one = Bed::new(1, &broker, NodeSettings::default());
    let mut other = Bed::new(2, &broker, NodeSettings::default());
    for bed in [&mut one, &mut other] {
        bed.work();
        bed.does(ToRelay::Wanted(room("lobby")));
        assert!(matches!(&bed.given()[..], [FromRelay::Linked(found)] if *found == room("lobby")));
        bed.pass(0);
        assert!(bed.status.is_ready(), "{:?}", bed.status.reasons());
    }
    one.does(publish("lobby", "hello"));
    one.does(publish("elsewhere", "nobody"));
    other.work();
    assert_eq!(other.events(), ["hello"]);
    assert_eq!(one.events(), [""; 0]);
    assert_eq!(one.shards.credits.lock().unwrap().len(), 2);
}

#[test]
fn what_is_published_in_one_turn_goes_in_one_message_and_arrives_one_by_one() {
    let broker = MemoryBroker::new();
    let mut one = Bed::new(1, &broker, NodeSettings::default());
    let mut other = Bed::new(2, &broker, NodeSettings::default());
    for bed in [&mut one, &mut other] {
        bed.work();
        bed.does(ToRelay::Wanted(room("lobby")));
        bed.given();
    }
    let sent = |event: &str| publish("lobby", event);
    for what in [sent("a"), sent("b"), publish("elsewhere", "x"), sent("c"), sent("d")] {
        one.node.on_outgoing(what, one.now);
    }
    let operations = one.node.take_operations();
    let publishes = operations.iter().filter(|it| matches!(it, Operation::Publish { .. }));
    assert_eq!(publishes.count(), 3, "{operations:?}");
    one.link.submit(operations, one.now);
    one.work();
    other.work();
    assert_eq!(other.events(), ["a", "b", "c", "d"]);
    // Each was charged for, and all of it comes back.
    let credits = one.shards.credits.lock().unwrap();
    assert_eq!(credits.iter().map(|charge| charge.bytes).sum::<u32>(), 50);
}

/// What another node says on a channel.
fn from_other(channel: Channel, message: bytes::Bytes) -> Arrival {
    Arrival::Message { channel, message, position: None }
}

#[test]
fn members_are_told_that_messages_may_be_missing_where_a_nodes_first_heartbeat_is() {
    let broker = MemoryBroker::new();
    let mut bed = Bed::new(1, &broker, NodeSettings::default());
    bed.work();
    bed.does(ToRelay::Wanted(room("lobby")));
    (0..8).for_each(|_| bed.pass(250));
    // Numbers 3 to 5 were announced by its first beat. Neither they nor it have come, and
    // the second says no more than that the numbering is as old as the subscription.
    let channel = Channel::Room("lobby".into());
    let numbered = Numbered {
        first: 3,
        first_age_ms: 1_900,
        before: 5,
        next_age_ms: 50,
        last: 6,
        last_age_ms: 50,
    };
    let announcements = vec![Announcement::Numbered(channel.clone(), numbered)];
    let beat = wire::encode_beat(
        3,
        &Beat { beat: 2, sent_ms: bed.now, is_subscribed: true, announcements },
    );
    let publication = Publication::new(room("lobby"), "six", Data::text("x"), 5);
    let number = Number { sequence: 6, since_first: 3 };
    let six = wire::encode_publication(3, number, &publication);
    bed.given();
    bed.node.on_arrival(from_other(channel, six), bed.now);
    bed.node.on_arrival(from_other(Channel::Control(0), beat), bed.now);
    bed.work();
    let given = bed.given();
    assert!(matches!(&given[..], [FromRelay::Publish(_), FromRelay::Gap(_, None)]), "{given:?}");
}

/// Two nodes on one broker, the second of them a member of `lobby`, and what the first
/// has heard of.
fn two(settings: NodeSettings) -> (Bed, Bed) {
    let broker = MemoryBroker::new();
    let mut one = Bed::new(1, &broker, settings);
    let mut other = Bed::new(2, &broker, NodeSettings::default());
    one.work();
    other.work();
    other.does(ToRelay::Wanted(room("lobby")));
    one.pass(250);
    other.work();
    other.given();
    (one, other)
}

/// The node's connection ends, something is published, and it is made again.
fn reconnect(bed: &mut Bed, event: &str) {
    bed.node.on_arrival(Arrival::Down("cut".to_owned()), bed.now);
    bed.does(publish("lobby", event));
    bed.node.on_arrival(Arrival::Up { partitions: 1 }, bed.now);
    bed.work();
}

fn count(bed: &Bed, name: &str) -> u64 {
    let all = bed.status.counters.all();
    all.iter().find(|(found, _)| *found == name).unwrap().1
}

#[test]
fn what_waited_is_published_in_order_once_all_others_have_subscribed_again() {
    let (mut one, mut other) = two(NodeSettings::default());
    other.pass(250);
    one.work();
    let beat = |is_subscribed| {
        let beat = Beat { beat: 1, sent_ms: 0, is_subscribed, announcements: Vec::new() };
        from_other(Channel::Control(0), wire::encode_beat(3, &beat))
    };
    one.node.on_arrival(beat(true), one.now);
    reconnect(&mut one, "waited");
    one.does(publish("lobby", "meanwhile"));
    other.pass(250);
    one.node.on_arrival(beat(false), one.now);
    one.pass(250);
    other.pass(600);
    // Node 3 has not.
    assert_eq!((other.events(), count(&one, "queued")), (vec![], 2));
    one.node.on_arrival(beat(true), one.now);
    one.does(publish("lobby", "afterwards"));
    one.pass(250);
    other.work();
    assert_eq!(other.events(), ["waited", "meanwhile", "afterwards"]);
    other.pass(600);
    assert_eq!((count(&other, "lost"), count(&one, "queued")), (0, 0));
}

#[test]
fn what_waited_waits_for_a_node_that_does_not_come_back_for_a_bounded_time() {
    let (mut one, mut other) = two(NodeSettings::default());
    other.pass(250);
    one.work();
    reconnect(&mut one, "waited");
    // The other one receives, but nothing of it comes.
    for _ in 0..5 {
        one.pass(250);
        other.work();
        assert_eq!(other.events(), [""; 0]);
    }
    one.pass(250);
    other.work();
    assert_eq!(other.events(), ["waited"]);
}

#[test]
fn a_node_that_knows_no_other_does_not_wait() {
    let (mut one, mut other) = two(NodeSettings::default());
    reconnect(&mut one, "waited");
    other.work();
    assert_eq!(other.events(), ["waited"]);
}

#[test]
fn what_waits_for_other_nodes_is_published_before_it_would_be_dropped() {
    let bounds = [(600, 30_000), (16 << 20, 1_000)];
    for (outage_bytes, outage_age_ms) in bounds {
        let settings = NodeSettings { outage_bytes, outage_age_ms, ..NodeSettings::default() };
        let (mut one, mut other) = two(settings);
        other.pass(250);
        one.work();
        reconnect(&mut one, "1");
        for event in ["2", "3", "4", "5"] {
            one.pass(240);
            one.does(publish("lobby", event));
        }
        one.pass(240);
        other.work();
        assert_eq!(other.events(), ["1", "2", "3", "4", "5"]);
        assert_eq!((count(&one, "dropped"), count(&other, "gaps")), (0, 0));
    }
}

#[test]
fn a_node_that_is_back_announces_again_what_it_has_published() {
    let (mut one, _other) = two(NodeSettings::default());
    one.does(publish("lobby", "1"));
    // Announced, and heard by nobody; who asks for it again is not heard either.
    one.pass(250);
    one.node.on_arrival(Arrival::Down("cut".to_owned()), one.now);
    one.pass(3_000);
    one.node.on_arrival(Arrival::Up { partitions: 1 }, one.now);
    one.node.on_tick(one.now);
    let lobby = Channel::Room("lobby".into());
    let announces = |operation: &Operation| {
        let Operation::Publish { channel, message, .. } = operation else { return false };
        let Ok(wire::Message { body: wire::Body::Beat(beat), .. }) = wire::decode(message, channel)
        else {
            return false;
        };
        let mut all = beat.announcements.iter();
        all.any(|one| matches!(one, Announcement::Numbered(channel, _) if *channel == lobby))
    };
    assert!(one.node.take_operations().iter().any(announces));
}
