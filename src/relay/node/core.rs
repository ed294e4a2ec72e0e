//! The node as its driver sees it: which part of it each input is for, and what the parts
//! have to do with each other.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{
        Inlet,
        broker::{Channel, Operation},
        status::{RelayCounters, RelayStatus},
        wire,
    },
    asks::Asks,
    audit::Audit,
    beats::Beats,
    history::{Context, Follower},
    numbering::Numberings,
    outputs::{Asker, Outputs},
    presence::{Lists, Presences},
    publishing::{Item, Plain, Publishing},
    settings::NodeSettings,
    subscriptions::Subscriptions,
};
use crate::{
    cluster::{Charge, ClusterAnswer, Command, FromRelay, Receipt, ToRelay, Who},
    id::ClientId,
    publication::{Audience, Publication},
};

/// One node of many, without I/O.
///
/// Inputs are [`Node::on_outgoing`], [`Node::on_arrival`], [`Node::on_answer`] and
/// [`Node::on_tick`], each with the time in milliseconds of a clock that never goes back.
/// After any of them, in this order: what [`Node::take_operations`] returns goes to the
/// broker, in order; what [`Node::take_questions`] returns is answered for this node, and
/// the answers come back by [`Node::on_answer`]; [`Node::flush`] gives the shards what is
/// for them. [`Node::on_tick`] is called at [`Node::next_tick`], or somewhat later. While
/// [`Node::is_backlogged`], nothing is read from the shards or from the broker.
///
/// The broker is away until [`Arrival::Up`](super::super::broker::Arrival::Up).
pub struct Node {
    pub(super) settings: NodeSettings,
    /// The bits of `settings.node` that count.
    pub(super) number: u64,
    pub(super) status: Arc<RelayStatus>,
    pub(super) is_up: bool,
    pub(super) out: Outputs,
    pub(super) subscriptions: Subscriptions,
    pub(super) numberings: Numberings,
    pub(super) publishing: Publishing,
    pub(super) presences: Presences,
    pub(super) lists: Lists,
    pub(super) asks: Asks,
    pub(super) beats: Beats,
    /// Rooms with history in which somebody or something waits.
    pub(super) restless: BTreeSet<Arc<str>>,
    /// Whether another node has asked what this one has published, or may have.
    pub(super) must_announce: bool,
    pub(super) tick_at: u64,
    pub(super) audit: Audit,
}

fn channel_of(audience: &Audience) -> Channel {
    match audience {
        Audience::Everyone => Channel::Everyone,
        Audience::Room(room) => Channel::Room(room.clone()),
        Audience::User(user) => Channel::User(user.clone()),
    }
}

impl Node {
    /// A node whose broker is away.
    pub fn new(settings: NodeSettings, status: Arc<RelayStatus>, now: u64) -> Self {
        let node = ClientId::node_of(settings.node);
        let mut out = Outputs::default();
        let mut subscriptions = Subscriptions::default();
        subscriptions.pin(Channel::Everyone, &mut out);
        subscriptions.pin(Channel::Node(node), &mut out);
        Self {
            number: node,
            status,
            is_up: false,
            out,
            subscriptions,
            numberings: Numberings::default(),
            publishing: Publishing::new(&settings),
            presences: Presences::new(settings.seed),
            lists: Lists::default(),
            asks: Asks::default(),
            beats: Beats::new(now),
            restless: BTreeSet::new(),
            must_announce: false,
            tick_at: now,
            audit: Audit::default(),
            settings,
        }
    }

    /// Something from the shards.
    pub fn on_outgoing(&mut self, what: ToRelay, now: u64) {
        match what {
            ToRelay::Publish { publication, receipt, once, charge } => {
                self.publish(&publication, receipt, once, charge, now);
            }
            ToRelay::Wanted(audience) => self.want(audience, now),
            ToRelay::Unwanted(audience) => {
                self.subscriptions.release(channel_of(&audience), now);
            }
            ToRelay::Recover { conn, room, since } => {
                // Asked for by a member that is not announced: the room is wanted.
                if self.subscriptions.find(&Channel::Room(room.clone())).is_none() {
                    self.want(Audience::Room(room.clone()), now);
                }
                let has_history = self
                    .follow(&room, now, |follower, context| follower.recover(conn, since, context));
                if !has_history {
                    let missed = since.is_none().then(Vec::new);
                    self.out.give(FromRelay::Recovered { conn, room, position: None, missed });
                }
            }
            ToRelay::Present(room, who) => self.presences.present(&room, who, now, &mut self.out),
            ToRelay::Absent(room, who) => self.presences.absent(&room, who, now, &mut self.out),
            ToRelay::ListPresent { conn, room } => self.lists.list(conn, room, now, &mut self.out),
            ToRelay::Command(command) => self.command(&command, now),
            ToRelay::Ask(question, reply) => {
                let nodes = self.beats.others();
                let out = &mut self.out;
                if let Some(ask) = self.asks.ask(&question, reply, self.number, nodes, now, out) {
                    self.control(0, wire::encode_question(self.number, ask, &question));
                }
            }
        }
    }

    fn publish(
        &mut self,
        publication: &Publication,
        receipt: Option<Receipt>,
        once: Option<Box<str>>,
        charge: Charge,
        now: u64,
    ) {
        let counters = &self.status.counters;
        let channel = channel_of(&publication.audience);
        if let Audience::Room(room) = &publication.audience
            && let Some(limits) = self.settings.limits_of(room)
        {
            let number = wire::Number::default();
            let message = wire::encode_publication(self.number, number, publication);
            let item = self.publishing.append(room.clone(), message, limits, once, receipt);
            return self.publishing.publish(item, charge, now, &mut self.out, counters);
        }
        if let Some(key) = &once {
            let copy = receipt.clone();
            if self.publishing.is_repeat(&channel, key, copy, now, &mut self.out) {
                RelayCounters::add(&counters.repeated, 1);
                return self.out.credit(charge);
            }
        }
        let number = self.numberings.next(&channel, now);
        let plain = Plain { channel, number, receipt, once };
        self.publishing.publish_plain(plain, publication, charge, now, &mut self.out, counters);
    }

    fn command(&mut self, command: &Command, now: u64) {
        let who = match command {
            Command::Send { to, .. } => &Who::Client(*to),
            Command::Close { who, .. } | Command::Join { who, .. } | Command::Leave { who, .. } => {
                who
            }
        };
        let channel = match who {
            Who::Client(client) if client.node() == self.number => return,
            Who::Client(client) => Channel::Node(client.node()),
            Who::User(user) => Channel::User(user.as_ref().into()),
        };
        let number = self.numberings.next(&channel, now);
        let message = wire::encode_command(self.number, number, command);
        let number = None;
        let item = Item::Plain { channel, message, number, receipt: None, once: None };
        let charge = Charge { conn: None, bytes: 0 };
        self.publishing.publish(item, charge, now, &mut self.out, &self.status.counters);
    }

    fn want(&mut self, audience: Audience, now: u64) {
        let channel = channel_of(&audience);
        let settings = &self.settings;
        let follower = || {
            let Audience::Room(room) = &audience else { return None };
            let limits = settings.limits_of(room)?;
            Some(Box::new(Follower::new(room.clone(), limits)))
        };
        let is_settled = self.subscriptions.want(&channel, follower, &mut self.out);
        if let Audience::Room(room) = &audience
            && self.settings.has_presence(room)
        {
            self.presences.watch(room, true, now);
        }
        if is_settled {
            self.out.give(FromRelay::Linked(audience));
        }
    }

    /// Lets the follower of a room do something. Returns whether it has one.
    pub(super) fn follow(
        &mut self,
        room: &Arc<str>,
        now: u64,
        does: impl FnOnce(&mut Follower, &mut Context<'_>),
    ) -> bool {
        let Some(found) = self.subscriptions.find(&Channel::Room(room.clone())) else {
            self.restless.remove(room);
            return false;
        };
        let is_wanted = found.is_wanted;
        let Some(follower) = &mut found.follower else { return false };
        let (out, counters) = (&mut self.out, &self.status.counters);
        does(follower, &mut Context { out, counters, node: self.number, is_wanted, now });
        if follower.is_restless() {
            if !self.restless.contains(room) {
                self.restless.insert(room.clone());
            }
        } else {
            self.restless.remove(room);
        }
        true
    }

    /// Publishes on a control channel what is not waited for, if the broker is there.
    pub(super) fn control(&mut self, partition: u16, message: bytes::Bytes) {
        if self.is_up {
            let channel = Channel::Control(partition);
            self.out.operations.push(Operation::Publish { channel, message, token: 0 });
        }
    }

    /// Gives the shards what came on a channel, if somebody there wants it.
    pub(super) fn give(&mut self, channel: &Channel, what: FromRelay) {
        let found = self.subscriptions.find(channel);
        let is_everyones = *channel == Channel::Everyone;
        if is_everyones || found.is_some_and(|found| found.is_wanted) {
            self.out.give(what);
        }
    }

    /// So many messages of the channel are lost, or it is not known how many.
    pub(super) fn gap(&mut self, channel: &Channel, lost: Option<u64>) {
        let counters = &self.status.counters;
        RelayCounters::add(&counters.gaps, 1);
        RelayCounters::add(&counters.lost, lost.unwrap_or(0));
        if let Channel::Room(room) = channel {
            self.give(channel, FromRelay::Gap(room.clone(), lost));
        }
    }

    /// The answer to a question that [`Node::take_questions`] returned.
    pub fn on_answer(&mut self, asker: Asker, answer: &ClusterAnswer, now: u64) {
        if asker.node == self.number {
            return self.asks.on_answer(self.number, asker.ask, answer.clone(), &mut self.out);
        }
        if self.is_up {
            let channel = Channel::Node(asker.node);
            // It neither waits nor comes before what waits with a number.
            let is_numbered = !self.publishing.holds_for_nodes();
            let number = is_numbered.then(|| self.numberings.next(&channel, now));
            let number = number.unwrap_or_default();
            let message = wire::encode_answer(self.number, number, asker.ask, answer);
            self.out.operations.push(Operation::Publish { channel, message, token: 0 });
        }
    }

    /// When [`Node::on_tick`] is to be called, in milliseconds.
    pub fn next_tick(&self) -> u64 {
        self.tick_at
    }

    /// What the broker is to do, in order.
    pub fn take_operations(&mut self) -> Vec<Operation> {
        self.out.take_operations()
    }

    /// What is to be answered for this node, and for whom.
    pub fn take_questions(&mut self) -> Vec<(Asker, crate::cluster::Question)> {
        std::mem::take(&mut self.out.questions)
    }

    /// Gives the shards what is for them, in order. Returns whether they took everything;
    /// if not, it is to be called again after [`Inlet::ready`].
    pub fn flush(&mut self, inlet: &dyn Inlet) -> bool {
        loop {
            if !self.out.flush(inlet) {
                return false;
            }
            // What was held back because too much waited.
            let mut is_more = self.lists.serve(&mut self.out);
            for room in self.restless.clone() {
                let now = self.tick_at;
                self.follow(&room, now, |follower, context| follower.settle(None, context));
                is_more |= self.out.is_backlogged();
            }
            if !is_more && self.out.is_flushed() {
                return true;
            }
        }
    }

    /// Whether so much waits for the shards that nothing should be read.
    pub fn is_backlogged(&self) -> bool {
        self.out.is_backlogged()
    }
}
