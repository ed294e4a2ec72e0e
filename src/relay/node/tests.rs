//! Nodes on one broker in memory, driven by hand.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, Mutex},
};

use super::{
    super::{
        Inlet, RelayStatus,
        broker::{Arrival, Channel},
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

/// What node 3 says on a channel while it is heard of for the first time.
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
    let beat = wire::encode_beat(3, &Beat { beat: 2, sent_ms: bed.now, announcements });
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
