//! A whole relay on a thread of its own, between a fake engine that the test feeds and one
//! that records.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use shardcast::{
    Audience, ConnId, Data, Publication,
    cluster::{Charge, ClusterAnswer, FromRelay, Question, ToRelay},
    relay::{
        Exchange, Inlet, Outgoing, Relay, RelayStatus,
        broker::HistoryLimits,
        node::{HistoryRule, NodeSettings},
        pattern::Pattern,
        redis::{RedisRelay, RedisSettings},
    },
};

use crate::server::{DEADLINE, until};

#[derive(Default)]
struct Feed {
    queue: VecDeque<ToRelay>,
    wake: Option<Box<dyn Fn() + Send + Sync>>,
    has_ended: bool,
}

struct Fed(Arc<Mutex<Feed>>);

impl Outgoing for Fed {
    fn set_waker(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.0.lock().unwrap().wake = Some(wake);
    }

    fn take(&mut self, to: &mut Vec<ToRelay>, most: usize) -> bool {
        let mut feed = self.0.lock().unwrap();
        let count = feed.queue.len().min(most);
        to.extend(feed.queue.drain(..count));
        feed.has_ended && feed.queue.is_empty()
    }

    fn may_sleep(&mut self) -> bool {
        let feed = self.0.lock().unwrap();
        feed.queue.is_empty() && !feed.has_ended
    }

    fn awake(&mut self) {}
}

#[derive(Default)]
struct Record {
    seen: Mutex<Vec<FromRelay>>,
    changed: Condvar,
    /// Takes nothing for now.
    is_full: AtomicBool,
    emptied: tokio::sync::Notify,
}

impl Inlet for Record {
    fn give(&self, what: FromRelay) -> Result<(), FromRelay> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(what);
        }
        self.seen.lock().unwrap().push(what);
        self.changed.notify_all();
        Ok(())
    }

    fn ring(&self) {}

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let emptied = self.emptied.notified();
            if self.is_full.load(Ordering::SeqCst) {
                emptied.await;
            }
        })
    }

    fn credit(&self, _: Charge) {}

    fn answer(&self, _: Question) -> Pin<Box<dyn Future<Output = ClusterAnswer> + Send>> {
        let mut answer = ClusterAnswer::default();
        answer.count = 1;
        Box::pin(std::future::ready(answer))
    }
}

/// A node of a cluster.
pub(crate) struct Node {
    feed: Arc<Mutex<Feed>>,
    record: Arc<Record>,
    pub(crate) status: Arc<RelayStatus>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        {
            let mut feed = self.feed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            feed.has_ended = true;
            if let Some(wake) = &feed.wake {
                wake();
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Node {
    /// A node with history in `h:*` and presence in `p:*`.
    pub(crate) fn start(url: &str, node: u64) -> Self {
        let pattern = |text| Pattern::parse(text).unwrap();
        let limits = HistoryLimits { count: 1_000_000, age_ms: 600_000 };
        let settings = NodeSettings {
            history: vec![HistoryRule { pattern: pattern("h:*"), limits }],
            presence: vec![pattern("p:*")],
            seed: node,
            ..NodeSettings::default()
        };
        let relay = RedisRelay::new(RedisSettings::new(url, "nodes:").unwrap(), settings);
        let (feed, record) = (Arc::new(Mutex::new(Feed::default())), Arc::new(Record::default()));
        let status = relay.status();
        let exchange = Exchange {
            outgoing: Box::new(Fed(feed.clone())),
            inlet: record.clone(),
            node: node << 20 | 7,
        };
        let thread = Some(thread::spawn(move || Box::new(relay).run(exchange)));
        Self { feed, record, status, thread }
    }

    /// Nodes that are ready and know each other.
    #[track_caller]
    pub(crate) fn several(url: &str, count: u64) -> Vec<Self> {
        Self::ready((1..=count).map(|node| Self::start(url, node)).collect())
    }

    /// Waits until these are ready and know each other.
    #[track_caller]
    pub(crate) fn ready(nodes: Vec<Self>) -> Vec<Self> {
        let others = nodes.len() as u64 - 1;
        for node in &nodes {
            node.wait_ready();
            until("all nodes are known", || (node.counter("nodes") == others).then_some(()));
        }
        nodes
    }

    pub(crate) fn wait_ready(&self) {
        crate::server::until_or(
            "a node that is ready",
            || format!("{:?}", self.status.reasons()),
            || self.status.is_ready().then_some(()),
        );
    }

    pub(crate) fn wait_not_ready(&self) {
        until("a node that is not ready", || (!self.status.is_ready()).then_some(()));
    }

    pub(crate) fn send(&self, what: ToRelay) {
        let mut feed = self.feed.lock().unwrap();
        feed.queue.push_back(what);
        if let Some(wake) = &feed.wake {
            wake();
        }
    }

    pub(crate) fn publish(&self, audience: Audience, text: &str) {
        let publication = Publication::new(audience, "message", Data::text(text), 1);
        self.send(ToRelay::Publish {
            publication: Arc::new(publication),
            receipt: None,
            once: None,
            charge: Charge { conn: None, bytes: 0 },
        });
    }

    /// Makes its shards take nothing, or again.
    pub(crate) fn fill(&self, is_full: bool) {
        self.record.is_full.store(is_full, Ordering::SeqCst);
        self.record.emptied.notify_one();
    }

    /// Becomes a member of a room, and waits until that stands.
    #[track_caller]
    pub(crate) fn join(&self, audience: &Audience) {
        self.send(ToRelay::Wanted(audience.clone()));
        self.wait("a link", |what| match what {
            FromRelay::Linked(linked) if linked == audience => Some(()),
            _ => None,
        });
    }

    /// Becomes a member of a room with history, and waits until its place there is known:
    /// whatever is published later is delivered.
    #[track_caller]
    pub(crate) fn follow(&self, name: &str) {
        self.join(&room(name));
        let (conn, since) = (ConnId::new(0, 1, 1), None);
        self.send(ToRelay::Recover { conn, room: name.into(), since });
        self.wait("a place in the history", |what| match what {
            FromRelay::Recovered { room, position, .. } if **room == *name => *position,
            _ => None,
        });
    }

    /// Waits for something, without taking it.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, pick: impl Fn(&FromRelay) -> Option<T>) -> T {
        let mut seen = self.record.seen.lock().unwrap();
        let mut at = 0;
        loop {
            if let Some(found) = seen[at..].iter().find_map(&pick) {
                return found;
            }
            at = seen.len();
            let (again, late) = self.record.changed.wait_timeout(seen, DEADLINE).unwrap();
            seen = again;
            assert!(!late.timed_out(), "never came: {what}");
        }
    }

    /// The texts that were delivered for an audience so far, and the gaps.
    pub(crate) fn delivered(&self, audience: &Audience) -> Vec<String> {
        let seen = self.record.seen.lock().unwrap();
        let texts = seen.iter().filter_map(|what| match what {
            FromRelay::Publish(publication) if publication.audience == *audience => {
                Some(String::from_utf8_lossy(publication.data.bytes()).into_owned())
            }
            _ => None,
        });
        texts.collect()
    }

    /// How many were lost in a room as its members were told, and whether they were told
    /// once that it is not known how many.
    pub(crate) fn gaps(&self, room: &str) -> (u64, bool) {
        let seen = self.record.seen.lock().unwrap();
        let gaps = seen.iter().filter_map(|what| match what {
            FromRelay::Gap(name, count) if **name == *room => Some(*count),
            _ => None,
        });
        gaps.fold((0, false), |(sum, unknown), gap| {
            (sum + gap.unwrap_or(0), unknown | gap.is_none())
        })
    }

    /// What became of another node's publications in a room, in the order in which its
    /// members were told: runs of numbers, and gaps.
    pub(crate) fn story(&self, room: &str, prefix: &str) -> String {
        let seen = self.record.seen.lock().unwrap();
        let mut story = String::new();
        let mut run: Option<(u64, u64)> = None;
        for what in seen.iter() {
            let number = match what {
                FromRelay::Publish(publication) if publication.audience == self::room(room) => {
                    let text = String::from_utf8_lossy(publication.data.bytes()).into_owned();
                    let Some(number) = text.strip_prefix(prefix) else { continue };
                    number.parse::<u64>().unwrap()
                }
                FromRelay::Gap(name, count) if **name == *room => {
                    let run = run.take();
                    let _ = write!(story, "{run:?} gap {count:?}, ");
                    continue;
                }
                _ => continue,
            };
            match &mut run {
                Some((_, last)) if *last + 1 == number => *last = number,
                run => {
                    let before = run.replace((number, number));
                    let _ = write!(story, "{before:?}, ");
                }
            }
        }
        format!("{story}{run:?}")
    }

    /// Changes of presence so far: key, and whether it came.
    pub(crate) fn presence_changes(&self) -> Vec<(String, bool)> {
        let seen = self.record.seen.lock().unwrap();
        let changes = seen.iter().filter_map(|what| match what {
            FromRelay::PresenceChange { who, joined, .. } => Some((who.key(), *joined)),
            _ => None,
        });
        changes.collect()
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let all = self.status.counters.all();
        all.into_iter().find(|(known, _)| *known == name).expect("a counter").1
    }
}

pub(crate) fn room(name: &str) -> Audience {
    Audience::Room(name.into())
}
