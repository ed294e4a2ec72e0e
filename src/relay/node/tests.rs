//! Nodes on one broker in memory, driven by hand.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, Mutex},
};

use super::{
    super::{
        Inlet, RelayStatus,
        broker::Operation,
        memory::{MemoryBroker, MemoryLink},
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
