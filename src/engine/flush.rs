//! The end of a turn: everything that was accepted leaves, each connection
//! getting one batch of all that it has coming, in order.
//!
//! Nothing is published, joined or left during a flush; connections that must go
//! because they are too slow are only noted.

use bytes::{Bytes, BytesMut};

use super::{
    connection::{Connection, Membership, NONE, State},
    core::{Core, Order},
    gather::gather,
    room_log::Slices,
};
use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

/// Where batches go: a driver, or what stands for one.
pub trait Outlet {
    /// See [`Driver::send`](crate::driver::Driver::send).
    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending;
}

/// A turn's buffer of direct sends is not kept above this size.
const KEPT_DIRECT_BYTES: usize = 1024 * 1024;

impl Core {
    /// Whether so much is waiting that it should be flushed before more comes
    /// in: 256 KiB still lie in a core's second-level cache.
    pub(crate) fn wants_flush(&self) -> bool {
        self.pending_bytes() >= 256 * 1024
    }

    /// Sends what is waiting, to at most `sends_per_turn` members of rooms.
    /// Returns whether something is left for the next turn.
    pub(crate) fn flush(&mut self, outlet: &mut impl Outlet) -> bool {
        let turn = self.direct.split().freeze();
        let mut ready = std::mem::take(&mut self.ready);
        // If no room has anything for anyone, there is nothing to merge.
        let quiet = self.rooms.dirty.is_empty();
        for slot in ready.drain(..) {
            let lags = |connection: &Connection| connection.lag.is_some();
            if quiet && !self.connections.get(slot as usize).is_none_or(lags) {
                self.serve_direct(slot, &turn, outlet);
            } else {
                self.serve(slot, None, &turn, outlet);
            }
        }
        self.ready = ready;
        self.runs.clear();
        drop(turn);
        if !self.direct.try_reclaim(4096) || self.direct.capacity() > KEPT_DIRECT_BYTES {
            self.direct = BytesMut::with_capacity(16 * 1024);
        }
        self.logged = 0;
        let mut budget = self.limits().sends_per_turn;
        // Each channel once at the most. One that used up the budget goes to the
        // end of the line, so that a small room waits for one slice of a large
        // one and no more.
        for _ in 0..self.rooms.dirty.len() {
            if budget == 0 {
                break;
            }
            let Some(channel) = self.rooms.dirty.pop_front() else { break };
            if !self.pass(channel, outlet, &mut budget) {
                self.rooms.dirty.push_back(channel);
            }
        }
        if self.rooms.dirty.is_empty() {
            self.ungiven = 0;
        }
        !self.rooms.dirty.is_empty()
    }

    /// Whether so much is published that is still to be given to members that no
    /// more should be taken in before it is: else members that take everything
    /// they are offered would be counted as slow because they were offered
    /// nothing.
    pub(crate) fn must_catch_up(&self) -> bool {
        !self.rooms.dirty.is_empty()
            && self.ungiven >= (self.limits().queue_bytes / 4).min(256 * 1024)
    }

    /// Goes on with the channel's members. Returns whether all have been given
    /// everything.
    fn pass(&mut self, index: u32, outlet: &mut impl Outlet, budget: &mut usize) -> bool {
        // Whoever has only this channel's entries coming needs no merging.
        let alone = self.rooms.dirty.is_empty();
        let channel = self.rooms.channel_mut(index);
        channel.log.freeze();
        let end = channel.log.end();
        if channel.passed == 0 {
            channel.pass_end = end;
            channel.lowest = end;
            channel.behind = 0;
        }
        let none = Bytes::new();
        while let Some(member) = self.rooms.channel(index).members.get(self.position(index)) {
            if member.cursor != end {
                if *budget == 0 {
                    return false;
                }
                *budget -= 1;
                let slot = member.slot;
                if !(alone && self.serve_simply(index, slot, outlet)) {
                    let position = self.position(index) as u32;
                    let passed = Membership { channel: index, position };
                    self.serve(slot, Some(passed), &none, outlet);
                }
            }
            let channel = self.rooms.channel_mut(index);
            let cursor = channel.members[channel.passed as usize].cursor;
            channel.passed += 1;
            if cursor != end {
                channel.behind += 1;
            }
            if channel.log.behind(cursor) > channel.log.behind(channel.lowest) {
                channel.lowest = cursor;
            }
        }
        self.finish_pass(index)
    }

    fn position(&self, channel: u32) -> usize {
        self.rooms.channel(channel).passed as usize
    }

    /// Everybody has been passed: forgets what everybody has. Returns whether
    /// nothing came in since the pass began.
    fn finish_pass(&mut self, index: u32) -> bool {
        let channel = self.rooms.channel_mut(index);
        channel.passed = 0;
        channel.log.trim(channel.lowest);
        if channel.pass_end != channel.log.end() {
            return false;
        }
        channel.dirty = false;
        if channel.log.is_empty() {
            self.rooms.unequip(index);
        }
        true
    }

    /// Sends the member at the pass's position what it lacks of this channel, if
    /// it has nothing else coming. Returns whether it was that simple.
    fn serve_simply(&mut self, index: u32, slot: u32, outlet: &mut impl Outlet) -> bool {
        let id = self.id_of(slot);
        let most = self.limits().batch_bytes;
        let connection = &mut self.connections[slot as usize];
        if connection.lag.is_some()
            || connection.direct_head != NONE
            || connection.flags.excepted
            || connection.state != State::Open
        {
            return false;
        }
        let channel = self.rooms.channel_mut(index);
        let position = channel.passed as usize;
        let (cursor, end) = (channel.members[position].cursor, channel.log.end());
        let bytes = channel.log.bytes_between(cursor, end);
        if bytes > most {
            return false;
        }
        let mut slices = Slices::new();
        channel.log.slices(cursor, end, &mut slices);
        let sending = outlet.send(id, &slices);
        drop(slices);
        self.stats.deliveries += u64::from(channel.log.behind(cursor));
        channel.members[position].cursor = end;
        self.sent(slot, bytes, sending);
        true
    }

    /// Sends a connection everything that it has coming, batch by batch, until
    /// it can take no more. `passed` is the room whose pass has come to it.
    fn serve(
        &mut self,
        slot: u32,
        passed: Option<Membership>,
        turn: &Bytes,
        outlet: &mut impl Outlet,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        connection.flags.ready = false;
        if connection.is_blocked() {
            self.put_aside(slot, turn);
            self.check_budget(slot, passed);
            return;
        }
        let id = self.id_of(slot);
        loop {
            let mut control = [const { None }; 3];
            if let Some(lag) = &mut self.connections[slot as usize].lag {
                control = lag.take_control();
                lag.queue.close_segment();
            }
            let coming = self.coming(slot);
            let gathered = gather(self, slot, turn, &control, coming);
            if gathered.slices.is_empty() {
                let taken = gathered.taken();
                self.apply(slot, taken);
                break;
            }
            let sending = outlet.send(id, &gathered.slices);
            let taken = gathered.taken();
            let (bytes, more) = (taken.bytes, taken.more);
            self.apply(slot, taken);
            self.sent(slot, bytes, sending);
            if sending == Sending::Pending {
                self.put_aside(slot, turn);
                self.recount(slot);
                self.check_budget(slot, None);
                return;
            }
            if !more {
                break;
            }
        }
        self.served(slot, id);
    }

    /// Sends a connection its direct sends of this turn and nothing else.
    fn serve_direct(&mut self, slot: u32, turn: &Bytes, outlet: &mut impl Outlet) {
        let id = self.id_of(slot);
        let connection = &mut self.connections[slot as usize];
        connection.flags.ready = false;
        let mut next = std::mem::replace(&mut connection.direct_head, NONE);
        connection.direct_tail = NONE;
        let mut slices = Slices::new();
        let mut bytes = 0;
        while let Some(run) = self.runs.get(next as usize) {
            bytes += run.end - run.start;
            slices.push(Slice::new(turn, run.start..run.end));
            next = run.next;
        }
        if bytes > 0 {
            let sending = outlet.send(id, &slices);
            drop(slices);
            self.sent(slot, bytes, sending);
            if sending == Sending::Pending {
                return;
            }
        }
        self.served(slot, id);
    }

    /// Nothing is left to send to `slot`, and nothing is with the driver.
    fn served(&mut self, slot: u32, id: ConnId) {
        let connection = &mut self.connections[slot as usize];
        debug_assert!(connection.lag.as_ref().is_none_or(|lag| lag.is_empty()));
        connection.lag = None;
        connection.flags.excepted = false;
        match connection.state {
            State::Handshake | State::Open => {}
            State::Closing => self.await_the_end(slot),
            State::Lingering => {
                if !std::mem::replace(&mut connection.flags.shut, true) {
                    self.orders.push(Order::Shutdown(id));
                }
                self.await_the_end(slot);
            }
            State::Finished => self.remove(id),
        }
    }

    /// Moves cursors past what was handed to the driver.
    fn apply(&mut self, slot: u32, taken: super::gather::Taken) {
        self.stats.deliveries += taken.deliveries;
        let connection = &mut self.connections[slot as usize];
        connection.direct_head = taken.next_run;
        if taken.next_run == NONE {
            connection.direct_tail = NONE;
        }
        if let Some(lag) = &mut connection.lag {
            lag.queue.sent(taken.queued);
        }
        for (membership, cursor) in taken.cursors {
            self.rooms.advance(membership.channel, membership.position, cursor);
        }
    }

    /// Counts a batch and, if the driver still has it, blocks the connection.
    fn sent(&mut self, slot: u32, bytes: usize, sending: Sending) {
        self.stats.sends += 1;
        self.stats.bytes_sent += bytes as u64;
        if sending == Sending::Pending {
            let now = self.now.tick();
            let lag = self.connections[slot as usize].lag();
            lag.in_flight = true;
            lag.since = now;
            let at = self.tick_after(self.limits().write_timeout);
            self.schedule_by(slot, at);
        }
    }
}
