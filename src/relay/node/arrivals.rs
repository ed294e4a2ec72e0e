//! What the broker tells the node, and which part of it each is for.

use super::{
    super::{
        broker::{Arrival, Channel, Operation},
        status::RelayCounters,
        wire::{Announcement, Beat, Body, Delivery, Message, Number},
    },
    core::Node,
    history::Follower,
    outputs::Asker,
    received,
    sequence::{Shown, Verdict},
    settings::ASKS,
};
use crate::{cluster::FromRelay, publication::Position};

impl Node {
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
                    self.numberings.stored(&room, position, now);
                    self.on_announced(self.number, Announcement::Stored(room, position), now);
                }
            }
            Arrival::History { token, history } => {
                if let Some(room) = self.out.ends.remove(&token) {
                    match history {
                        Some(history) => self.numberings.stored(&room, history.last, now),
                        None => self.publishing.is_unsure(room),
                    }
                } else if let Some(room) = self.out.reads.remove(&token) {
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
        // Who asked for that meanwhile was not heard.
        self.must_announce = true;
        for partition in 0..self.beats.partitions() {
            self.subscriptions.pin(Channel::Control(partition), &mut self.out);
        }
        self.subscriptions.on_up(&mut self.out);
        self.presences.on_up(now, &mut self.out);
        self.lists.on_up();
        let nodes = self.beats.before_outage();
        self.publishing.on_up(nodes, now, &mut self.out, &self.status.counters);
    }

    fn on_down(&mut self, reason: String, now: u64) {
        self.status.set("broker", Some(reason));
        if !self.is_up {
            return;
        }
        self.is_up = false;
        self.beats.on_down(now);
        for (_, room) in self.out.ends.drain() {
            self.publishing.is_unsure(room);
        }
        for channel in self.subscriptions.on_down(&mut self.out) {
            self.out.shards_linked(channel.audience());
        }
        self.publishing.on_down(now, &mut self.out, &self.status.counters);
        self.presences.on_down();
        self.lists.on_down(&mut self.out);
    }

    fn on_subscribed(&mut self, channel: &Channel, now: u64) {
        let had_resumed = self.subscriptions.have_resumed();
        let Some((is_waited_for, is_unsure)) = self.subscriptions.on_standing(channel, now) else {
            return;
        };
        if is_waited_for {
            self.out.shards_linked(channel.audience());
        }
        if is_unsure && matches!(channel, Channel::Room(_)) {
            self.gap(channel, None);
        }
        if let Channel::Room(room) = channel {
            self.follow(room, now, Follower::on_standing);
        }
        if !had_resumed && self.subscriptions.have_resumed() {
            // The others wait to hear that.
            self.beats.hurry(now);
            self.tick_at = self.tick_at.min(now);
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
        let count = match &message.body {
            Body::Publications(all) => all.len() as u64,
            _ => 1,
        };
        if !is_own {
            RelayCounters::add(&counters.received, count);
        } else if !matches!(channel, Channel::Control(_)) {
            RelayCounters::add(&counters.own, count);
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
        let body = match body {
            Body::Publications(all) => {
                for (number, delivery) in number.following().zip(all) {
                    self.on_publication(channel, (node, number), delivery, now);
                }
                return;
            }
            Body::Publication(found, except) => {
                return self.on_publication(channel, (node, number), (found, except), now);
            }
            body => body,
        };
        if self.is_repeat(channel, node, number, now) {
            return;
        }
        match body {
            Body::Command(command) => self.out.give(FromRelay::Command(command)),
            Body::Question(ask, question) => {
                if self.out.questions.len() < ASKS {
                    self.out.questions.push((Asker { node, ask }, question));
                }
            }
            Body::Answer(ask, answer) => self.asks.on_answer(node, ask, answer, &mut self.out),
            Body::Announce => self.must_announce = true,
            // The first two are taken above.
            Body::Publication(..) | Body::Publications(_) | Body::Beat(_) => {}
        }
    }

    /// What another node has published in a channel without history.
    fn on_publication(
        &mut self,
        channel: &Channel,
        (node, number): (u64, Number),
        (found, except): Delivery,
        now: u64,
    ) {
        if !self.is_repeat(channel, node, number, now) {
            let publication = received::publication(found, except, 0, self.number);
            self.give(channel, FromRelay::Publish(publication));
        }
    }

    /// Whether a message has been taken before, or nobody wants the channel any more. Tells
    /// what was lost before it.
    fn is_repeat(&mut self, channel: &Channel, node: u64, number: Number, now: u64) -> bool {
        let Some(found) = self.subscriptions.find(channel) else { return true };
        match found.sequences.on_message(node, number) {
            Verdict::Repeat => return true,
            Verdict::New(0) => {}
            Verdict::New(lost) => self.gap(channel, Some(lost)),
            Verdict::First => self.subscriptions.doubt(channel.clone(), now),
        }
        false
    }

    fn on_beat(&mut self, partition: u16, node: u64, beat: Beat, now: u64) {
        if node == self.number {
            let lag_us = now.saturating_sub(beat.sent_ms).saturating_mul(1_000);
            RelayCounters::set(&self.status.counters.lag_us, lag_us);
            if self.beats.on_own(partition, now) {
                self.must_announce = true;
                self.subscriptions.subscribe_all(&mut self.out);
            }
            if self.beats.is_whole() {
                self.status.set("heartbeat", None);
            }
            return;
        }
        self.beats.on_other(partition, node, beat.beat, now);
        if beat.is_subscribed {
            self.publishing.on_node_subscribed(node, &mut self.out, &self.status.counters);
        }
        for announcement in beat.announcements {
            self.on_announced(node, announcement, now);
        }
    }

    fn on_announced(&mut self, node: u64, announcement: Announcement, now: u64) {
        match announcement {
            Announcement::Numbered(channel, numbered) => {
                let Some(found) = self.subscriptions.find(&channel) else { return };
                let past = found.past(self.beats.missed_at(node));
                match found.sequences.on_announced(node, &numbered, past, now) {
                    Shown::Lost(0) => {}
                    Shown::Lost(lost) => self.gap(&channel, Some(lost)),
                    Shown::Unknown => self.gap(&channel, None),
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
}
