//! The node as its driver sees it: which part of it each input is for, and what the parts
//! have to do with each other.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{
        Inlet,
        broker::{Arrival, Channel, Operation},
        status::{RelayCounters, RelayStatus},
        wire::{self, Announcement, Beat, Body, Message},
    },
    asks::Asks,
    beats::{Beats, Due},
    history::{Context, Follower},
    numbering::Numberings,
    outputs::{Asker, Outputs},
    presence::{Lists, Presences},
    publishing::{Item, Publishing},
    received,
    sequence::Verdict,
    settings::{ASKS, BEAT_MS, NodeSettings},
    subscriptions::Subscriptions,
};
use crate::{
    cluster::{Charge, ClusterAnswer, Command, FromRelay, Receipt, ToRelay, Who},
    id::ClientId,
    publication::{Audience, Position, Publication},
};

/// While something is to be asked for again, ticks are so many milliseconds apart.
const RESTLESS_MS: u64 = 50;

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
/// The broker is away until [`Arrival::Up`].
pub struct Node {
    settings: NodeSettings,
    /// The bits of `settings.node` that count.
    number: u64,
    status: Arc<RelayStatus>,
    is_up: bool,
    out: Outputs,
    subscriptions: Subscriptions,
    numberings: Numberings,
    publishing: Publishing,
    presences: Presences,
    lists: Lists,
    asks: Asks,
    beats: Beats,
    /// Rooms with history in which somebody or something waits.
    restless: BTreeSet<Arc<str>>,
    /// Whether another node has asked what this one has published.
    must_announce: bool,
    tick_at: u64,
}

fn channel_of(audience: &Audience) -> Channel {
    match audience {
        Audience::Everyone => Channel::Everyone,
        Audience::Room(room) => Channel::Room(room.clone()),
        Audience::User(user) => Channel::User(user.clone()),
    }
}

fn audience_of(channel: &Channel) -> Option<Audience> {
    match channel {
        Channel::Everyone => Some(Audience::Everyone),
        Channel::Room(room) => Some(Audience::Room(room.clone())),
        Channel::User(user) => Some(Audience::User(user.clone())),
        Channel::Control(_) | Channel::Node(_) => None,
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
        let message = wire::encode_publication(self.number, number, publication);
        let item = Item::Plain { channel, message, receipt, once };
        self.publishing.publish(item, charge, now, &mut self.out, counters);
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
        let item = Item::Plain { channel, message, receipt: None, once: None };
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
    fn follow(
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
    fn control(&mut self, partition: u16, message: bytes::Bytes) {
        if self.is_up {
            let channel = Channel::Control(partition);
            self.out.operations.push(Operation::Publish { channel, message, token: 0 });
        }
    }

    /// Something from the broker.
    pub fn on_arrival(&mut self, arrival: Arrival, now: u64) {
        match arrival {
            Arrival::Up { partitions } => self.on_up(partitions, now),
            Arrival::Down(reason) => self.on_down(reason, now),
            Arrival::Subscribed(channel) => self.on_subscribed(&channel, now),
            Arrival::Unsubscribed(channel) => {
                let Some(found) = self.subscriptions.find(&channel) else { return };
                found.is_standing = false;
                if let Some(follower) = &mut found.follower {
                    follower.on_away(&mut self.out);
                }
                if self.is_up {
                    self.out.operations.push(Operation::Subscribe(channel));
                }
            }
            Arrival::Message { channel, message, position } => {
                let counters = &self.status.counters;
                if let Some(message) = received::message(&message, &channel, counters) {
                    self.on_message(&channel, message, position, now);
                } else if let (Channel::Room(room), Some(position)) = (&channel, position) {
                    self.follow(room, now, |follower, context| {
                        follower.on_message(position, None, context);
                    });
                }
            }
            Arrival::Published { token, result } => {
                let (out, counters) = (&mut self.out, &self.status.counters);
                if token != 0
                    && let Some((room, position)) =
                        self.publishing.on_published(token, &result, now, out, counters)
                {
                    self.numberings.stored(&room, position);
                }
            }
            Arrival::History { token, history } => {
                if let Some(room) = self.out.reads.remove(&token) {
                    self.follow(&room, now, |follower, context| {
                        follower.on_history(token, history, context);
                    });
                }
            }
            Arrival::PresenceChanged { room, who, joined } => {
                let found = self.subscriptions.find(&Channel::Room(room.clone()));
                if found.is_some_and(|found| found.is_wanted) {
                    self.out.give(FromRelay::PresenceChange { room, who, joined });
                }
            }
            Arrival::Present { token, present } => {
                self.lists.on_present(token, present, now, &mut self.out);
            }
        }
    }

    fn on_up(&mut self, partitions: u16, now: u64) {
        if self.is_up {
            // Whatever stood before does not any more.
            self.on_down("the connection was made anew".to_owned(), now);
        }
        self.is_up = true;
        self.status.set("broker", None);
        self.status.set("heartbeat", Some("no heartbeat has come back yet".to_owned()));
        self.beats.on_up(partitions, now);
        for partition in 0..self.beats.partitions() {
            self.subscriptions.pin(Channel::Control(partition), &mut self.out);
        }
        self.subscriptions.on_up(&mut self.out);
        self.presences.on_up(now, &mut self.out);
        self.lists.on_up();
        self.publishing.on_up(now, &mut self.out, &self.status.counters);
    }

    fn on_down(&mut self, reason: String, now: u64) {
        self.status.set("broker", Some(reason));
        if !self.is_up {
            return;
        }
        self.is_up = false;
        self.beats.on_down(now);
        for channel in self.subscriptions.on_down(&mut self.out) {
            self.out.shards_linked(audience_of(&channel));
        }
        self.publishing.on_down(now, &mut self.out, &self.status.counters);
        self.presences.on_down();
        self.lists.on_down(&mut self.out);
    }

    fn on_subscribed(&mut self, channel: &Channel, now: u64) {
        let Some((is_waited_for, is_unsure)) = self.subscriptions.on_standing(channel, now) else {
            return;
        };
        if is_waited_for {
            self.out.shards_linked(audience_of(channel));
        }
        if is_unsure && matches!(channel, Channel::Room(_)) {
            self.gap(channel, None);
        }
        if let Channel::Room(room) = channel {
            self.follow(room, now, Follower::on_standing);
        }
    }

    fn on_message(
        &mut self,
        channel: &Channel,
        message: Message,
        position: Option<Position>,
        now: u64,
    ) {
        let is_own = message.node == self.number;
        let counters = &self.status.counters;
        if !is_own {
            RelayCounters::add(&counters.received, 1);
        } else if !matches!(channel, Channel::Control(_)) {
            RelayCounters::add(&counters.own, 1);
        }
        let Message { node, number, body } = message;
        let body = match (body, channel, position) {
            (Body::Beat(beat), Channel::Control(partition), _) => {
                return self.on_beat(*partition, node, beat, now);
            }
            (Body::Publication(found, except), Channel::Room(room), Some(position)) => {
                let publication =
                    received::publication(found, except, position.offset, self.number);
                let copy = publication.clone();
                let has_history = self.follow(room, now, |follower, context| {
                    follower.on_message(position, Some(copy), context);
                });
                if !has_history && !is_own {
                    self.give(channel, FromRelay::Publish(publication));
                }
                return;
            }
            (body, ..) => body,
        };
        if is_own {
            return;
        }
        let Some(found) = self.subscriptions.find(channel) else { return };
        match found.sequences.on_message(node, number) {
            Verdict::Repeat => return,
            Verdict::New(0) => {}
            Verdict::New(lost) => self.gap(channel, Some(lost)),
        }
        match body {
            Body::Publication(found, except) => {
                let publication = received::publication(found, except, 0, self.number);
                self.give(channel, FromRelay::Publish(publication));
            }
            Body::Command(command) => self.out.give(FromRelay::Command(command)),
            Body::Question(ask, question) => {
                if self.out.questions.len() < ASKS {
                    self.out.questions.push((Asker { node, ask }, question));
                }
            }
            Body::Answer(ask, answer) => self.asks.on_answer(node, ask, answer, &mut self.out),
            Body::Announce => self.must_announce = true,
            Body::Beat(_) => {}
        }
    }

    /// Gives the shards what came on a channel, if somebody there wants it.
    fn give(&mut self, channel: &Channel, what: FromRelay) {
        let found = self.subscriptions.find(channel);
        let is_everyones = *channel == Channel::Everyone;
        if is_everyones || found.is_some_and(|found| found.is_wanted) {
            self.out.give(what);
        }
    }

    /// So many messages of the channel are lost, or it is not known how many.
    fn gap(&mut self, channel: &Channel, lost: Option<u64>) {
        let counters = &self.status.counters;
        RelayCounters::add(&counters.gaps, 1);
        RelayCounters::add(&counters.lost, lost.unwrap_or(0));
        if let Channel::Room(room) = channel {
            self.give(channel, FromRelay::Gap(room.clone(), lost));
        }
    }

    fn on_beat(&mut self, partition: u16, node: u64, beat: Beat, now: u64) {
        if node == self.number {
            let lag_us = now.saturating_sub(beat.sent_ms).saturating_mul(1_000);
            RelayCounters::set(&self.status.counters.lag_us, lag_us);
            if self.beats.on_own(partition, now) {
                self.subscriptions.subscribe_all(&mut self.out);
            }
            if self.beats.is_whole() {
                self.status.set("heartbeat", None);
            }
            return;
        }
        self.beats.on_other(partition, node, beat.beat, now);
        for announcement in beat.announcements {
            self.on_announced(node, announcement, now);
        }
    }

    fn on_announced(&mut self, node: u64, announcement: Announcement, now: u64) {
        match announcement {
            Announcement::Numbered(channel, numbered) => {
                let Some(found) = self.subscriptions.find(&channel) else { return };
                let stood_since = found.stood_since();
                let lost = found.sequences.on_announced(node, &numbered, stood_since, now);
                if lost > 0 {
                    self.gap(&channel, Some(lost));
                }
                self.subscriptions.doubt(channel, now);
            }
            Announcement::Stored(room, position) => {
                let mut is_missing = false;
                self.follow(&room, now, |follower, _| {
                    is_missing = follower.on_announced(position, now);
                });
                if is_missing {
                    self.subscriptions.doubt(Channel::Room(room), now);
                }
            }
        }
    }

    /// The answer to a question that [`Node::take_questions`] returned.
    pub fn on_answer(&mut self, asker: Asker, answer: &ClusterAnswer, now: u64) {
        let _ = now;
        if asker.node == self.number {
            return self.asks.on_answer(self.number, asker.ask, answer.clone(), &mut self.out);
        }
        if self.is_up {
            let channel = Channel::Node(asker.node);
            let message = wire::encode_answer(self.number, asker.ask, answer);
            self.out.operations.push(Operation::Publish { channel, message, token: 0 });
        }
    }

    /// Lets time pass.
    pub fn on_tick(&mut self, now: u64) {
        let late = now.saturating_sub(self.tick_at);
        if late > BEAT_MS {
            // The process was held; nobody else was silent.
            self.beats.on_held(late);
        }
        let due = self.beats.on_tick(now);
        self.on_due(due, now);
        for channel in self.subscriptions.end_lingering(now, &mut self.out) {
            if let Channel::Room(room) = channel
                && self.settings.has_presence(&room)
            {
                self.presences.watch(&room, false, now);
            }
        }
        while let Some(channel) = self.subscriptions.next_doubted(now) {
            self.look_into(channel, now);
        }
        self.publishing.on_tick(now, &mut self.out, &self.status.counters);
        self.presences.on_tick(now, &mut self.out);
        self.lists.on_tick(now, &mut self.out);
        self.asks.on_tick(now, &mut self.out);
        for room in self.restless.clone() {
            self.follow(&room, now, Follower::on_tick);
        }
        self.tick_at = self.next_after(now);
    }

    fn on_due(&mut self, due: Due, now: u64) {
        if let Some(beat) = due.beat {
            if std::mem::take(&mut self.must_announce) {
                self.numberings.announce_all();
            }
            let mut announcements = self.numberings.announcements(now);
            for partition in 0..self.beats.partitions() {
                let announcements = std::mem::take(&mut announcements);
                let beat = Beat { beat, sent_ms: now, announcements };
                self.control(partition, wire::encode_beat(self.number, &beat));
            }
        }
        if due.request {
            self.control(0, wire::encode_announce(self.number));
        }
        if due.resubscribe {
            let reason = "no heartbeat has come back through the broker for 1 s";
            self.status.set("heartbeat", Some(reason.to_owned()));
            let channels = (0..self.beats.partitions()).map(Channel::Control);
            self.out.operations.extend(channels.map(Operation::Subscribe));
        }
        if due.unheard {
            for channel in self.subscriptions.plain_rooms() {
                self.gap(&channel, None);
            }
        }
        for node in due.forget {
            self.subscriptions.forget(node);
        }
        RelayCounters::set(&self.status.counters.nodes, self.beats.others().count() as u64);
    }

    /// Looks whether what was announced in the channel has come.
    fn look_into(&mut self, channel: Channel, now: u64) {
        let Some(found) = self.subscriptions.find(&channel) else { return };
        let (lost, is_awaited) = found.sequences.overdue(now);
        let mut is_doubtful = lost > 0;
        if lost > 0 {
            self.gap(&channel, Some(lost));
        }
        if let Channel::Room(room) = &channel {
            self.follow(room, now, |follower, context| {
                is_doubtful |= follower.is_overdue(context);
            });
        }
        if is_awaited {
            self.subscriptions.doubt(channel.clone(), now);
        }
        if is_doubtful && self.is_up {
            self.out.operations.push(Operation::Subscribe(channel));
        }
    }

    fn next_after(&self, now: u64) -> u64 {
        let restless = if self.restless.is_empty() { u64::MAX } else { now + RESTLESS_MS };
        let next = self.beats.next_tick().min(self.subscriptions.next_tick());
        let next = next.min(self.presences.next_tick()).min(self.asks.next_tick());
        next.min(self.publishing.next_tick()).min(restless).clamp(now + 1, now + BEAT_MS)
    }

    /// When [`Node::on_tick`] is to be called, in milliseconds.
    pub fn next_tick(&self) -> u64 {
        self.tick_at
    }

    /// What the broker is to do, in order.
    pub fn take_operations(&mut self) -> Vec<Operation> {
        std::mem::take(&mut self.out.operations)
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
