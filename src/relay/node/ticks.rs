//! What the node does because time passes.

use super::{
    super::{
        broker::{Channel, Operation},
        status::RelayCounters,
        wire::{self, Beat},
    },
    beats::Due,
    core::Node,
    history::{BEYOND, Follower},
    settings::BEAT_MS,
};

/// While something is to be asked for again, ticks are so many milliseconds apart.
const RESTLESS_MS: u64 = 50;

impl Node {
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
        if self.is_up {
            let subscriptions = &self.subscriptions;
            for room in self.audit.due(now, || subscriptions.rooms_with_history()) {
                let is_due = self.audit.is_whole();
                self.follow(&room, now, |follower, context| follower.audit(is_due, context));
            }
        }
        self.publishing.on_tick(now, &mut self.out, &self.status.counters);
        self.ask_ends();
        self.presences.on_tick(now, &mut self.out);
        self.lists.on_tick(now, &mut self.out);
        self.asks.on_tick(now, &mut self.out);
        for room in self.restless.clone() {
            self.follow(&room, now, Follower::on_tick);
        }
        self.tick_at = self.next_after(now);
    }

    /// Asks how far histories have come where that is to be announced.
    fn ask_ends(&mut self) {
        for room in self.publishing.take_unsure() {
            let Some(limits) = self.settings.limits_of(&room) else { continue };
            let token = self.out.token();
            self.out.ends.insert(token, room.clone());
            let read = Operation::Read { room, after: BEYOND, count: 1, limits, token };
            self.out.operations.push(read);
        }
    }

    fn on_due(&mut self, due: Due, now: u64) {
        if let Some(beat) = due.beat {
            if std::mem::take(&mut self.must_announce) {
                self.numberings.announce_all(now);
            }
            // What is numbered and not yet published has not come to anybody.
            let is_numbered = !self.publishing.is_resuming();
            let mut announcements = self.numberings.announcements(is_numbered, now);
            let is_subscribed = self.subscriptions.have_resumed() && !self.beats.is_silent();
            for partition in 0..self.beats.partitions() {
                let announcements = std::mem::take(&mut announcements);
                let beat = Beat { beat, sent_ms: now, is_subscribed, announcements };
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
        if due.has_ended {
            // What it stored last it may not have announced.
            for room in self.subscriptions.rooms_with_history() {
                self.follow(&room, now, Follower::read);
            }
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
        let overdue = found.sequences.overdue(self.beats.is_whole(), now);
        let (mut is_doubtful, mut is_awaited) = (overdue.lost > 0, overdue.waits);
        if overdue.lost > 0 {
            self.gap(&channel, Some(overdue.lost));
        }
        if overdue.is_unknown {
            self.gap(&channel, None);
        }
        if let Channel::Room(room) = &channel {
            self.follow(room, now, |follower, context| {
                let (is_overdue, is_more) = follower.overdue(context);
                is_doubtful |= is_overdue;
                is_awaited |= is_more;
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
}
