//! Which channels this node receives, for whom, and since when. Knows no message.

use std::{collections::VecDeque, mem, sync::Arc};

use super::{
    super::broker::{Channel, Operation},
    history::Follower,
    map::Map,
    outputs::Outputs,
    sequence::{Past, Sequences},
    settings::{ARRIVAL_MS, LINGER_MS},
};

/// One channel.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // Each is one fact, and all combinations occur.
pub(super) struct Subscription {
    /// Somebody on this node wants it.
    pub(super) is_wanted: bool,
    /// The node wants it for itself.
    is_pinned: bool,
    released_at: u64,
    pub(super) is_standing: bool,
    /// It is subscribed again since the broker is there, and does not stand yet.
    is_resuming: bool,
    stood_since: Option<u64>,
    /// Somebody was told that it cannot stand for now before it ever did.
    is_unsure: bool,
    /// Somebody waits to be told that it stands.
    pub(super) has_waiting: bool,
    pub(super) sequences: Sequences,
    /// For a room with history.
    pub(super) follower: Option<Box<Follower>>,
    /// Whether it is in `Subscriptions::doubted`.
    is_doubted: bool,
}

impl Subscription {
    /// What is known of messages of a node, one of whose heartbeats was last missing at
    /// `missed_at`.
    pub(super) fn past(&self, missed_at: u64) -> Past {
        let stood_since = self.stood_since.map_or(u64::MAX, |at| at.saturating_add(ARRIVAL_MS));
        let is_unheard = self.stood_since.is_some_and(|at| at < missed_at);
        Past { stood_since, is_unheard }
    }
}

/// All channels that this node receives.
#[derive(Default)]
pub(super) struct Subscriptions {
    is_up: bool,
    /// How many are `Subscription::is_resuming`.
    resuming: usize,
    channels: Map<Channel, Subscription>,
    lingering: VecDeque<(u64, Channel)>,
    /// Where something is announced that has not come, and when to look for it.
    doubted: VecDeque<(u64, Channel)>,
}

impl Subscriptions {
    pub(super) fn find(&mut self, channel: &Channel) -> Option<&mut Subscription> {
        self.channels.get_mut(channel)
    }

    /// Receives the channel for the node itself, for good.
    pub(super) fn pin(&mut self, channel: Channel, out: &mut Outputs) {
        let is_up = self.is_up;
        let found = self.channels.entry(channel.clone()).or_insert_with(|| {
            if is_up {
                out.operations.push(Operation::Subscribe(channel));
            }
            Subscription::default()
        });
        found.is_pinned = true;
    }

    /// Somebody wants it. Returns whether it stands, or cannot stand for now.
    pub(super) fn want(
        &mut self,
        channel: &Channel,
        follower: impl FnOnce() -> Option<Box<Follower>>,
        out: &mut Outputs,
    ) -> bool {
        let is_up = self.is_up;
        let found = self.channels.entry(channel.clone()).or_insert_with(|| {
            if is_up {
                out.operations.push(Operation::Subscribe(channel.clone()));
            }
            Subscription { follower: follower(), ..Subscription::default() }
        });
        found.is_wanted = true;
        let is_settled = found.is_standing || !is_up;
        found.is_unsure |= is_settled && found.stood_since.is_none();
        found.has_waiting |= !is_settled;
        is_settled
    }

    /// Nobody wants it any more.
    pub(super) fn release(&mut self, channel: Channel, now: u64) {
        if let Some(found) = self.channels.get_mut(&channel).filter(|found| found.is_wanted) {
            found.is_wanted = false;
            found.has_waiting = false;
            found.released_at = now;
            self.lingering.push_back((now + LINGER_MS, channel));
        }
    }

    /// It stands. Returns whether somebody is to be told that, and whether somebody is to
    /// be told that messages may be missing; `None` if it is not known.
    pub(super) fn on_standing(&mut self, channel: &Channel, now: u64) -> Option<(bool, bool)> {
        let found = self.channels.get_mut(channel).filter(|_| self.is_up)?;
        found.is_standing = true;
        self.resuming -= usize::from(mem::take(&mut found.is_resuming));
        found.stood_since.get_or_insert(now);
        let is_unsure = mem::take(&mut found.is_unsure) && found.follower.is_none();
        Some((mem::take(&mut found.has_waiting), is_unsure))
    }

    /// The broker is there: subscribes everything.
    pub(super) fn on_up(&mut self, out: &mut Outputs) {
        self.is_up = true;
        self.resuming = self.channels.len();
        self.channels.values_mut().for_each(|found| found.is_resuming = true);
        self.subscribe_all(out);
    }

    /// Whether everything that was subscribed when the broker came back stands.
    pub(super) fn have_resumed(&self) -> bool {
        self.is_up && self.resuming == 0
    }

    /// Subscribes everything again. The node's own channels come first.
    pub(super) fn subscribe_all(&self, out: &mut Outputs) {
        let mut channels: Vec<Channel> = self.channels.keys().cloned().collect();
        channels.sort_unstable();
        out.operations.extend(channels.into_iter().map(Operation::Subscribe));
    }

    /// The broker is away. Returns the channels for which somebody waits.
    pub(super) fn on_down(&mut self, out: &mut Outputs) -> Vec<Channel> {
        self.is_up = false;
        let mut waiting = Vec::new();
        for (channel, found) in &mut self.channels {
            found.is_standing = false;
            if let Some(follower) = &mut found.follower {
                follower.on_away(out);
            }
            if mem::take(&mut found.has_waiting) {
                found.is_unsure |= found.stood_since.is_none();
                waiting.push(channel.clone());
            }
        }
        waiting.sort_unstable();
        waiting
    }

    /// Something is announced in the channel that has not come.
    pub(super) fn doubt(&mut self, channel: Channel, now: u64) {
        if let Some(found) = self.channels.get_mut(&channel)
            && !mem::replace(&mut found.is_doubted, true)
        {
            self.doubted.push_back((now + ARRIVAL_MS, channel));
        }
    }

    /// A channel in which it is time to look.
    pub(super) fn next_doubted(&mut self, now: u64) -> Option<Channel> {
        let (_, channel) = self.doubted.pop_front_if(|(at, _)| *at <= now)?;
        if let Some(found) = self.channels.get_mut(&channel) {
            found.is_doubted = false;
        }
        Some(channel)
    }

    /// Leaves what nobody has wanted for a while. Returns those channels.
    pub(super) fn end_lingering(&mut self, now: u64, out: &mut Outputs) -> Vec<Channel> {
        let mut ended = Vec::new();
        while let Some((_, channel)) = self.lingering.pop_front_if(|(at, _)| *at <= now) {
            let is_over = self.channels.get(&channel).is_some_and(|found| {
                !found.is_wanted && !found.is_pinned && found.released_at + LINGER_MS <= now
            });
            if !is_over {
                continue;
            }
            if let Some(mut found) = self.channels.remove(&channel) {
                self.resuming -= usize::from(found.is_resuming);
                if let Some(follower) = &mut found.follower {
                    follower.abandon(out);
                }
            }
            if self.is_up {
                out.operations.push(Operation::Unsubscribe(channel.clone()));
            }
            ended.push(channel);
        }
        ended
    }

    /// Rooms without history that have members here, in order.
    pub(super) fn plain_rooms(&self) -> Vec<Channel> {
        let is_plain = |(channel, found): &(&Channel, &Subscription)| {
            matches!(channel, Channel::Room(_)) && found.is_wanted && found.follower.is_none()
        };
        let plain = self.channels.iter().filter(is_plain);
        let mut rooms: Vec<Channel> = plain.map(|(channel, _)| channel.clone()).collect();
        rooms.sort_unstable();
        rooms
    }

    /// Rooms with history, in order.
    pub(super) fn rooms_with_history(&self) -> Vec<Arc<str>> {
        let mut rooms: Vec<Arc<str>> = Vec::new();
        for (channel, found) in &self.channels {
            if let (Channel::Room(room), Some(_)) = (channel, &found.follower) {
                rooms.push(room.clone());
            }
        }
        rooms.sort_unstable();
        rooms
    }

    /// The node is known no more.
    pub(super) fn forget(&mut self, node: u64) {
        self.channels.values_mut().for_each(|found| found.sequences.forget(node));
    }

    /// When something is to be done.
    pub(super) fn next_tick(&self) -> u64 {
        let first = |queue: &VecDeque<(u64, Channel)>| queue.front().map_or(u64::MAX, |it| it.0);
        first(&self.lingering).min(first(&self.doubted))
    }
}
