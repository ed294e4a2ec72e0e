//! Publications that go on while something fails, and what has become of them in the end:
//! none twice, none out of order, and what is lost is counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use shardcast::Audience;

use crate::{
    node::{Node, room},
    server::until_or,
};

/// The room without history, and the one with.
const PLAIN: &str = "plain";
const KEPT: &str = "h:kept";

/// Nodes under load, each a publisher and a member of both rooms.
pub(crate) struct Load {
    pub(crate) nodes: Arc<Vec<Node>>,
    stop: Arc<AtomicBool>,
    publishers: Vec<thread::JoinHandle<u64>>,
}

impl Load {
    /// Starts nodes, and lets each publish in both rooms.
    #[track_caller]
    pub(crate) fn start(url: &str, count: u64) -> Self {
        Self::on(Node::several(url, count))
    }

    #[track_caller]
    pub(crate) fn on(nodes: Vec<Node>) -> Self {
        for node in &nodes {
            node.join(&room(PLAIN));
            node.follow(KEPT);
        }
        let nodes = Arc::new(nodes);
        let stop = Arc::new(AtomicBool::new(false));
        let publishers = (0..nodes.len())
            .map(|at| {
                let (nodes, stop) = (nodes.clone(), stop.clone());
                thread::spawn(move || {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        nodes[at].publish(room(PLAIN), &format!("{at}:{number}"));
                        nodes[at].publish(room(KEPT), &format!("{at}:{number}"));
                        number += 1;
                        // A rate, not a wait for anything.
                        thread::sleep(Duration::from_micros(500));
                    }
                    number
                })
            })
            .collect();
        let load = Self { nodes, stop, publishers };
        load.goes_on();
        load
    }

    /// Waits until every node receives from every other again.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            node.wait_ready();
            for other in (0..self.nodes.len()).filter(|other| *other != at) {
                let prefix = format!("{other}:");
                for audience in [room(PLAIN), room(KEPT)] {
                    let count = || {
                        let all = node.delivered(&audience);
                        all.iter().filter(|text| text.starts_with(&prefix)).count()
                    };
                    let before = count();
                    until_or(
                        "more from the others",
                        || format!("{audience:?} {before} {:?}", node.status),
                        || (count() > before + 10).then_some(()),
                    );
                }
            }
        }
    }

    /// Stops publishing, and checks what has become of everything.
    #[track_caller]
    pub(crate) fn check(self) -> Outcome {
        self.check_all(true)
    }

    /// Checks all but that the history is whole: a replica may lack what its master had
    /// confirmed, and what is repeated for that reason may have been delivered before.
    #[track_caller]
    pub(crate) fn check_but_history(self) -> Outcome {
        self.check_all(false)
    }

    #[track_caller]
    fn check_all(self, is_whole: bool) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let published: Vec<u64> =
            self.publishers.into_iter().map(|thread| thread.join().unwrap()).collect();
        let total: u64 = published.iter().sum();
        let mut outcome = Outcome::default();
        let dropped: u64 = self.nodes.iter().map(|node| node.counter("dropped")).sum();
        assert_eq!(dropped, 0, "the outage was longer than what is kept");
        for (at, node) in self.nodes.iter().enumerate() {
            let expected = total - published[at];
            until_or(
                "all that was published to be delivered or counted",
                || {
                    let delivered = node.delivered(&room(PLAIN)).len();
                    let others = (0..published.len()).filter(|other| *other != at);
                    let stories = others.map(|other| node.story(PLAIN, &format!("{other}:")));
                    let stories: Vec<_> = stories.collect();
                    format!("node {at}: {delivered} of {expected} {stories:#?} {:?}", node.status)
                },
                || {
                    let delivered = node.delivered(&room(PLAIN)).len() as u64;
                    let (lost, _) = node.gaps(PLAIN);
                    assert!(delivered + lost <= expected, "{delivered} and {lost} of {expected}");
                    (delivered + lost == expected).then_some(())
                },
            );
            assert_ascends(PLAIN, &node.delivered(&room(PLAIN)));
            outcome.lost += node.gaps(PLAIN).0;
        }
        if is_whole {
            outcome.kept = check_kept(&self.nodes, total);
        }
        outcome
    }
}

/// In the end.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Publications in the room without history that did not arrive, over all nodes.
    pub(crate) lost: u64,
    /// Those in the room with history.
    pub(crate) kept: usize,
}

/// Every node has everything in one order.
#[track_caller]
fn check_kept(nodes: &[Node], total: u64) -> usize {
    let audience: Audience = room(KEPT);
    for node in nodes {
        until_or(
            "the whole history",
            || {
                let delivered = node.delivered(&audience);
                let ends = (delivered.first(), delivered.last());
                format!("{} of {total}, {ends:?} {:?}", delivered.len(), node.status)
            },
            || (node.delivered(&audience).len() as u64 >= total).then_some(()),
        );
    }
    let first = nodes[0].delivered(&audience);
    assert_eq!(first.len() as u64, total);
    assert_ascends(KEPT, &first);
    for node in nodes {
        assert!(node.delivered(&audience) == first, "two nodes disagree about a room's order");
        assert_eq!(node.gaps(KEPT), (0, false));
    }
    first.len()
}

/// Per publisher: in order, and none twice.
#[track_caller]
fn assert_ascends(room: &str, texts: &[String]) {
    let mut last = std::collections::HashMap::new();
    for text in texts {
        let (publisher, number) = text.split_once(':').expect("publisher and number");
        let number: i64 = number.parse().unwrap();
        let before = last.insert(publisher, number).unwrap_or(-1);
        assert!(before < number, "{room}: {publisher}: {number} behind {before}");
    }
}
