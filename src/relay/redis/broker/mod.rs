//! Carries out what a node asks of its broker, by Redis. It owns the links, knows which
//! server has which partition, and keeps the order of operations when they move.

mod answers;
mod upkeep;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use redis::{Pipeline, PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    context::Context,
    discovery::News,
    link::{Event, Link},
    names::{CLUSTER_PARTITIONS, Names},
    pending::{self, Pending},
    scripts::{self, Scripts},
    settings::RedisSettings,
    subscriptions::{Left, Subscriptions},
    url::{Address, Topology},
};
use crate::relay::{
    RelayStatus,
    broker::{Arrival, BrokerError, Channel, Operation},
};

/// Bytes of operations that may be on their way; more is taken when answers come.
const OUTSTANDING_BYTES: usize = 8 << 20;
/// Bytes beyond which operations are refused as if the server were away.
const MOST_OUTSTANDING_BYTES: usize = 4 * OUTSTANDING_BYTES;
/// Commands for subscriptions in one write.
const SUBSCRIBE_BATCH: usize = 512;
/// How soon an operation that was not done is tried again, in milliseconds.
const AGAIN_MS: u64 = 25;

/// The first pause before connecting again, and the longest, in milliseconds: short
/// enough to be back within two seconds of the server.
const BACKOFF_MS: (u64, u64) = (50, 1000);

#[derive(Default)]
struct Partition {
    owner: Option<Address>,
    in_flight: usize,
    /// Not done, to be tried again in this order when nothing is in flight.
    held: BTreeMap<u64, Pending>,
    again_at: u64,
    /// Whether the first that was tried again was done, and the rest may follow.
    is_open: bool,
}

/// The broker. Give it operations ([`RedisBroker::submit`]), events
/// ([`RedisBroker::serve`]) and the time; take its arrivals.
pub struct RedisBroker {
    context: Arc<Context>,
    status: Arc<RelayStatus>,
    events: UnboundedReceiver<Event>,
    news: UnboundedReceiver<News>,
    tell: UnboundedSender<News>,
    links: HashMap<Address, Link>,
    partitions: Vec<Partition>,
    subscriptions: Subscriptions,
    arrivals: Vec<Arrival>,
    /// Servers of a cluster.
    servers: Vec<Address>,
    is_up: bool,
    /// How often it has come up.
    ups: u64,
    is_paused: bool,
    /// Why it is down, as it was told last.
    reason: String,
    is_planning: bool,
    /// When to look where partitions are, unless that is under way.
    plan_at: u64,
    backoff_ms: u64,
    /// When repeated and reviewed next.
    review_at: u64,
    next_link: u64,
    sequence: u64,
    outstanding: usize,
    /// Until when each cause counts.
    refusals: BTreeMap<&'static str, u64>,
    random: RandomState,
}

/// Commands for one server each.
#[derive(Default)]
struct Batches {
    commands: HashMap<Address, (Pipeline, Vec<Pending>)>,
    subscriptions: HashMap<Address, Pipeline>,
}

impl RedisBroker {
    /// A broker that begins to connect with the first [`RedisBroker::on_tick`].
    pub fn new(settings: RedisSettings, status: Arc<RelayStatus>) -> Self {
        let is_cluster = settings.url.topology == Topology::Cluster;
        let partitions = if is_cluster { CLUSTER_PARTITIONS } else { 1 };
        let (sender, events) = unbounded_channel();
        let (tell, news) = unbounded_channel();
        let names = Names::new(settings.prefix(), partitions);
        let scripts = Scripts::new(is_cluster);
        Self {
            context: Arc::new(Context { settings, names, scripts, events: sender }),
            status,
            events,
            news,
            tell,
            links: HashMap::new(),
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            subscriptions: Subscriptions::default(),
            arrivals: Vec::new(),
            servers: Vec::new(),
            is_up: false,
            ups: 0,
            is_paused: false,
            reason: String::new(),
            is_planning: false,
            plan_at: 0,
            backoff_ms: BACKOFF_MS.0,
            review_at: 0,
            next_link: 1,
            sequence: 0,
            outstanding: 0,
            refusals: BTreeMap::new(),
            random: RandomState::new(),
        }
    }

    /// Whether more operations should be submitted than those that cannot wait.
    pub fn has_room(&self) -> bool {
        self.outstanding < OUTSTANDING_BYTES
    }

    /// Whether every operation has been answered.
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0
    }

    /// Reads subscriptions no more, or again.
    pub fn pause(&mut self, paused: bool) {
        if self.is_paused != paused {
            self.is_paused = paused;
            self.links.values().for_each(|link| link.pause(paused));
        }
    }

    /// What has arrived, in order.
    pub fn take_arrivals(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals)
    }

    /// Waits until something happens on a link, and takes in all that has, up to `most`
    /// events. Dropped before its end, it has taken in nothing.
    pub async fn serve(&mut self, most: usize, now: impl Fn() -> u64) {
        let mut events = Vec::new();
        let news = tokio::select! {
            _ = self.events.recv_many(&mut events, most) => None,
            news = self.news.recv() => news,
        };
        self.take_in(events, news, now());
    }

    /// Takes in what has happened, without waiting.
    pub fn serve_ready(&mut self, most: usize, now: impl Fn() -> u64) {
        let mut events = Vec::new();
        while events.len() < most
            && let Ok(event) = self.events.try_recv()
        {
            events.push(event);
        }
        let news = self.news.try_recv().ok();
        self.take_in(events, news, now());
    }

    fn take_in(&mut self, events: Vec<Event>, news: Option<News>, now: u64) {
        match news {
            Some(News::Planned(plan)) => self.on_plan(plan, now),
            Some(News::Master(master)) => self.on_master(&master, now),
            None => {}
        }
        for event in events {
            self.on_event(event, now);
        }
    }

    /// Carries out operations, in one write for each server.
    pub fn submit(&mut self, operations: Vec<Operation>, now: u64) {
        let mut batches = Batches::default();
        for operation in operations {
            match operation {
                Operation::Subscribe(channel) => self.subscribe(channel, now, &mut batches),
                Operation::Unsubscribe(channel) => self.unsubscribe(&channel, &mut batches),
                operation => self.place(operation, now, &mut batches),
            }
        }
        self.send(batches, now);
    }

    fn random(&self) -> u64 {
        self.random.hash_one((self.sequence, self.next_link, self.plan_at))
    }

    fn link(&self, partition: u16) -> Option<(&Address, &Link)> {
        let owner = self.partitions.get(usize::from(partition))?.owner.as_ref()?;
        self.links.get_key_value(owner)
    }

    fn subscribe(&mut self, channel: Channel, now: u64, batches: &mut Batches) {
        let (partition, name) = self.context.names.channel(&channel);
        let link = self.link(partition).map(|(address, link)| (address.clone(), link.id));
        let id = link.as_ref().map(|(_, id)| *id);
        // Without a link: all that is wanted is subscribed again when there is one.
        if let Some((address, _)) = link {
            self.subscriptions.want(name.clone(), channel, partition, id, now);
            self.push_subscription(&address, true, &name, batches);
        }
    }

    fn unsubscribe(&mut self, channel: &Channel, batches: &mut Batches) {
        let (_, name) = self.context.names.channel(channel);
        let link = self.subscriptions.unwant(&name);
        let address = self.links.iter().find(|(_, known)| Some(known.id) == link);
        if let Some(address) = address.map(|(address, _)| address.clone()) {
            self.push_subscription(&address, false, &name, batches);
        }
    }

    fn push_subscription(&self, address: &Address, on: bool, name: &[u8], batches: &mut Batches) {
        let command = match (self.partitions.len() > 1, on) {
            (false, true) => "SUBSCRIBE",
            (false, false) => "UNSUBSCRIBE",
            (true, true) => "SSUBSCRIBE",
            (true, false) => "SUNSUBSCRIBE",
        };
        let pipeline = batches.subscriptions.entry(address.clone()).or_default();
        pipeline.cmd(command).arg(name);
        if pipeline.len() >= SUBSCRIBE_BATCH
            && let Some(link) = self.links.get(address)
        {
            link.subscribe(std::mem::take(pipeline));
        }
    }

    fn place(&mut self, operation: Operation, now: u64, batches: &mut Batches) {
        let partition = pending::partition(&operation, &self.context.names);
        self.sequence += 1;
        let pending = Pending { sequence: self.sequence, partition, operation, held_since: 0 };
        if self.outstanding > MOST_OUTSTANDING_BYTES {
            return self.give_up(&pending.operation);
        }
        self.outstanding += pending::weight(&pending.operation);
        if self.partitions[usize::from(partition)].held.is_empty() {
            self.push_command(pending, batches);
        } else {
            self.hold(pending, now);
        }
    }

    fn push_command(&mut self, pending: Pending, batches: &mut Batches) {
        let epoch = self.random();
        let Context { names, scripts, .. } = &*self.context;
        let command = pending::command(&pending.operation, names, scripts, epoch);
        let address = self.link(pending.partition).map(|(address, _)| address.clone());
        let (Some(address), Some(command)) = (address, command) else {
            self.outstanding -= pending::weight(&pending.operation);
            return self.give_up(&pending.operation);
        };
        self.partitions[usize::from(pending.partition)].in_flight += 1;
        let (pipeline, batch) = batches.commands.entry(address).or_default();
        pipeline.add_command(command);
        batch.push(pending);
    }

    fn give_up(&mut self, operation: &Operation) {
        self.arrivals.extend(pending::failed(operation, BrokerError::Away));
    }

    fn hold(&mut self, mut pending: Pending, now: u64) {
        if pending.held_since == 0 {
            pending.held_since = now;
        }
        let partition = &mut self.partitions[usize::from(pending.partition)];
        partition.is_open = false;
        partition.again_at = partition.again_at.max(now + AGAIN_MS);
        partition.held.insert(pending.sequence, pending);
    }

    fn send(&mut self, batches: Batches, now: u64) {
        for (address, (pipeline, batch)) in batches.commands {
            match self.links.get(&address) {
                Some(link) => link.send(pipeline, batch),
                None => self.on_answers(batch, None, now),
            }
        }
        for (address, pipeline) in batches.subscriptions {
            if let Some(link) = self.links.get(&address).filter(|_| !pipeline.is_empty()) {
                link.subscribe(pipeline);
            }
        }
    }

    fn on_event(&mut self, event: Event, now: u64) {
        match event {
            Event::Lost(link, why) => self.on_lost(link, &why, now),
            Event::Pushed(link, push, bytes) => {
                if let Some(link) = self.links.values().find(|known| known.id == link) {
                    link.taken(bytes);
                }
                self.on_push(link, push, now);
            }
            Event::Answered(batch, answers) => self.on_answers(batch, answers, now),
            Event::Subscribed(link, answers) => self.on_subscribed(link, answers, now),
        }
    }

    fn on_push(&mut self, link: u64, push: PushInfo, now: u64) {
        let mut data = push.data.into_iter();
        let Some(Value::BulkString(name)) = data.next() else { return };
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let channel = self.subscriptions.channel(link, &name);
                if let (Some(channel), Some(Value::BulkString(message))) = (channel, data.next()) {
                    self.arrivals.push(scripts::arrival(channel, message));
                }
            }
            PushKind::Subscribe | PushKind::SSubscribe => {
                let channel = self.subscriptions.confirm(link, &name);
                self.arrivals.extend(channel.map(Arrival::Subscribed));
            }
            PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                if let Left::Lost(channel) = self.subscriptions.left(link, &name) {
                    self.arrivals.push(Arrival::Unsubscribed(channel));
                    self.plan_soon(now);
                }
            }
            _ => {}
        }
    }
}
