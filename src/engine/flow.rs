//! Who is not read for now, why, and when reading goes on. Knows connections, what
//! waits in rooms and on the ways to other shards; not what a message means.
//!
//! A connection is *held* when what it published into a room waits for the members
//! beyond the room's share, when it used up its part of the way to another shard, or
//! when its own answers wait. What had been read of it and not been looked at is
//! parked with it; its socket is not read, so that its peer's window fills. Nobody
//! else notices. It is resumed, in order of arrival, when half of that has gone.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{
    connection::State,
    core::{Core, Order},
    publish::Target,
    windows::Tightness,
};
use crate::{dialect::Incoming, id::ConnId};

/// What a held connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The members of a channel, by its place in the table.
    Room(u32),
    /// The way to another shard.
    Window(u8, Tightness),
    /// Itself, to take its answers.
    Answers,
    /// Its turn: it had as many messages looked at as one may have in a turn.
    Turn,
}

/// What was read of a held connection and not been looked at.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) cause: Cause,
    /// What it waits for after that, if there is still reason to: one call of a handler
    /// may publish into several rooms and to several shards.
    then: VecDeque<Cause>,
    /// A message that publishes, and must wait.
    message: Option<Deferred>,
    /// Bytes behind it; those before `at` have been looked at.
    input: Vec<u8>,
    at: usize,
}

impl Parked {
    /// Bytes of memory that it keeps.
    pub(crate) fn kept_bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| match message {
            Deferred::Text(text) => text.len(),
            Deferred::Binary(bytes) => bytes.len(),
        });
        size_of::<Self>()
            + self.then.capacity() * size_of::<Cause>()
            + message
            + self.input.capacity()
    }
}

/// A whole message that waits.
#[derive(Debug)]
pub(crate) enum Deferred {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Deferred {
    pub(crate) fn of(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.into()),
            Incoming::Binary(bytes) => Self::Binary(bytes.into()),
        }
    }

    pub(crate) fn incoming(&self) -> Incoming<'_> {
        match self {
            Self::Text(text) => Incoming::Text(text),
            Self::Binary(bytes) => Incoming::Binary(bytes),
        }
    }
}

/// What a resumed connection goes on with.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) id: ConnId,
    pub(crate) message: Option<Deferred>,
    pub(crate) input: Vec<u8>,
    pub(crate) at: usize,
}

/// The held connections of a shard.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Those that wait for a channel's members, in order of arrival.
    rooms: HashMap<u32, VecDeque<ConnId>, foldhash::fast::RandomState>,
    /// Channels of which half of what waited has gone.
    relieved: VecDeque<u32>,
    /// Those that wait for nothing any more.
    ready: VecDeque<ConnId>,
    /// How many are held.
    pub(crate) held: usize,
}

impl Flow {
    /// Half of what waited for the members of `channel` has gone.
    pub(crate) fn relieve(&mut self, channel: u32) {
        if self.rooms.contains_key(&channel) {
            self.relieved.push_back(channel);
        }
    }

    /// Takes the first in line for `channel`.
    fn first_for(&mut self, channel: u32) -> Option<ConnId> {
        let line = self.rooms.get_mut(&channel)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.rooms.remove(&channel);
        }
        first
    }

    /// The channel is no more.
    pub(crate) fn forget(&mut self, channel: u32) {
        self.ready.extend(self.rooms.remove(&channel).into_iter().flatten());
    }

    /// Whether somebody can be resumed now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.relieved.is_empty()
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0 && self.rooms.is_empty()
    }
}

impl Core {
    /// Whether there may be a reason to publish no more somewhere.
    pub(crate) fn is_pressed(&self) -> bool {
        self.rooms.congested > 0 || self.windows.any_full()
    }

    /// Why `id` should not publish to `target` now.
    pub(crate) fn pressure(&self, id: ConnId, target: Target<'_>) -> Option<Cause> {
        let room = self.rooms.find(target.space(), target.name());
        if let Some(room) = room
            && let Some(channel) = self.rooms.congested_channel(room)
        {
            return Some(Cause::Room(channel));
        }
        let elsewhere = self.shards_of(target, room) & !(1 << self.shard);
        let (shard, why) = self.windows.tight(elsewhere, id)?;
        Some(Cause::Window(shard, why))
    }

    /// Holds a connection: nothing more of it is looked at until `cause` is gone. One
    /// that is held already waits for that afterwards.
    pub(crate) fn hold(&mut self, id: ConnId, cause: Cause) {
        let Some(connection) = self.find_mut(id) else { return };
        if connection.state != State::Open {
            return;
        }
        if connection.flags.held {
            if let Some(parked) = self.parked_mut(id)
                && *parked.then.back().unwrap_or(&parked.cause) != cause
            {
                parked.then.push_back(cause);
            }
            return;
        }
        connection.flags.held = true;
        let parked =
            Parked { cause, then: VecDeque::new(), message: None, input: Vec::new(), at: 0 };
        connection.extra().parked = Some(Box::new(parked));
        if !std::mem::replace(&mut connection.flags.paused, true) {
            self.orders.push(Order::Hold(id, true));
        }
        self.flow.held += 1;
        self.stats.holds += 1;
        self.wait_for(id, cause);
    }

    /// Has a held connection told when `cause` is gone.
    fn wait_for(&mut self, id: ConnId, cause: Cause) {
        match cause {
            Cause::Room(channel) => self.flow.rooms.entry(channel).or_default().push_back(id),
            Cause::Window(shard, why) => {
                if self.windows.wait(shard, id, why) {
                    self.ask_credit(shard);
                }
            }
            // The flush looks at it even if it has nothing to send it: what it waits
            // for may be with the driver, or be sent to somebody else.
            Cause::Answers => self.mark_ready(id.slot()),
            Cause::Turn => self.flow.ready.push_back(id),
        }
    }

    /// Whether a held connection that waits no more for what it did has reason to wait
    /// for something else. Then it does.
    fn waits_on(&mut self, id: ConnId) -> bool {
        while let Some(parked) = self.open_and_parked(id)
            && let Some(cause) = parked.then.pop_front()
        {
            let cause = match cause {
                Cause::Room(channel) if self.rooms.is_congested(channel) => cause,
                Cause::Window(shard, _) => match self.windows.tight(1 << shard, id) {
                    Some((shard, why)) => Cause::Window(shard, why),
                    None => continue,
                },
                _ => continue,
            };
            if let Some(parked) = self.parked_mut(id) {
                parked.cause = cause;
            }
            self.wait_for(id, cause);
            return true;
        }
        false
    }

    /// What is parked of a connection that is held and not about to end.
    fn open_and_parked(&mut self, id: ConnId) -> Option<&mut Parked> {
        let connection = self.find_mut(id).filter(|found| found.state == State::Open)?;
        connection.extra.as_mut()?.parked.as_deref_mut()
    }

    /// Keeps a message of a held connection for later.
    pub(crate) fn defer(&mut self, id: ConnId, message: Deferred) {
        if let Some(parked) = self.parked_mut(id) {
            debug_assert!(parked.message.is_none());
            parked.message = Some(message);
        }
    }

    /// Keeps bytes of a held connection for later.
    pub(crate) fn park(&mut self, id: ConnId, bytes: &[u8]) {
        if !bytes.is_empty()
            && let Some(parked) = self.parked_mut(id)
        {
            parked.input.extend_from_slice(bytes);
        }
    }

    /// The same with a buffer of which the bytes from `at` on are left.
    pub(crate) fn park_rest(&mut self, id: ConnId, input: Vec<u8>, at: usize) {
        if at < input.len()
            && let Some(parked) = self.parked_mut(id)
        {
            debug_assert!(parked.input.is_empty());
            (parked.input, parked.at) = (input, at);
        }
    }

    fn parked_mut(&mut self, id: ConnId) -> Option<&mut Parked> {
        self.find_mut(id)?.extra.as_mut()?.parked.as_deref_mut()
    }

    /// Whether `id` is held and waits for `cause`.
    fn waits_for(&self, id: ConnId, cause: Cause) -> bool {
        let parked = |connection: &super::connection::Connection| {
            connection.extra.as_ref()?.parked.as_ref().map(|parked| parked.cause)
        };
        self.find(id).and_then(parked) == Some(cause)
    }

    /// How long the turn's buffer of direct sends may become before `id` is held: its
    /// own answers may take half of its budget.
    pub(crate) fn room_for_answers(&self, id: ConnId) -> usize {
        let lag = self.find(id).and_then(|connection| connection.lag.as_ref());
        let waiting = lag.map_or(0, |lag| lag.own_bytes());
        self.direct.len() + (self.limits.queue_bytes / 2).saturating_sub(waiting)
    }

    /// Releases `id` if it waits for its own answers and half of them have gone.
    pub(crate) fn release_if_answered(&mut self, id: ConnId) {
        let Some(connection) = self.find(id).filter(|connection| connection.flags.held) else {
            return;
        };
        let waiting = connection.lag.as_ref().map_or(0, |lag| lag.own_bytes());
        if waiting <= self.limits.queue_bytes / 4 && self.waits_for(id, Cause::Answers) {
            self.flow.ready.push_back(id);
        }
    }

    /// Another shard has taken what connections were charged for.
    pub(crate) fn on_credit(&mut self, shard: u8, credits: &[(ConnId, u32)]) {
        let ready = &mut self.flow.ready;
        if self.windows.credit(shard, credits, |id| ready.push_back(id)) {
            self.ask_credit(shard);
        }
    }

    /// A shard has ended: nobody waits for it any more.
    pub(crate) fn on_shard_ended(&mut self, shard: u8) {
        let ready = &mut self.flow.ready;
        self.windows.forget(shard, |id| ready.push_back(id));
    }

    /// `id` may go on, whatever it waited for.
    pub(crate) fn release(&mut self, id: ConnId) {
        if self.find(id).is_some_and(|connection| connection.flags.held) {
            self.flow.ready.push_back(id);
        }
    }

    /// The next connection that can go on, with what was parked of it.
    pub(crate) fn next_resumed(&mut self) -> Option<Resumed> {
        loop {
            let id = match self.flow.ready.pop_front() {
                Some(id) => id,
                None => self.next_of_relieved()?,
            };
            if self.waits_on(id) {
                continue;
            }
            let now = self.now.tick();
            let Some(connection) = self.find_mut(id) else { continue };
            if !std::mem::take(&mut connection.flags.held) {
                continue;
            }
            // The hold was not the peer's silence.
            connection.flags.pinged = false;
            let parked = connection.extra.as_mut().and_then(|extra| extra.parked.take());
            connection.last_received = now;
            self.flow.held -= 1;
            let Some(parked) = parked else { continue };
            let Parked { message, input, at, .. } = *parked;
            return Some(Resumed { id, message, input, at });
        }
    }

    /// The first in line for a channel that is not congested any more.
    fn next_of_relieved(&mut self) -> Option<ConnId> {
        while let Some(channel) = self.flow.relieved.front().copied() {
            let congested = self.rooms.is_congested(channel);
            let next = if congested { None } else { self.flow.first_for(channel) };
            let Some(id) = next else {
                self.flow.relieved.pop_front();
                continue;
            };
            if self.waits_for(id, Cause::Room(channel)) {
                return Some(id);
            }
        }
        None
    }

    /// A connection that was resumed has had all that was parked of it looked at: its
    /// socket is read again.
    pub(crate) fn unpause(&mut self, id: ConnId) {
        let Some(connection) = self.find_mut(id) else { return };
        if !connection.flags.held && std::mem::take(&mut connection.flags.paused) {
            self.orders.push(Order::Hold(id, false));
        }
    }
}
