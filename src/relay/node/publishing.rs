//! What this node publishes: given to the broker while it is there, kept for it while it
//! is not, as far as bytes and age allow. Knows no subscription.
//!
//! A message of a channel that is numbered has its number before it is kept. If it is
//! dropped, or was under way when the connection ended, the others find its number
//! missing. What is appended to a history is asked for again under the same key until
//! the broker has answered.

mod appends;
mod in_flight;
mod once;
mod outage;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{
    super::{
        broker::{BrokerError, Channel, HistoryLimits, Operation},
        status::RelayCounters,
        wire::{self, Number},
    },
    outputs::{Numbered, Outputs},
    resumption::Resumption,
    settings::NodeSettings,
};
use crate::{
    cluster::{Charge, FromRelay, Outcome, Receipt},
    id::ClientId,
    publication::{Position, Publication},
};

use self::{
    appends::Appends,
    in_flight::InFlight,
    once::{First, Once},
    outage::{Held, Outage},
};

pub(super) use self::{appends::Append, outage::Item};

/// So many rooms are looked at after something was dropped.
const UNSURE: usize = 4_096;

/// What is not appended to a history: where it goes, and who asked for it how.
pub(super) struct Plain {
    pub(super) channel: Channel,
    pub(super) number: Number,
    pub(super) receipt: Option<Receipt>,
    pub(super) once: Option<Box<str>>,
}

/// Where what is published goes.
pub(super) struct Publishing {
    node: u64,
    is_up: bool,
    /// Who is to receive again before what is numbered is published.
    resumption: Resumption,
    orders: u64,
    outage: Outage,
    in_flight: InFlight,
    appends: Appends,
    once: Once,
    /// Rooms where something was dropped that may have been stored all the same: nobody
    /// has announced it.
    unsure: BTreeSet<Arc<str>>,
}

impl Publishing {
    pub(super) fn new(settings: &NodeSettings) -> Self {
        Self {
            node: ClientId::node_of(settings.node),
            is_up: false,
            resumption: Resumption::default(),
            orders: 0,
            outage: Outage::new(settings.outage_bytes, settings.outage_age_ms),
            in_flight: InFlight::default(),
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
        self.outage.insert(held);
        self.drop_excess(now, out, counters);
    }

    /// Publishes in a channel that is numbered, or keeps.
    pub(super) fn publish_plain(
        &mut self,
        plain: Plain,
        publication: &Publication,
        charge: Charge,
        now: u64,
        out: &mut Outputs,
        counters: &RelayCounters,
    ) {
        let Plain { channel, number, receipt, once } = plain;
        if self.may_publish() {
            RelayCounters::add(&counters.published, 1);
            self.accept(&channel, receipt, once, out);
            let what = Numbered::Publication(number, publication);
            let token = out.publish(channel, self.node, &what);
            return self.in_flight.add(token, charge);
        }
        let message = wire::encode_publication(self.node, number, publication);
        let item = Item::Plain { channel, message, number: Some(number), receipt, once };
        self.publish(item, charge, now, out, counters);
    }

    /// A plain publication is given to the broker.
    fn accept(
        &mut self,
        channel: &Channel,
        receipt: Option<Receipt>,
        once: Option<Box<str>>,
        out: &mut Outputs,
    ) {
        tell(receipt, Outcome::Accepted(None), out);
        if let Some(key) = once {
            for repeat in self.once.is_sent(channel, &key) {
                tell(Some(repeat), Outcome::Repeated(None), out);
            }
        }
    }

    fn may_go(&self, item: &Item) -> bool {
        match item {
            Item::Plain { .. } => self.may_publish(),
            Item::Append(append) => self.is_up && !self.appends.is_stalled(&append.room),
        }
    }

    /// Whether what has no history goes to the broker at once. Then none of it is held.
    fn may_publish(&self) -> bool {
        self.is_up && !self.resumption.is_waiting()
    }

    fn send(&mut self, held: Held, charge: Charge, out: &mut Outputs, counters: &RelayCounters) {
        RelayCounters::add(&counters.published, 1);
        match held.item {
            Item::Plain { channel, message, number, receipt, once } => {
                self.accept(&channel, receipt, once, out);
                let token = if let Some(number) = number {
                    out.publish(channel, self.node, &Numbered::Encoded(number, &message))
                } else {
                    let token = out.token();
                    out.operations.push(Operation::Publish { channel, message, token });
                    token
                };
                self.in_flight.add(token, charge);
            }
            Item::Append(append) => {
                let token = out.token();
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
        if let Some(sent) = self.in_flight.remove(token) {
            sent.charges.into_iter().for_each(|charge| out.credit(charge));
            if let Err(BrokerError::Refused(_)) = result {
                RelayCounters::add(&counters.refused, sent.count);
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
        self.outage.insert(Held { item: Item::Append(append), order, at });
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
        self.outage.has_some_for_nodes()
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
        let (appends, may_publish, is_up) = (&self.appends, self.may_publish(), self.is_up);
        let may_go = |item: &Item| match item {
            Item::Plain { .. } => may_publish,
            Item::Append(append) => is_up && !appends.is_stalled(&append.room),
        };
        for held in self.outage.release(may_go) {
            self.send(held, Charge { conn: None, bytes: 0 }, out, counters);
        }
        self.count(counters);
    }

    /// The broker is away. Whether what was under way has arrived is not known.
    pub(super) fn on_down(&mut self, now: u64, out: &mut Outputs, counters: &RelayCounters) {
        self.is_up = false;
        self.resumption.end();
        self.in_flight.take_charges().for_each(|charge| out.credit(charge));
        for sent in self.appends.take_all() {
            out.credit(sent.charge);
            self.hold(sent.append, sent.order, sent.at);
        }
        self.drop_excess(now, out, counters);
    }

    /// When something is to be done.
    pub(super) fn next_tick(&self) -> u64 {
        self.outage.next_tick().min(self.appends.next_tick()).min(self.resumption.next_tick())
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

    /// Drops the oldest beyond the bounds in bytes and age.
    fn drop_excess(&mut self, now: u64, out: &mut Outputs, counters: &RelayCounters) {
        if self.resumption.is_waiting() && self.outage.has_excess(now) {
            // Those who receive already are to have it.
            self.resumption.end();
            self.release(out, counters);
        }
        while let Some(dropped) = self.outage.pop_excess(now) {
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
        let (count, bytes) = self.outage.size();
        RelayCounters::set(&counters.queued, count as u64);
        RelayCounters::set(&counters.queued_bytes, bytes as u64);
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
