//! One node of a run, with shards that remember all they are given and at times take
//! nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use shardcast::{
    Position, Publication,
    cluster::{Charge, ClusterAnswer, FromRelay, Question, ToRelay},
    relay::{
        Inlet, RelayStatus,
        node::{Node, NodeSettings},
    },
};

/// Shards.
#[derive(Default)]
pub(crate) struct Shards {
    is_full: AtomicBool,
    given: Mutex<Vec<FromRelay>>,
    credits: Mutex<u64>,
}

impl Inlet for Shards {
    fn give(&self, what: FromRelay) -> Result<(), FromRelay> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(what);
        }
        self.given.lock().unwrap().push(what);
        Ok(())
    }

    fn ring(&self) {}

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    fn credit(&self, charge: Charge) {
        *self.credits.lock().unwrap() += u64::from(charge.bytes);
    }

    fn answer(&self, _: Question) -> Pin<Box<dyn Future<Output = ClusterAnswer> + Send>> {
        Box::pin(ready(ClusterAnswer::default()))
    }
}

/// What a node did and what it was given, with times.
pub(crate) struct Member {
    pub(crate) number: u64,
    pub(crate) node: Node,
    pub(crate) status: Arc<RelayStatus>,
    pub(crate) shards: Shards,
    /// Everything that its shards were given.
    pub(crate) log: Vec<(u64, FromRelay)>,
    /// Everything that it published.
    pub(crate) published: Vec<(u64, Arc<Publication>)>,
    /// The events of those that it published while its broker was away.
    pub(crate) away: BTreeSet<String>,
    /// Rooms that are wanted, since when.
    pub(crate) wanted: BTreeMap<String, u64>,
    /// Rooms that became wanted, or did not stay so, and how long the log was then.
    pub(crate) wants: Vec<(usize, String, bool)>,
    /// Clients that are present.
    pub(crate) present: BTreeSet<u32>,
    /// The room and key of each event that has a key.
    pub(crate) keys: BTreeMap<String, (String, String)>,
    pub(crate) charged: u64,
    pub(crate) receipts: u32,
    pub(crate) recoveries: Vec<(u64, Option<Position>)>,
    pub(crate) answers: Arc<Mutex<Vec<ClusterAnswer>>>,
    pub(crate) asked: usize,
    /// The node may have something for its shards or for the broker.
    pub(crate) is_busy: bool,
}

impl Member {
    pub(crate) fn new(number: u64, settings: NodeSettings, now: u64) -> Self {
        let status = Arc::<RelayStatus>::default();
        let settings = NodeSettings { node: number, seed: number, ..settings };
        Self {
            number,
            node: Node::new(settings, status.clone(), now),
            status,
            shards: Shards::default(),
            log: Vec::new(),
            published: Vec::new(),
            away: BTreeSet::new(),
            wanted: BTreeMap::new(),
            wants: Vec::new(),
            present: BTreeSet::new(),
            keys: BTreeMap::new(),
            charged: 0,
            receipts: 0,
            recoveries: Vec::new(),
            answers: Arc::default(),
            asked: 0,
            is_busy: true,
        }
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.shards.is_full.store(is_full, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.shards.is_full.load(Ordering::Relaxed)
    }

    pub(crate) fn credits(&self) -> u64 {
        *self.shards.credits.lock().unwrap()
    }

    pub(crate) fn does(&mut self, what: ToRelay, now: u64) {
        self.is_busy = true;
        self.node.on_outgoing(what, now);
    }

    /// Whether an event has the key of an earlier one in the same room.
    pub(crate) fn is_repeat(&self, event: &str) -> bool {
        let Some(key) = self.keys.get(event) else { return false };
        let first = self.published.iter().find(|it| self.keys.get(&*it.1.event) == Some(key));
        first.is_some_and(|first| first.1.event != *event)
    }

    /// Answers questions and gives the shards what is for them.
    pub(crate) fn flush(&mut self, now: u64) {
        for (asker, _) in self.node.take_questions() {
            let mut answer = ClusterAnswer::default();
            answer.count = 1;
            self.node.on_answer(asker, &answer, now);
        }
        self.is_busy = !self.node.flush(&self.shards);
        let given = std::mem::take(&mut *self.shards.given.lock().unwrap());
        self.log.extend(given.into_iter().map(|given| (now, given)));
    }
}
