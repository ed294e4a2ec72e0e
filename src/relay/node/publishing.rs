//! What this node publishes: given to the broker while it is there, kept for it while it
//! is not, as far as bytes and age allow. Knows no subscription.
//!
//! A message of a channel that is numbered has its number before it is kept. If it is
//! dropped, or was under way when the connection ended, the others find its number
//! missing. What is appended to a history is asked for again under the same key until
//! the broker has answered.

mod appends;
mod once;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    super::{
        broker::{BrokerError, Channel, HistoryLimits, Operation},
        status::RelayCounters,
    },
    map::Map,
    outputs::Outputs,
    resumption::Resumption,
    settings::NodeSettings,
};
use crate::{
    cluster::{Charge, FromRelay, Outcome, Receipt},
    publication::Position,
};

use self::{
    appends::Appends,
    once::{First, Once},
};

pub(super) use self::appends::Append;

/// So many rooms are looked at after something was dropped.
const UNSURE: usize = 4_096;

/// What is to be published.
pub(super) enum Item {
    /// In a channel that is numbered.
    Plain { channel: Channel, message: Bytes, receipt: Option<Receipt>, once: Option<Box<str>> },
    /// In a room with history.
    Append(Append),
}

impl Item {
    fn bytes(&self) -> usize {
        let message = match self {
            Self::Plain { message, .. } => message.len(),
            Self::Append(append) => append.message.len(),
        };
        message + size_of::<Held>()
    }

    fn is_for_a_node(&self) -> bool {
        matches!(self, Self::Plain { channel: Channel::Node(_), .. })
    }
}

/// What waits for the broker.
struct Held {
    item: Item,
    /// Its place among all that was published.
    order: u64,
    /// When it was.
    at: u64,
}

/// Where what is published goes.
pub(super) struct Publishing {
    outage_bytes: usize,
    outage_age_ms: u64,
    is_up: bool,
    /// Who is to receive again before what is numbered is published.
    resumption: Resumption,
    orders: u64,
    /// In the order of `Held::order`.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// How many of them are for one node.
    held_for_nodes: usize,
    /// Plain messages that the broker has not answered.
    in_flight: Map<u64, Charge>,
    appends: Appends,
    once: Once,
    /// Rooms where something was dropped that may have been stored all the same: nobody
    /// has announced it.
    unsure: BTreeSet<Arc<str>>,
}

impl Publishing {
    pub(super) fn new(settings: &NodeSettings) -> Self {
        Self {
            outage_bytes: settings.outage_bytes,
            outage_age_ms: settings.outage_age_ms,
            is_up: false,
            resumption: Resumption::default(),
            orders: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            held_for_nodes: 0,
            in_flight: Map::default(),
            appends: Appends::new(settings),
            once: Once::new(settings.once_window_ms),
            unsure: BTreeSet::new(),
        }
    }

    /// Whether a plain publication repeats another. If it does, its receipt is answered,
    /// now or when it is known what becomes of the other.
    pub(super) fn is_repeat(
        &mut self,
        channel: &Channel,
        key: &str,
        receipt: Option<Receipt>,
        now: u64,
        out: &mut Outputs,
    ) -> bool {
        match self.once.first(channel, key, receipt, now) {
            First::Yes => return false,
            First::Repeated(receipt) => tell(receipt, Outcome::Repeated(None), out),
            First::Waits => {}
        }
        true
    }

    /// Publishes, or keeps.
    pub(super) fn publish(
        &mut self,
        item: Item,
        charge: Charge,
        now: u64,
        out: &mut Outputs,
        counters: &RelayCounters,
    ) {
        self.orders += 1;
        let held = Held { item, order: self.orders, at: now };
        if self.may_go(&held.item) {
            return self.send(held, charge, out, counters);
        }
        out.credit(charge);
        if let Item::Plain { channel, once: Some(key), .. } = &held.item {
            self.once.is_held(channel, key);
        }
        self.held_bytes += held.item.bytes();
        self.held_for_nodes += usize::from(held.item.is_for_a_node());
        self.held.push_back(held);
        self.drop_excess(now, out, counters);
    }

    fn may_go(&self, item: &Item) -> bool {
        self.is_up
            && match item {
                Item::Plain { .. } => !self.resumption.is_waiting(),
                Item::Append(append) => !self.appends.is_stalled(&append.room),
            }
    }

    fn send(&mut self, held: Held, charge: Charge, out: &mut Outputs, counters: &RelayCounters) {
        let token = out.token();
        RelayCounters::add(&counters.published, 1);
        match held.item {
            Item::Plain { channel, message, receipt, once } => {
                tell(receipt, Outcome::Accepted(None), out);
                if let Some(key) = once {
                    let repeats = self.once.is_sent(&channel, &key);
                    for it in repeats {
                        tell(Some(it), Outcome::Repeated(None), out);
                    }
                }
                self.in_flight.insert(token, charge);
                out.operations.push(Operation::Publish { channel, message, token });
            }
            Item::Append(append) => {
                let (order, at) = (held.order, held.at);
                out.operations.push(self.appends.send(append, token, order, at, charge));
            }
        }
    }

    /// The broker's answer. Returns the room and position of what was appended.
    pub(super) fn on_published(
        &mut self,
        token: u64,
        result: &Result<Option<(Position, bool)>, BrokerError>,
        now: u64,
        out: &mut Outputs,
        counters: &RelayCounters,
    ) -> Option<(Arc<str>, Position)> {
        if let Some(charge) = self.in_flight.remove(&token) {
            out.credit(charge);
            if let Err(BrokerError::Refused(_)) = result {
                RelayCounters::add(&counters.refused, 1);
            }
            return None;
        }
        let sent = self.appends.answered(token)?;
        out.credit(sent.charge);
        let append = sent.append;
        let room = append.room.clone();
        match result {
            Ok(stored) => {
                // Its own first attempt is no other publication.
                let is_repeat = stored.is_some_and(|(_, repeat)| repeat) && append.attempts == 1;
                let position = stored.map(|(position, _)| position);
                let outcome = if is_repeat {
                    RelayCounters::add(&counters.repeated, 1);
                    Outcome::Repeated(position)
                } else {
                    Outcome::Accepted(position)
                };
                tell(append.receipt, outcome, out);
                position.map(|position| (room, position))
            }
            Err(BrokerError::Refused(_)) => {
                RelayCounters::add(&counters.refused, 1);
                tell(append.receipt, Outcome::Refused, out);
                None
            }
            Err(BrokerError::Away) => {
                self.appends.stall(&room, now);
                self.hold(append, sent.order, sent.at);
                self.drop_excess(now, out, counters);
                None
            }
        }
    }

    /// Takes back what is to be asked for again.
    fn hold(&mut self, append: Append, order: u64, at: u64) {
        let held = Held { item: Item::Append(append), order, at };
        self.held_bytes += held.item.bytes();
        let place = self.held.partition_point(|other| other.order < order);
        self.held.insert(place, held);
    }

    /// The broker is there: what was kept goes to it, in order, and what is numbered as
    /// soon as these nodes receive it.
    pub(super) fn on_up(
        &mut self,
        nodes: BTreeSet<u64>,
        now: u64,
        out: &mut Outputs,
        counters: &RelayCounters,
    ) {
        self.drop_excess(now, out, counters);
        self.is_up = true;
        self.resumption.begin(nodes, now);
        self.appends.forget_stalls();
        self.release(out, counters);
    }

    /// Whether what is numbered waits until other nodes receive it.
    pub(super) fn is_resuming(&self) -> bool {
        self.resumption.is_waiting()
    }

    /// Whether something with a number waits that is for one node.
    pub(super) fn holds_for_nodes(&self) -> bool {
        self.held_for_nodes > 0
    }

    /// Another node receives everything that it wants to.
    pub(super) fn on_node_subscribed(
        &mut self,
        node: u64,
        out: &mut Outputs,
        counters: &RelayCounters,
    ) {
        if self.resumption.on_subscribed(node) {
            self.release(out, counters);
        }
    }

    fn release(&mut self, out: &mut Outputs, counters: &RelayCounters) {
        for held in std::mem::take(&mut self.held) {
            if self.may_go(&held.item) {
                self.held_bytes -= held.item.bytes();
                self.held_for_nodes -= usize::from(held.item.is_for_a_node());
                self.send(held, Charge { conn: None, bytes: 0 }, out, counters);
            } else {
                self.held.push_back(held);
            }
        }
        self.count(counters);
    }

    /// The broker is away. Whether what was under way has arrived is not known.
    pub(super) fn on_down(&mut self, now: u64, out: &mut Outputs, counters: &RelayCounters) {
        self.is_up = false;
        self.resumption.end();
        let mut charges: Vec<(u64, Charge)> = self.in_flight.drain().collect();
        charges.sort_unstable_by_key(|(token, _)| *token);
        for (_, charge) in charges {
            out.credit(charge);
        }
        for sent in self.appends.take_all() {
            out.credit(sent.charge);
            self.hold(sent.append, sent.order, sent.at);
        }
        self.drop_excess(now, out, counters);
    }

    /// When something is to be done.
    pub(super) fn next_tick(&self) -> u64 {
        let oldest = self.held.front();
        let drop_at = oldest.map_or(u64::MAX, |held| held.at.saturating_add(self.outage_age_ms));
        let next = drop_at.saturating_add(1).min(self.appends.next_tick());
        next.min(self.resumption.next_tick())
    }

    /// Lets time pass.
    pub(super) fn on_tick(&mut self, now: u64, out: &mut Outputs, counters: &RelayCounters) {
        let is_over = self.resumption.on_tick(now);
        if self.is_up && self.appends.end_stalls(now) || is_over {
            self.release(out, counters);
        }
        self.drop_excess(now, out, counters);
        self.once.forget_old(now);
    }

    /// Whether the oldest is beyond the bounds in bytes and age.
    fn has_excess(&self, now: u64) -> bool {
        self.held.front().is_some_and(|oldest| {
            let is_old = oldest.at.saturating_add(self.outage_age_ms) < now;
            is_old || self.held_bytes > self.outage_bytes
        })
    }

    /// Drops the oldest beyond the bounds in bytes and age.
    fn drop_excess(&mut self, now: u64, out: &mut Outputs, counters: &RelayCounters) {
        if self.resumption.is_waiting() && self.has_excess(now) {
            // Those who receive already are to have it.
            self.resumption.end();
            self.release(out, counters);
        }
        while self.has_excess(now) {
            let Some(oldest) = self.held.front() else { break };
            self.held_bytes -= oldest.item.bytes();
            self.held_for_nodes -= usize::from(oldest.item.is_for_a_node());
            let Some(dropped) = self.held.pop_front() else { break };
            RelayCounters::add(&counters.dropped, 1);
            match dropped.item {
                Item::Plain { channel, receipt, once, .. } => {
                    tell(receipt, Outcome::Dropped, out);
                    if let Some(key) = once {
                        let repeats = self.once.is_dropped(&channel, &key);
                        for it in repeats {
                            tell(Some(it), Outcome::Dropped, out);
                        }
                    }
                }
                Item::Append(append) => {
                    tell(append.receipt, Outcome::Dropped, out);
                    if append.attempts > 0 {
                        self.is_unsure(append.room);
                    }
                }
            }
        }
        self.count(counters);
    }

    /// How far the history of the room has come is to be asked, and announced.
    pub(super) fn is_unsure(&mut self, room: Arc<str>) {
        if self.unsure.len() < UNSURE {
            self.unsure.insert(room);
        }
    }

    /// Rooms whose histories are to be looked at.
    pub(super) fn take_unsure(&mut self) -> BTreeSet<Arc<str>> {
        if self.is_up { std::mem::take(&mut self.unsure) } else { BTreeSet::new() }
    }

    fn count(&self, counters: &RelayCounters) {
        RelayCounters::set(&counters.queued, self.held.len() as u64);
        RelayCounters::set(&counters.queued_bytes, self.held_bytes as u64);
    }

    /// What is appended to a room, as this node publishes it.
    pub(super) fn append(
        &mut self,
        room: Arc<str>,
        message: Bytes,
        limits: HistoryLimits,
        once: Option<Box<str>>,
        receipt: Option<Receipt>,
    ) -> Item {
        Item::Append(self.appends.append(room, message, limits, once, receipt))
    }
}

fn tell(receipt: Option<Receipt>, outcome: Outcome, out: &mut Outputs) {
    if let Some(receipt) = receipt {
        out.give(FromRelay::Receipt(receipt, outcome));
    }
}
