//! A broker that misbehaves by seed: what it keeps is the reference's, what travels to and
//! from it is delayed, lost or cut off. It knows the truth of what was stored.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use shardcast::{
    Position,
    relay::{
        broker::{Arrival, BrokerError, Channel, Operation},
        memory::Store,
    },
    sim::Rng,
};

/// Channels travel on so many connections, each with a delay of its own.
const LANES: usize = 4;

/// How badly it behaves now.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Of 1,000 deliveries to one node so many are lost.
    pub(crate) lost: usize,
    /// Of 1,000 publishes so many reach nobody, although they are answered.
    pub(crate) swallowed: usize,
    /// Of 1,000 appends so many are answered by "not known", done or not.
    pub(crate) unknown: usize,
    /// The longest delay, in milliseconds.
    pub(crate) delay: usize,
}

/// One node's connections.
pub(crate) struct Wire {
    pub(crate) is_up: bool,
    up_at: u64,
    /// Operations on their way, by lane.
    to_broker: Vec<VecDeque<(u64, Operation)>>,
    /// Arrivals on their way, by lane; the last lane is that of answers.
    to_node: Vec<VecDeque<(u64, Arrival)>>,
    subscribed: BTreeSet<Channel>,
    /// Subscriptions that deliver nothing until they are made again.
    half_open: BTreeSet<Channel>,
    /// Rooms in which an append was not done, until the node has heard that.
    failing: BTreeMap<Arc<str>, u64>,
    /// Until then nothing that the node publishes reaches anybody.
    pub(crate) mute_until: u64,
}

pub(crate) struct SimBroker {
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    pub(crate) store: Store,
    pub(crate) wires: BTreeMap<u64, Wire>,
    pub(crate) partitions: u16,
    /// What was stored where.
    pub(crate) truth: BTreeMap<(Arc<str>, u64, u64), Bytes>,
    /// How often everything that was kept was lost.
    pub(crate) losses: u32,
}

fn lane(channel: &Channel) -> usize {
    match channel {
        Channel::Control(_) => 0,
        Channel::Everyone | Channel::Node(_) => 1,
        Channel::Room(name) | Channel::User(name) => 2 + name.len() % (LANES - 2),
    }
}

fn lane_of(operation: &Operation) -> usize {
    match operation {
        Operation::Subscribe(channel)
        | Operation::Unsubscribe(channel)
        | Operation::Publish { channel, .. } => lane(channel),
        Operation::Append { room, .. }
        | Operation::Read { room, .. }
        | Operation::Enter { room, .. }
        | Operation::Leave { room, .. }
        | Operation::Expire { room }
        | Operation::List { room, .. } => lane(&Channel::Room(room.clone())),
    }
}

/// Puts `what` behind all that is in the lane already.
fn push<T>(lane: &mut VecDeque<(u64, T)>, due: u64, what: T) {
    let due = lane.back().map_or(due, |(last, _)| due.max(*last));
    lane.push_back((due, what));
}

fn is_due<T>(lane: &VecDeque<(u64, T)>, now: u64) -> bool {
    lane.front().is_some_and(|(due, _)| *due <= now)
}

impl Wire {
    /// The node has this answer: what it appends from now on is done again, but nothing
    /// that is on its way.
    fn heard(&mut self, token: u64) {
        let on_their_way = |room: &Arc<str>| {
            let operations = self.to_broker.iter().flatten();
            let tokens = operations.filter_map(|(_, operation)| match operation {
                Operation::Append { room: found, token, .. } if found == room => Some(*token),
                _ => None,
            });
            tokens.max()
        };
        let next: BTreeMap<Arc<str>, u64> = self
            .failing
            .iter()
            .filter_map(|(room, last)| {
                let last = if *last == token { on_their_way(room)? } else { *last };
                Some((room.clone(), last))
            })
            .collect();
        self.failing = next;
    }
}

impl SimBroker {
    pub(crate) fn new(seed: u64, partitions: u16) -> Self {
        Self {
            rng: Rng::new(seed),
            weather: Weather::default(),
            store: Store::new(seed),
            wires: BTreeMap::new(),
            partitions,
            truth: BTreeMap::new(),
            losses: 0,
        }
    }

    pub(crate) fn connect(&mut self, node: u64, now: u64) {
        let wire = Wire {
            is_up: false,
            up_at: now + 1,
            to_broker: (0..LANES).map(|_| VecDeque::new()).collect(),
            to_node: (0..=LANES).map(|_| VecDeque::new()).collect(),
            subscribed: BTreeSet::new(),
            half_open: BTreeSet::new(),
            failing: BTreeMap::new(),
            mute_until: 0,
        };
        self.wires.insert(node, wire);
    }

    fn delay(&mut self) -> u64 {
        let most = self.weather.delay;
        if most == 0 { 0 } else { self.rng.piece(most) as u64 }
    }

    fn chance(&mut self, of_thousand: usize) -> bool {
        of_thousand > 0 && self.rng.below(1_000) < of_thousand
    }

    pub(crate) fn submit(&mut self, node: u64, operations: Vec<Operation>, now: u64) {
        for operation in operations {
            let due = now + self.delay();
            let Some(wire) = self.wires.get_mut(&node) else { return };
            if wire.is_up {
                push(&mut wire.to_broker[lane_of(&operation)], due, operation);
            } else if let Some(answer) = away(&operation) {
                push(&mut wire.to_node[LANES], due, answer);
            }
        }
    }

    /// The node's connection ends: what is on its way to the broker arrives or not, in
    /// order; what is on its way to the node does not.
    pub(crate) fn cut(&mut self, node: u64, for_ms: u64, now: u64) {
        let Some(wire) = self.wires.get_mut(&node).filter(|wire| wire.is_up) else { return };
        let mut lanes = std::mem::take(&mut wire.to_broker);
        for lane in &mut lanes {
            let arrives = self.rng.below(lane.len() + 1);
            for (_, operation) in lane.drain(..arrives) {
                self.carry_out(node, operation, now);
            }
        }
        let says_away = self.rng.chance(50);
        let Some(wire) = self.wires.get_mut(&node) else { return };
        // Answers that had arrived are kept; others are lost.
        wire.to_node.iter_mut().for_each(VecDeque::clear);
        let lost: Vec<Operation> =
            lanes.iter_mut().flat_map(|lane| lane.drain(..)).map(|it| it.1).collect();
        for answer in lost.iter().filter_map(away).filter(|_| says_away) {
            wire.to_node[LANES].push_back((now, answer));
        }
        wire.to_broker = lanes;
        wire.to_node[LANES].push_back((now, Arrival::Down("cut".to_owned())));
        wire.subscribed.clear();
        wire.half_open.clear();
        wire.failing.clear();
        wire.is_up = false;
        wire.up_at = now + for_ms;
    }

    /// The server starts anew, with or without what it has kept.
    pub(crate) fn restart(&mut self, for_ms: u64, is_loss: bool, now: u64) {
        let nodes: Vec<u64> = self.wires.keys().copied().collect();
        for node in nodes {
            let more = self.rng.below(300) as u64;
            self.cut(node, for_ms + more, now);
        }
        if is_loss {
            self.losses += 1;
            self.store = Store::new(self.rng.next_u64());
        }
    }

    /// One of the node's subscriptions delivers nothing any more.
    pub(crate) fn half_open(&mut self, node: u64) {
        let Some(wire) = self.wires.get_mut(&node) else { return };
        let index = self.rng.below(wire.subscribed.len());
        if let Some(channel) = wire.subscribed.iter().nth(index) {
            wire.half_open.insert(channel.clone());
        }
    }

    /// None of them does.
    pub(crate) fn deafen(&mut self, node: u64) {
        let Some(wire) = self.wires.get_mut(&node) else { return };
        wire.half_open = wire.subscribed.clone();
    }

    /// One of them is lost, and the node is told.
    pub(crate) fn unsubscribe(&mut self, node: u64, now: u64) {
        let Some(wire) = self.wires.get_mut(&node).filter(|wire| wire.is_up) else { return };
        let index = self.rng.below(wire.subscribed.len());
        if let Some(channel) = wire.subscribed.iter().nth(index).cloned() {
            wire.subscribed.remove(&channel);
            let arrival = Arrival::Unsubscribed(channel.clone());
            push(&mut wire.to_node[lane(&channel)], now, arrival);
        }
    }

    fn answer(&mut self, node: u64, arrival: Arrival, now: u64) {
        let due = now + self.delay();
        if let Some(wire) = self.wires.get_mut(&node) {
            push(&mut wire.to_node[LANES], due, arrival);
        }
    }

    fn publish(&mut self, channel: &Channel, arrival: &Arrival, now: u64) {
        let nodes: Vec<u64> = self.wires.keys().copied().collect();
        for node in nodes {
            let is_lost = self.chance(self.weather.lost);
            let due = now + self.delay();
            let Some(wire) = self.wires.get_mut(&node) else { continue };
            let hears = wire.subscribed.contains(channel) && !wire.half_open.contains(channel);
            if hears && !is_lost {
                push(&mut wire.to_node[lane(channel)], due, arrival.clone());
            }
        }
    }

    fn carry_out(&mut self, node: u64, operation: Operation, now: u64) {
        let is_mute = self.wires.get(&node).is_some_and(|wire| wire.mute_until > now);
        match operation {
            Operation::Subscribe(channel) => {
                let due = now + self.delay();
                let Some(wire) = self.wires.get_mut(&node) else { return };
                wire.subscribed.insert(channel.clone());
                wire.half_open.remove(&channel);
                push(&mut wire.to_node[lane(&channel)], due, Arrival::Subscribed(channel));
            }
            Operation::Unsubscribe(channel) => {
                if let Some(wire) = self.wires.get_mut(&node) {
                    wire.subscribed.remove(&channel);
                }
            }
            Operation::Publish { channel, message, token } => {
                if !is_mute && !self.chance(self.weather.swallowed) {
                    let arrival =
                        Arrival::Message { channel: channel.clone(), message, position: None };
                    self.publish(&channel, &arrival, now);
                }
                self.answer(node, Arrival::Published { token, result: Ok(None) }, now);
            }
            Operation::Append { room, message, limits, once, token } => {
                let is_unknown = self.chance(self.weather.unknown);
                let is_not_done = is_unknown && self.rng.chance(50);
                let Some(wire) = self.wires.get_mut(&node) else { return };
                if is_not_done || wire.failing.contains_key(&room) {
                    wire.failing.insert(room, token);
                    let result = Err(BrokerError::Away);
                    return self.answer(node, Arrival::Published { token, result }, now);
                }
                let key = once.as_ref().map(|(key, window)| (&**key, *window));
                let result = self.store.append(&room, message.clone(), limits, key, now);
                if let Ok((position, false)) = result {
                    self.stored(&room, position, message, now);
                }
                let result = if is_unknown { Err(BrokerError::Away) } else { result.map(Some) };
                self.answer(node, Arrival::Published { token, result }, now);
            }
            Operation::Read { room, after, count, limits, token } => {
                let history = Some(self.store.read(&room, after, count, limits, now));
                let history = history.filter(|_| !self.chance(self.weather.unknown));
                self.answer(node, Arrival::History { token, history }, now);
            }
            Operation::Enter { room, who, ttl_ms } => {
                if self.store.enter(&room, who.clone(), ttl_ms, now) {
                    let changed =
                        Arrival::PresenceChanged { room: room.clone(), who, joined: true };
                    self.publish(&Channel::Room(room), &changed, now);
                }
            }
            Operation::Leave { room, who } => {
                if self.store.leave(&room, &who) {
                    let changed =
                        Arrival::PresenceChanged { room: room.clone(), who, joined: false };
                    self.publish(&Channel::Room(room), &changed, now);
                }
            }
            Operation::Expire { room } => {
                for who in self.store.expire(&room, now) {
                    let changed =
                        Arrival::PresenceChanged { room: room.clone(), who, joined: false };
                    self.publish(&Channel::Room(room.clone()), &changed, now);
                }
            }
            Operation::List { room, token } => {
                let present = Some(self.store.list(&room, now));
                self.answer(node, Arrival::Present { token, present }, now);
            }
        }
    }

    fn stored(&mut self, room: &Arc<str>, position: Position, message: Bytes, now: u64) {
        self.truth.insert((room.clone(), position.epoch, position.offset), message.clone());
        let channel = Channel::Room(room.clone());
        let arrival =
            Arrival::Message { channel: channel.clone(), message, position: Some(position) };
        self.publish(&channel, &arrival, now);
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> u64 {
        let of_wire = |wire: &Wire| {
            let to_broker = wire.to_broker.iter().filter_map(|lane| Some(lane.front()?.0));
            let to_node = wire.to_node.iter().filter_map(|lane| Some(lane.front()?.0));
            let up = (!wire.is_up).then_some(wire.up_at);
            to_broker.chain(to_node).chain(up).min().unwrap_or(u64::MAX)
        };
        self.wires.values().map(of_wire).min().unwrap_or(u64::MAX)
    }

    /// Carries out what has come by now. Lanes are served in any order.
    pub(crate) fn work(&mut self, now: u64) {
        let nodes: Vec<u64> = self.wires.keys().copied().collect();
        for node in nodes {
            let Some(wire) = self.wires.get_mut(&node) else { continue };
            if !wire.is_up && wire.up_at <= now {
                wire.is_up = true;
                let up = Arrival::Up { partitions: self.partitions };
                push(&mut wire.to_node[LANES], now, up);
            }
            let is_due = wire.to_broker.iter().any(|lane| is_due(lane, now));
            let start = self.rng.below(LANES);
            for index in (0..LANES).filter(|_| is_due) {
                let index = (start + index) % LANES;
                while let Some(operation) = self.take_due(node, index, now) {
                    self.carry_out(node, operation, now);
                }
            }
        }
    }

    fn take_due(&mut self, node: u64, lane: usize, now: u64) -> Option<Operation> {
        let lane = self.wires.get_mut(&node)?.to_broker.get_mut(lane)?;
        lane.pop_front_if(|(due, _)| *due <= now).map(|it| it.1)
    }

    /// What has come for a node.
    pub(crate) fn take(&mut self, node: u64, now: u64) -> Vec<Arrival> {
        let start = self.rng.below(LANES + 1);
        let mut taken = Vec::new();
        let Some(wire) = self.wires.get_mut(&node) else { return taken };
        if !wire.to_node.iter().any(|lane| is_due(lane, now)) {
            return taken;
        }
        // The end of a connection, and its beginning, are before all that is on it.
        for index in [LANES].into_iter().chain((0..LANES).map(|index| (start + index) % LANES)) {
            while let Some((_, arrival)) = wire.to_node[index].pop_front_if(|it| it.0 <= now) {
                if let Arrival::Published { token, .. } = &arrival {
                    wire.heard(*token);
                }
                taken.push(arrival);
            }
        }
        taken
    }
}

/// What is answered to a question that was lost.
fn away(operation: &Operation) -> Option<Arrival> {
    match *operation {
        Operation::Publish { token, .. } | Operation::Append { token, .. } => {
            Some(Arrival::Published { token, result: Err(BrokerError::Away) })
        }
        Operation::Read { token, .. } => Some(Arrival::History { token, history: None }),
        Operation::List { token, .. } => Some(Arrival::Present { token, present: None }),
        _ => None,
    }
}
