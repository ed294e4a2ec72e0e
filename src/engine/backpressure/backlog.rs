//! What waits for a connection that cannot take it now: putting it aside,
//! counting it, and calling the connection's policy when it is too much.
//!
//! Knows logs and cursors; sends nothing.

use bytes::Bytes;

use super::{pending_logs::messages_between, shed};
use crate::{
    batch::Slice,
    engine::{
        state::{
            connection::{Membership, NONE, State},
            core::Core,
            room_log::Cursor,
            rooms::SubscriberGroup,
            waiting::{Tag, sequence_of_direct, sequence_of_publication},
        },
        types::slow_policy::SlowPolicy,
    },
    proto::frame::{self, Role},
};

/// The direct sends of a blocked connection wait with it; the turn's buffer
/// does not.
pub(crate) fn queue_direct_sends(core: &mut Core, slot: u32, turn: &Bytes) {
    let connection = &mut core.connections[slot];
    if connection.direct_head == NONE {
        return;
    }
    let mut at = std::mem::replace(&mut connection.direct_head, NONE);
    connection.direct_tail = NONE;
    let drops = connection.state == State::Open && connection.policy == SlowPolicy::DropNewest;
    let send_queue = connection.send_queue();
    send_queue.is_full &= send_queue.bytes() > send_queue.refill_at;
    let mut fresh = Vec::new();
    while let Some(run) = core.direct.run(at) {
        let slice = Slice::new(turn, run.start..run.end);
        let messages = messages_in(slice.as_slice());
        if drops && send_queue.is_full {
            core.stats.messages_dropped += u64::from(messages);
        } else {
            let (sequence, tag) =
                (sequence_of_direct(run.published), Tag::messages(messages, run.is_answer));
            fresh.push(send_queue.queue.store(sequence, &slice, tag));
        }
        at = run.next;
    }
    send_queue.queue.merge(fresh);
}

/// Counts anew what waits for `slot` in its rooms' logs, after its cursors have
/// moved.
pub(crate) fn recount(core: &mut Core, slot: u32) {
    let connection = &mut core.connections[slot];
    let Some(send_queue) = &mut connection.send_queue else { return };
    send_queue.logs.reset();
    for membership in &connection.memberships {
        let group = core.rooms.group(membership.group);
        let cursor = group.members[membership.position as usize].cursor;
        if cursor != group.log.end() {
            let (sent, now) = counted(group, cursor, connection.policy);
            send_queue.logs.observe(group.serial, sent, now);
        }
    }
}

/// Applies the policy to a blocked connection for which too much waits. `passed`
/// is the room in which something may be new since the last time. Costs the
/// same whatever the number of its other rooms, unless it is too much: then
/// the policy makes room for a quarter of the budget.
pub(crate) fn check_budget(core: &mut Core, slot: u32, passed: Option<Membership>) {
    let queue_bytes = core.limits.queue_bytes;
    let connection = &mut core.connections[slot];
    if connection.state != State::Open {
        return;
    }
    let policy = connection.policy;
    let budget = match policy {
        SlowPolicy::Close => queue_bytes,
        // The driver may have two batches, which cannot be dropped.
        _ => queue_bytes - queue_bytes / 8,
    };
    let send_queue = connection.send_queue();
    send_queue.is_full &=
        policy == SlowPolicy::DropNewest && send_queue.bytes() > send_queue.refill_at;
    match passed {
        Some(membership) if send_queue.is_full => drop_logged(core, slot, membership),
        Some(membership) => {
            let group = core.rooms.group(membership.group);
            let cursor = group.members[membership.position as usize].cursor;
            let (sent, now) = counted(group, cursor, policy);
            send_queue.logs.observe(group.serial, sent, now);
        }
        None => {}
    }
    let send_queue = core.connections[slot].send_queue();
    if send_queue.waiting() <= budget {
        return;
    }
    if policy == SlowPolicy::Close {
        if !std::mem::replace(&mut send_queue.is_over_budget, true) {
            core.endings.over_budget.push(core.connections.id_of(slot));
        }
        return;
    }
    // Its own answers are beside the budget.
    let answers = send_queue.answer_bytes();
    shed::shed(core, slot, policy, budget + answers);
    recount(core, slot);
}

/// Drops what waits for `slot` in one room's log.
fn drop_logged(core: &mut Core, slot: u32, membership: Membership) {
    let Membership { group: index, position } = membership;
    let group = core.rooms.group(index);
    let (entries, end) = (group.log.entries(), group.log.end());
    let cursor = group.members[position as usize].cursor;
    let dropped = messages_between(core, slot, &group.log, cursor, end);
    let logs = &mut core.connections[slot].send_queue().logs;
    logs.forget(group.serial, entries.cost_at(cursor));
    core.stats.messages_dropped += dropped as u64;
    core.rooms.advance(index, position, end);
}

/// Brings what waits for `slot` in a room's log, which it is about to leave,
/// into its own queue; or drops it, if the queue is full and has been cut off.
pub(crate) fn detach_membership(core: &mut Core, slot: u32, index: u32, position: u32) {
    let send_queue = &core.connections[slot].send_queue;
    if send_queue.as_ref().is_some_and(|send_queue| send_queue.is_full) {
        drop_logged(core, slot, Membership { group: index, position });
        return;
    }
    let group = core.rooms.group_mut(index);
    group.log.freeze();
    let (serial, end) = (group.serial, group.log.end());
    let mut at = group.members[position as usize].cursor;
    let (log, connection) = (&group.log, &mut core.connections[slot]);
    let conflates = connection.policy == SlowPolicy::Conflate;
    let send_queue = connection.send_queue();
    send_queue.logs.forget(serial, log.entries().cost_at(at));
    let mut fresh = Vec::new();
    while let Some(publication) = log.entries().publication(at) {
        if log.entries().except(at) != slot {
            let tag = send_queue.tag(conflates, serial, log.entries().key(at));
            fresh.push(send_queue.queue.store(
                sequence_of_publication(publication),
                &log.frame(at),
                tag,
            ));
        }
        at = at.wrapping_add(1);
    }
    send_queue.queue.merge(fresh);
    core.rooms.advance(index, position, end);
}

/// What counts against the budget of a member with that cursor: from where to where,
/// in what the log's entries cost. What most members have not taken either makes
/// nobody a slow reader; who would rather lose messages is not waited for.
fn counted(group: &SubscriberGroup, cursor: Cursor, policy: SlowPolicy) -> (u64, u64) {
    let (entries, end) = (group.log.entries(), group.log.end());
    let sent = entries.cost_at(cursor);
    let now =
        if policy == SlowPolicy::Close { group.settled.max(sent) } else { entries.cost_at(end) };
    (sent, now)
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
    use crate::engine::state::framing::write_whole;
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
