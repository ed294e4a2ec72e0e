//! What waits for a connection that cannot take it now: putting it aside,
//! counting it, and calling the connection's policy when it is too much.
//!
//! Knows logs and cursors; sends nothing.

use bytes::Bytes;

use super::{
    connection::{Membership, NONE, State},
    core::Core,
    gather::Coming,
    limits::SlowPolicy,
    room_log::{Cursor, RoomLog},
    rooms::Channel,
    waiting::{Tag, order_of_direct, order_of_publication},
};
use crate::{
    batch::Slice,
    proto::frame::{self, Role},
};

impl Core {
    /// The rooms that have something for `slot`, made ready to be sliced.
    pub(crate) fn coming(&mut self, slot: u32) -> Coming {
        let mut coming = Coming::new();
        for membership in &self.connections[slot as usize].memberships {
            let channel = self.rooms.channel_mut(membership.channel);
            let cursor = channel.members[membership.position as usize].cursor;
            if cursor != channel.log.end() {
                channel.log.freeze();
                coming.push((*membership, cursor));
            }
        }
        coming
    }

    /// The direct sends of a blocked connection wait with it; the turn's buffer
    /// does not.
    pub(crate) fn put_aside(&mut self, slot: u32, turn: &Bytes) {
        let connection = &mut self.connections[slot as usize];
        if connection.direct_head == NONE {
            return;
        }
        let mut at = std::mem::replace(&mut connection.direct_head, NONE);
        connection.direct_tail = NONE;
        let drops = connection.state == State::Open && connection.policy == SlowPolicy::DropNewest;
        let lag = connection.lag();
        lag.is_full &= lag.bytes() > lag.refill_at;
        let mut fresh = Vec::new();
        while let Some(run) = self.runs.get(at as usize) {
            let slice = Slice::new(turn, run.start..run.end);
            let messages = messages_in(slice.as_slice());
            if drops && lag.is_full {
                self.stats.messages_dropped += u64::from(messages);
            } else {
                let (order, tag) =
                    (order_of_direct(run.published), Tag::messages(messages, run.own));
                fresh.push(lag.queue.store(order, &slice, tag));
            }
            at = run.next;
        }
        lag.queue.merge(fresh);
    }

    /// Counts anew what waits for `slot` in its rooms' logs, after its cursors have
    /// moved.
    pub(crate) fn recount(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let Some(lag) = &mut connection.lag else { return };
        lag.logs.reset();
        for membership in &connection.memberships {
            let channel = self.rooms.channel(membership.channel);
            let cursor = channel.members[membership.position as usize].cursor;
            if cursor != channel.log.end() {
                let (sent, now) = counted(channel, cursor, connection.policy);
                lag.logs.look(channel.serial, sent, now);
            }
        }
    }

    /// Applies the policy to a blocked connection for which too much waits. `passed`
    /// is the room in which something may be new since the last time. Costs the
    /// same whatever the number of its other rooms, unless it is too much: then
    /// the policy makes room for a quarter of the budget.
    pub(crate) fn check_budget(&mut self, slot: u32, passed: Option<Membership>) {
        let queue_bytes = self.limits().queue_bytes;
        let connection = &mut self.connections[slot as usize];
        if connection.state != State::Open {
            return;
        }
        let policy = connection.policy;
        let budget = match policy {
            SlowPolicy::Close => queue_bytes,
            // The driver may have two batches, which cannot be dropped.
            _ => queue_bytes - queue_bytes / 8,
        };
        let lag = connection.lag();
        lag.is_full &= policy == SlowPolicy::DropNewest && lag.bytes() > lag.refill_at;
        match passed {
            Some(membership) if lag.is_full => self.skip(slot, membership),
            Some(membership) => {
                let channel = self.rooms.channel(membership.channel);
                let cursor = channel.members[membership.position as usize].cursor;
                let (sent, now) = counted(channel, cursor, policy);
                lag.logs.look(channel.serial, sent, now);
            }
            None => {}
        }
        let lag = self.connections[slot as usize].lag();
        if lag.waiting() <= budget {
            return;
        }
        if policy == SlowPolicy::Close {
            if !std::mem::replace(&mut lag.overdue, true) {
                self.overdue.push(self.id_of(slot));
            }
            return;
        }
        // Its own answers are beside the budget.
        let own = lag.own_bytes();
        self.shed(slot, policy, budget + own);
        self.recount(slot);
    }

    /// Messages between two cursors that `slot` would have got.
    pub(crate) fn messages_between(
        &self,
        slot: u32,
        log: &RoomLog,
        from: Cursor,
        to: Cursor,
    ) -> usize {
        let messages = to.wrapping_sub(from) as usize;
        if self.connections[slot as usize].flags.excepted {
            return messages - log.entries().excepted(from, to, slot) as usize;
        }
        messages
    }

    /// Drops what waits for `slot` in one room's log.
    fn skip(&mut self, slot: u32, membership: Membership) {
        let Membership { channel: index, position } = membership;
        let channel = self.rooms.channel(index);
        let (entries, end) = (channel.log.entries(), channel.log.end());
        let cursor = channel.members[position as usize].cursor;
        let dropped = self.messages_between(slot, &channel.log, cursor, end);
        let logs = &mut self.connections[slot as usize].lag().logs;
        logs.forget(channel.serial, entries.cost_at(cursor));
        self.stats.messages_dropped += dropped as u64;
        self.rooms.advance(index, position, end);
    }

    /// Brings what waits for `slot` in a room's log, which it is about to leave,
    /// into its own queue; or drops it, if the queue is full and has been cut off.
    pub(crate) fn detach_membership(&mut self, slot: u32, index: u32, position: u32) {
        let lag = &self.connections[slot as usize].lag;
        if lag.as_ref().is_some_and(|lag| lag.is_full) {
            self.skip(slot, Membership { channel: index, position });
            return;
        }
        let channel = self.rooms.channel_mut(index);
        channel.log.freeze();
        let (serial, end) = (channel.serial, channel.log.end());
        let mut at = channel.members[position as usize].cursor;
        let (log, connection) = (&channel.log, &mut self.connections[slot as usize]);
        let conflates = connection.policy == SlowPolicy::Conflate;
        let lag = connection.lag();
        lag.logs.forget(serial, log.entries().cost_at(at));
        let mut fresh = Vec::new();
        while let Some(sequence) = log.entries().sequence(at) {
            if log.entries().except(at) != slot {
                let tag = lag.tag(conflates, serial, log.entries().key(at));
                fresh.push(lag.queue.store(order_of_publication(sequence), &log.frame(at), tag));
            }
            at = at.wrapping_add(1);
        }
        lag.queue.merge(fresh);
        self.rooms.advance(index, position, end);
    }
}

/// What counts against the budget of a member with that cursor: from where to where,
/// in what the log's entries cost. What most members have not taken either makes
/// nobody a slow reader; who would rather lose messages is not waited for.
fn counted(channel: &Channel, cursor: Cursor, policy: SlowPolicy) -> (u64, u64) {
    let (entries, end) = (channel.log.entries(), channel.log.end());
    let sent = entries.cost_at(cursor);
    let now =
        if policy == SlowPolicy::Close { channel.settled.max(sent) } else { entries.cost_at(end) };
    (sent, now)
}

/// What may wait after a policy was applied: three quarters of the budget, so that
/// it is not called again for each message.
pub(crate) fn low_mark(budget: usize) -> usize {
    budget - budget / 4
}

/// How many messages are in a run of direct sends. A run that is no frames (the
/// answer to an upgrade) is one.
fn messages_in(run: &[u8]) -> u32 {
    let (mut rest, mut messages) = (run, 0);
    while let Ok(Some((header, length))) = frame::decode(rest, Role::Client) {
        messages += u32::from(header.fin && !header.opcode.is_control());
        let end = length.saturating_add(header.len as usize);
        rest = rest.get(end..).unwrap_or_default();
    }
    if rest.len() == run.len() { 1 } else { messages }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::write_whole;
    use crate::proto::frame::Opcode;

    #[test]
    fn a_run_is_as_many_messages_as_it_has_data_frames() {
        let mut run = bytes::BytesMut::new();
        write_whole(&mut run, Opcode::Text, &[b'x'; 300]);
        write_whole(&mut run, Opcode::Pong, b"?");
        write_whole(&mut run, Opcode::Binary, b"");
        assert_eq!(messages_in(&run), 2);
        assert_eq!(messages_in(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), 1);
    }
}
