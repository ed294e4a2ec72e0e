//! A broker in the memory of this process, for the nodes of this process.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    super::broker::{Arrival, BrokerError, Channel, Operation},
    journal::{Journal, JournalError},
    store::{Store, Stored},
};
use crate::cluster::{Position, Presence};

/// So much may wait for a node before its connection ends, as a server's would whose
/// client does not read: messages, and their bytes.
const INBOX: usize = 1 << 16;
const INBOX_BYTES: usize = 64 << 20;

/// What wakes a node.
type Wake = Arc<dyn Fn() + Send + Sync>;

/// One broker, shared by all its clones.
#[derive(Clone)]
pub struct MemoryBroker {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    store: Store,
    journal: Option<Journal>,
    subscribers: BTreeMap<Channel, BTreeSet<u64>>,
    nodes: BTreeMap<u64, Inbox>,
    links: u64,
    /// Whom to wake when the lock has been given back.
    woken: BTreeSet<u64>,
}

/// What waits for one node.
struct Inbox {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
    wake: Wake,
}

/// One node's connection to a [`MemoryBroker`]. It ends when this is dropped.
pub struct MemoryLink {
    inner: Arc<Mutex<Inner>>,
    link: u64,
}

fn kept_bytes(arrival: &Arrival) -> usize {
    match arrival {
        Arrival::Message { message, .. } => message.len(),
        Arrival::History { history: Some(history), .. } => {
            history.entries.iter().map(|(_, message)| message.len() + 16).sum()
        }
        Arrival::Present { present: Some(present), .. } => present.len() * 64,
        _ => 0,
    }
}

impl MemoryBroker {
    /// A broker that keeps nothing yet.
    pub fn new() -> Self {
        Self::with(Store::new(random()), None)
    }

    /// A broker whose histories outlive it in a file: what `path` has is loaded, and
    /// everything that is appended is written there before it is answered.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is none of ours or broken. It stays as
    /// it is then.
    pub fn with_file(path: impl Into<std::path::PathBuf>) -> Result<Self, JournalError> {
        let mut store = Store::new(random());
        let journal = Journal::open(path.into(), &mut store)?;
        Ok(Self::with(store, Some(journal)))
    }

    fn with(store: Store, journal: Option<Journal>) -> Self {
        let inner = Inner {
            store,
            journal,
            subscribers: BTreeMap::new(),
            nodes: BTreeMap::new(),
            links: 0,
            woken: BTreeSet::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Connects a node, which is woken by `wake` when something has arrived for it.
    pub fn connect(&self, wake: impl Fn() + Send + Sync + 'static) -> MemoryLink {
        let mut inner = lock(&self.inner);
        inner.links += 1;
        let link = inner.links;
        let up = VecDeque::from([Arrival::Up { partitions: 1 }]);
        inner.nodes.insert(link, Inbox { arrivals: up, bytes: 0, wake: Arc::new(wake) });
        MemoryLink { inner: self.inner.clone(), link }
    }

    /// Bytes of all histories.
    pub fn bytes(&self) -> usize {
        lock(&self.inner).store.bytes()
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryLink {
    /// Carries out what the node asks for, and wakes those whom it concerns. `now` is in
    /// milliseconds of one clock for all nodes.
    pub fn submit(&self, operations: Vec<Operation>, now: u64) {
        if operations.is_empty() {
            return;
        }
        let mut inner = lock(&self.inner);
        for operation in operations {
            inner.carry_out(self.link, operation, now);
        }
        inner.compact();
        let woken = std::mem::take(&mut inner.woken);
        let wakes: Vec<Wake> =
            woken.iter().filter_map(|link| Some(inner.nodes.get(link)?.wake.clone())).collect();
        drop(inner);
        for wake in &wakes {
            wake();
        }
    }

    /// What has arrived, so much at the most.
    pub fn take(&self, most: usize) -> Vec<Arrival> {
        let mut inner = lock(&self.inner);
        let Some(inbox) = inner.nodes.get_mut(&self.link) else { return Vec::new() };
        let most = most.min(inbox.arrivals.len());
        let taken: Vec<Arrival> = inbox.arrivals.drain(..most).collect();
        inbox.bytes -= taken.iter().map(kept_bytes).sum::<usize>();
        taken
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        let mut inner = lock(&self.inner);
        inner.forget_subscriptions(self.link);
        inner.nodes.remove(&self.link);
    }
}

impl Inner {
    fn forget_subscriptions(&mut self, link: u64) {
        self.subscribers.retain(|_, links| {
            links.remove(&link);
            !links.is_empty()
        });
    }

    fn tell(&mut self, link: u64, arrival: Arrival) {
        let Some(inbox) = self.nodes.get_mut(&link) else { return };
        inbox.bytes += kept_bytes(&arrival);
        inbox.arrivals.push_back(arrival);
        let is_too_slow = inbox.arrivals.len() > INBOX || inbox.bytes > INBOX_BYTES;
        if is_too_slow {
            let reason = "too much waits that the node does not take".to_owned();
            inbox.arrivals = VecDeque::from([Arrival::Down(reason), Arrival::Up { partitions: 1 }]);
            inbox.bytes = 0;
            self.forget_subscriptions(link);
        }
        self.woken.insert(link);
    }

    fn publish(&mut self, channel: &Channel, message: &Bytes, position: Option<Position>) {
        let links: Vec<u64> =
            self.subscribers.get(channel).into_iter().flatten().copied().collect();
        for link in links {
            let (channel, message) = (channel.clone(), message.clone());
            self.tell(link, Arrival::Message { channel, message, position });
        }
    }

    fn presence_changed(&mut self, room: &Arc<str>, who: &Presence, joined: bool) {
        let links = self.subscribers.get(&Channel::Room(room.clone()));
        let links: Vec<u64> = links.into_iter().flatten().copied().collect();
        for link in links {
            let (room, who) = (room.clone(), who.clone());
            self.tell(link, Arrival::PresenceChanged { room, who, joined });
        }
    }

    fn append(
        &mut self,
        room: &Arc<str>,
        stored: (Bytes, super::super::broker::HistoryLimits),
        once: Option<&(Box<str>, u64)>,
        now: u64,
    ) -> Result<Option<(Position, bool)>, BrokerError> {
        let (message, limits) = stored;
        if let Some(error) = self.journal.as_ref().and_then(Journal::error) {
            return Err(BrokerError::Refused(error));
        }
        let key = once.map(|(key, window_ms)| (&**key, *window_ms));
        let (position, is_repeat) = self.store.append(room, message.clone(), limits, key, now)?;
        if !is_repeat {
            if let Some(journal) = &mut self.journal {
                let stored =
                    Stored { position, at_ms: now, limits, message: Some(message.clone()) };
                journal.write(room, &stored);
            }
            self.publish(&Channel::Room(room.clone()), &message, Some(position));
        }
        Ok(Some((position, is_repeat)))
    }

    fn compact(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.flush(&self.store);
        }
    }

    fn carry_out(&mut self, link: u64, operation: Operation, now: u64) {
        match operation {
            Operation::Subscribe(channel) => {
                self.subscribers.entry(channel.clone()).or_default().insert(link);
                self.tell(link, Arrival::Subscribed(channel));
            }
            Operation::Unsubscribe(channel) => {
                if let Some(links) = self.subscribers.get_mut(&channel) {
                    links.remove(&link);
                    if links.is_empty() {
                        self.subscribers.remove(&channel);
                    }
                }
            }
            Operation::Publish { channel, message, token } => {
                self.publish(&channel, &message, None);
                self.tell(link, Arrival::Published { token, result: Ok(None) });
            }
            Operation::Append { room, message, limits, once, token } => {
                let result = self.append(&room, (message, limits), once.as_ref(), now);
                self.tell(link, Arrival::Published { token, result });
            }
            Operation::Read { room, after, count, limits, token } => {
                let history = Some(self.store.read(&room, after, count, limits, now));
                self.tell(link, Arrival::History { token, history });
            }
            Operation::Enter { room, who, ttl_ms } => {
                if self.store.enter(&room, who.clone(), ttl_ms, now) {
                    self.presence_changed(&room, &who, true);
                }
            }
            Operation::Leave { room, who } => {
                if self.store.leave(&room, &who) {
                    self.presence_changed(&room, &who, false);
                }
            }
            Operation::Expire { room } => {
                for who in self.store.expire(&room, now) {
                    self.presence_changed(&room, &who, false);
                }
            }
            Operation::List { room, token } => {
                let present = Some(self.store.list(&room, now));
                self.tell(link, Arrival::Present { token, present });
            }
        }
    }
}
