//! The end of a turn: everything that was accepted leaves, each connection
//! getting one batch of all that it has coming, in order.
//!
//! Nothing is published, joined or left during a flush; connections that must go
//! because they are too slow are only noted.

use bytes::{Bytes, BytesMut};

use super::{
    connection::{Connection, Membership, NONE, State},
    core::{Core, Order},
    deadlines::PROGRESS_LOOKS,
    gather::gather,
    limits::SlowPolicy,
    room_log::{Cursor, Slices},
    timers::{TICK_MS, Tick, reached},
};
use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

/// Where batches go: a driver, or what stands for one.
pub trait Outlet {
    /// See [`Driver::send`](crate::driver::Driver::send).
    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending;

    /// See [`Driver::unsent_bytes`](crate::driver::Driver::unsent_bytes).
    fn unsent_bytes(&mut self, id: ConnId) -> usize;

    /// See [`Driver::has_unread`](crate::driver::Driver::has_unread).
    fn has_unread(&mut self, id: ConnId) -> bool;
}

/// What a small send counts as work; a look at a member counts 1.
const WORK_PER_SEND: usize = 16;

/// Bytes of a send that count as much as a look.
const BYTES_PER_WORK: usize = 1024;

/// Rooms that wait for their members are looked at again after so long: 240 ms.
const LOOK_AGAIN_TICKS: Tick = 15;

/// A turn's buffer of direct sends is not kept above this size.
const KEPT_DIRECT_BYTES: usize = 1024 * 1024;

impl Core {
    /// Whether so much is waiting that it should be flushed before more comes
    /// in: 256 KiB still lie in a core's second-level cache.
    pub(crate) fn wants_flush(&self) -> bool {
        self.pending_bytes() >= 256 * 1024
    }

    /// Sends what is waiting, as far as this turn's work goes. Returns whether
    /// something is left for the next turn.
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
        self.go_on(outlet);
        // Each channel once at the most. One that used up the work goes to the end
        // of the line, so that a small room waits for one slice of a large one and no
        // more.
        for _ in 0..self.rooms.dirty.len() {
            if self.work_left == 0 {
                break;
            }
            let Some(channel) = self.rooms.dirty.pop_front() else { break };
            if !self.pass(channel, outlet) {
                self.rooms.dirty.push_back(channel);
            }
        }
        !self.rooms.dirty.is_empty() || !self.continuing.is_empty()
    }

    /// A turn begins: this is what its flushes may do.
    pub(crate) fn begin_work(&mut self) {
        self.work_left = self.limits.sends_per_turn * WORK_PER_SEND;
    }

    /// Counts work that was done.
    fn worked(&mut self, work: usize) {
        self.work_left = self.work_left.saturating_sub(work);
    }

    /// Sends more to connections whose last batch has left, with at most half of the
    /// work that is left: the rooms' members have the other.
    fn go_on(&mut self, outlet: &mut impl Outlet) {
        let kept = if self.rooms.dirty.is_empty() { 0 } else { self.work_left / 2 };
        let none = Bytes::new();
        for _ in 0..self.continuing.len() {
            if self.work_left <= kept {
                break;
            }
            let Some(slot) = self.continuing.pop_front() else { break };
            self.serve(slot, None, &none, outlet);
        }
    }

    /// Goes on with the channel's members. Returns whether all have been given
    /// everything.
    fn pass(&mut self, index: u32, outlet: &mut impl Outlet) -> bool {
        // Whoever has only this channel's entries coming needs no merging.
        let alone = self.rooms.dirty.is_empty();
        let channel = self.rooms.channel_mut(index);
        channel.log.freeze();
        let end = channel.log.end();
        if channel.passed == 0 {
            channel.pass_end = end;
            channel.lowest = end;
            channel.behind = 0;
            channel.paced = 0;
            channel.has_pressed = false;
            channel.caught_up = false;
        }
        let none = Bytes::new();
        while let Some(member) = self.rooms.channel(index).members.get(self.position(index)) {
            if self.work_left == 0 {
                return false;
            }
            self.work_left -= 1;
            let (slot, lacks) = (member.slot, member.cursor != end);
            if lacks && !(alone && self.serve_simply(index, slot, outlet)) {
                let passed = Membership { channel: index, position: self.position(index) as u32 };
                self.serve(slot, Some(passed), &none, outlet);
            }
            let (paced, pressed) = if lacks { self.pace(slot) } else { (false, false) };
            let channel = self.rooms.channel_mut(index);
            let cursor = channel.members[channel.passed as usize].cursor;
            channel.passed += 1;
            if cursor != end {
                channel.behind += 1;
                channel.paced += u32::from(paced);
                channel.has_pressed |= pressed;
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

    /// Whether a connection that is behind has taken something of late and wants to
    /// lose nothing; and whether moreover half of its budget is used up, so that it
    /// would soon be closed as a slow one.
    fn pace(&self, slot: u32) -> (bool, bool) {
        let connection = &self.connections[slot as usize];
        let Some(lag) = connection.lag.as_ref().filter(|_| connection.policy == SlowPolicy::Close)
        else {
            return (false, false);
        };
        let paced = lag.progress.is_paced(self.now.tick());
        (paced, paced && lag.waiting() > self.limits.queue_bytes / 2)
    }

    /// Everybody has been passed: forgets what everybody has, and credits what most
    /// have. Returns whether nothing came in since the pass began.
    fn finish_pass(&mut self, index: u32) -> bool {
        let channel = self.rooms.channel_mut(index);
        channel.passed = 0;
        let lagging = channel.has_pressed || channel.paced as usize * 4 > channel.members.len();
        channel.is_lagging = lagging;
        let (lowest, pass_end) = (channel.lowest, channel.pass_end);
        if !lagging {
            self.settle_channel(index, pass_end);
        }
        self.rooms.list_if_lagging(index);
        let channel = self.rooms.channel_mut(index);
        channel.log.trim(lowest);
        // Of the members that were left behind some have caught up since: there were
        // fewer than the pass has counted, and its lowest cursor is too low.
        let counts_too_many = channel.caught_up && (channel.behind == 0 || channel.is_lagging);
        if pass_end != channel.log.end() || (counts_too_many && !channel.log.is_empty()) {
            return false;
        }
        channel.dirty = false;
        if channel.log.is_empty() {
            self.rooms.unequip(index);
        }
        true
    }

    /// Most members have the log up to `end`: whoever was charged for it is credited,
    /// and publishers that were held may go on.
    fn settle_channel(&mut self, index: u32, end: Cursor) {
        let relieved = self.rooms.settle(index, end, &self.limits);
        while let Some(owed) = self.rooms.take_owed(index) {
            self.credit(owed.origin, owed.bytes);
        }
        if relieved {
            self.flow.relieve(index);
        }
    }

    /// Looks again at channels most of whose members were behind: those that have
    /// taken nothing since do not slow their publishers down any more.
    pub(crate) fn look_at_lagging(&mut self) {
        if self.rooms.lagging.is_empty() || !reached(self.look_again, self.now.tick()) {
            return;
        }
        self.look_again = self.now.tick().wrapping_add(LOOK_AGAIN_TICKS);
        let rooms = &mut self.rooms;
        let mut lagging = std::mem::take(&mut rooms.lagging);
        lagging.retain(|channel| {
            let found = rooms.channel_mut(*channel);
            found.is_listed = found.is_lagging;
            if found.is_lagging {
                rooms.mark_dirty(*channel);
            }
            rooms.channel(*channel).is_listed
        });
        self.rooms.lagging = lagging;
    }

    /// When that is due.
    pub(crate) fn next_look_at_lagging(&self) -> Option<std::time::Duration> {
        if self.rooms.lagging.is_empty() {
            return None;
        }
        let ticks = self.look_again.wrapping_sub(self.now.tick());
        let ticks = if ticks > u32::MAX / 2 { 1 } else { ticks.max(1) };
        Some(std::time::Duration::from_millis(u64::from(ticks) * TICK_MS))
    }

    /// Sends the member at the pass's position what it lacks of this channel, if
    /// it has nothing else coming. Returns whether it was that simple.
    fn serve_simply(&mut self, index: u32, slot: u32, outlet: &mut impl Outlet) -> bool {
        let id = self.id_of(slot);
        let policy = self.connections[slot as usize].policy;
        let most = self.limits.batch_of(policy);
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
        self.sent(slot, bytes, 1, sending);
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
            let slices = gathered.slices.len();
            let taken = gathered.taken();
            let (bytes, more) = (taken.bytes, taken.more);
            self.apply(slot, taken);
            self.sent(slot, bytes, slices, sending);
            if sending == Sending::Pending {
                self.put_aside(slot, turn);
                self.recount(slot);
                self.check_budget(slot, None);
                self.release_if_answered(id);
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
            let count = slices.len();
            drop(slices);
            self.sent(slot, bytes, count, sending);
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
        if connection.flags.held {
            self.release_if_answered(id);
        }
        let connection = &mut self.connections[slot as usize];
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
    fn sent(&mut self, slot: u32, bytes: usize, slices: usize, sending: Sending) {
        self.worked(WORK_PER_SEND + slices + bytes / BYTES_PER_WORK);
        self.stats.sends += 1;
        self.stats.bytes_sent += bytes as u64;
        if sending == Sending::Pending {
            let now = self.now.tick();
            let lag = self.connections[slot as usize].lag();
            lag.in_flight = true;
            lag.progress.count(now, bytes);
            lag.since = now;
            lag.unsent = 0;
            let at = self.tick_after(self.limits().write_timeout / PROGRESS_LOOKS);
            self.schedule_by(slot, at);
        }
    }
}
