//! Carries out what a node asks of its broker, by Redis. It owns the links, knows which
//! server has which partition, and keeps the order of operations when they move.

mod answers;
mod upkeep;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use redis::{Pipeline, PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    context::Context,
    discovery::News,
    link::{Link, LinkEvent},
    names::{CLUSTER_PARTITIONS, Names},
    pending::{self, Pending},
    scripts::{self, Place, Scripts},
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

/// The first pause before connecting again, and the longest, in milliseconds: short
/// enough to be back within two seconds of the server.
const BACKOFF_MS: (u64, u64) = (50, 1000);

#[derive(Default)]
struct Partition {
    owner: Option<Address>,
    /// The same for histories.
    place: Place,
    /// The link to its owner, if it stands.
    link: Option<u64>,
    in_flight: usize,
    /// Not done, to be tried again in this order when nothing is in flight.
    held: BTreeMap<u64, Pending>,
    again_at: u64,
    /// Whether the first that was tried again was done, and the rest may follow.
    is_open: bool,
    /// Whether nothing new is sent before what is in flight was done: it may have gone
    /// to another server, or may be refused once more, and nothing is to overtake it.
    is_closed: bool,
}

/// The broker. Give it operations ([`RedisBroker::submit`]), events
/// ([`RedisBroker::serve`]) and the time; take its arrivals.
pub struct RedisBroker {
    context: Arc<Context>,
    status: Arc<RelayStatus>,
    events: UnboundedReceiver<LinkEvent>,
    news: UnboundedReceiver<News>,
    tell: UnboundedSender<News>,
    /// One for each server: a few.
    links: Vec<(Address, Link)>,
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
    /// When it is asked next where partitions are.
    ask_at: u64,
    next_link: u64,
    sequence: u64,
    outstanding: usize,
    /// Until when each cause counts.
    refusals: BTreeMap<&'static str, u64>,
    random: RandomState,
}

/// Commands for a link.
struct Batch {
    link: u64,
    commands: Pipeline,
    pending: Vec<Pending>,
    subscriptions: Pipeline,
}

/// At most one batch for each link.
#[derive(Default)]
struct Batches(Vec<Batch>);

impl Batches {
    fn of(&mut self, link: u64) -> &mut Batch {
        let known = self.0.iter().position(|batch| batch.link == link);
        let at = known.unwrap_or_else(|| {
            let (commands, subscriptions) = (Pipeline::new(), Pipeline::new());
            self.0.push(Batch { link, commands, pending: Vec::new(), subscriptions });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
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
            links: Vec::new(),
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
            ask_at: 0,
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
            for (_, link) in &self.links {
                link.pause(paused);
            }
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

    fn take_in(&mut self, events: Vec<LinkEvent>, news: Option<News>, now: u64) {
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

    fn link(&self, id: u64) -> Option<&Link> {
        self.links.iter().map(|(_, link)| link).find(|link| link.id == id)
    }

    fn subscribe(&mut self, channel: Channel, now: u64, batches: &mut Batches) {
        let (partition, name) = self.context.names.channel(&channel);
        // Without a link: all that is wanted is subscribed again when there is one.
        if let Some(link) = self.partitions[usize::from(partition)].link {
            self.push_subscription(link, true, &name, batches);
            self.subscriptions.want(name, channel, partition, link, now);
        }
    }

    fn unsubscribe(&mut self, channel: &Channel, batches: &mut Batches) {
        let (_, name) = self.context.names.channel(channel);
        if let Some(link) = self.subscriptions.unwant(&name) {
            self.push_subscription(link, false, &name, batches);
        }
    }

    fn push_subscription(&self, link: u64, on: bool, name: &[u8], batches: &mut Batches) {
        let command = match (self.partitions.len() > 1, on) {
            (false, true) => "SUBSCRIBE",
            (false, false) => "UNSUBSCRIBE",
            (true, true) => "SSUBSCRIBE",
            (true, false) => "SUNSUBSCRIBE",
        };
        let pipeline = &mut batches.of(link).subscriptions;
        pipeline.cmd(command).arg(name);
        if pipeline.len() >= SUBSCRIBE_BATCH
            && let Some(link) = self.link(link)
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
        let place = &self.partitions[usize::from(partition)];
        if place.held.is_empty() && !place.is_closed {
            self.push_command(pending, batches);
        } else {
            self.hold(pending, now);
        }
    }

    fn push_command(&mut self, pending: Pending, batches: &mut Batches) {
        let Context { names, scripts, .. } = &*self.context;
        let epoch = || self.random();
        let place = &self.partitions[usize::from(pending.partition)].place;
        let command = pending::command(&pending.operation, names, scripts, epoch, place);
        let partition = &mut self.partitions[usize::from(pending.partition)];
        let (Some(link), Some(command)) = (partition.link, command) else {
            return self.drop_pending(&pending);
        };
        partition.in_flight += 1;
        let batch = batches.of(link);
        batch.commands.add_command(command);
        batch.pending.push(pending);
    }

    fn give_up(&mut self, operation: &Operation) {
        self.arrivals.extend(pending::failed(operation, BrokerError::Away));
    }

    fn hold(&mut self, mut pending: Pending, now: u64) {
        if pending.held_since == 0 {
            pending.held_since = now;
        }
        let partition = &mut self.partitions[usize::from(pending.partition)];
        partition.held.insert(pending.sequence, pending);
    }

    fn send(&mut self, batches: Batches, now: u64) {
        for Batch { link, commands, pending, subscriptions } in batches.0 {
            let Some(link) = self.link(link) else {
                self.on_answers(pending, None, now);
                continue;
            };
            if !subscriptions.is_empty() {
                link.subscribe(subscriptions);
            }
            if !commands.is_empty() {
                link.send(commands, pending);
            }
        }
    }

    fn on_event(&mut self, event: LinkEvent, now: u64) {
        match event {
            LinkEvent::Lost(link, why) => self.on_lost(link, &why, now),
            LinkEvent::Pushed(link, push, bytes) => {
                if let Some(link) = self.link(link) {
                    link.taken(bytes);
                }
                self.on_push(link, push, now);
            }
            LinkEvent::Answered(batch, answers) => self.on_answers(batch, answers, now),
            LinkEvent::Subscribed(link, answers) => self.on_subscribed(link, answers, now),
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
