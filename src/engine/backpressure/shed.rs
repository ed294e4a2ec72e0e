//! The lossy policies: what is dropped for a connection for which more waits than
//! its budget allows. Knows logs, cursors and the connection's own queue.
//!
//! Each call leaves no more than three quarters of the budget (`drop-newest`: no
//! more than the budget, and then everything is dropped until a quarter is free),
//! so that each message is looked at a constant number of times. Nothing is copied
//! that is dropped by the same call.

use super::pending_logs::{PendingLogs, messages_between, pending_logs};
use crate::engine::{
    state::{
        connection::Membership,
        core::Core,
        frame_queue::{FrameQueue, WAITING_BYTES},
        heads::{Heads, Side},
        room_log::{Cursor, RoomLog},
        waiting::{Record, Sequence, Tag, Waiting, sequence_of_publication},
    },
    types::slow_policy::SlowPolicy,
};

/// The connection's own queue; the rooms are numbered from the next on.
const QUEUE: Side = 0;

/// A publication that is kept when the rest is conflated.
struct Survivor {
    sequence: Sequence,
    /// Its room's place among those that have something for the connection.
    room: usize,
    cursor: Cursor,
    record: Record,
}

/// Drops what `policy` drops for `slot`, and counts it.
pub(crate) fn shed(core: &mut Core, slot: u32, policy: SlowPolicy, budget: usize) {
    let pending = pending_logs(core, slot);
    let dropped = match policy {
        SlowPolicy::Close => 0,
        SlowPolicy::DropOldest => drop_oldest(core, slot, pending, budget),
        SlowPolicy::DropNewest => drop_newest(core, slot, &pending, budget),
        SlowPolicy::Conflate => {
            let replaced = conflate(core, slot, &pending);
            replaced + drop_oldest(core, slot, PendingLogs::new(), budget)
        }
    };
    core.stats.messages_dropped += dropped as u64;
}

fn log(core: &Core, membership: Membership) -> &RoomLog {
    &core.rooms.group(membership.group).log
}

/// The next frame of each side: the connection's own queue, and the rooms.
fn heads(core: &Core, slot: u32, pending: &PendingLogs) -> Heads {
    let mut heads = Heads::default();
    heads.add(QUEUE, head_of_queue(core, slot, 0));
    for ((membership, cursor), side) in pending.iter().zip(1..) {
        heads.add(side, head_of_log(core, *membership, *cursor));
    }
    heads
}

fn head_of_queue(core: &Core, slot: u32, index: usize) -> Option<Sequence> {
    let send_queue = core.connections[slot].send_queue.as_ref()?;
    send_queue.queue.at(index).map(|waiting| waiting.sequence)
}

fn head_of_log(core: &Core, membership: Membership, cursor: Cursor) -> Option<Sequence> {
    log(core, membership).entries().publication(cursor).map(sequence_of_publication)
}

/// Drops the oldest over all sides. What is kept stays where it is: in a log,
/// dropping is moving the cursor. Returns how many messages were dropped.
fn drop_oldest(core: &mut Core, slot: u32, mut pending: PendingLogs, budget: usize) -> usize {
    let (mut logged, low) = (0, low_watermark_for(core, slot, &pending, budget));
    for (membership, cursor) in &pending {
        logged += log(core, *membership).cost_behind(*cursor);
    }
    let mut heads = heads(core, slot, &pending);
    let mut dropped = 0;
    while let Some((side, until)) = heads.first() {
        let queue = &mut core.connections[slot].send_queue().queue;
        let waiting = queue.kept_bytes() + logged;
        if waiting <= low {
            break;
        }
        if side == QUEUE {
            while queue.kept_bytes() + logged > low
                && queue.at(0).is_some_and(|first| first.sequence <= until)
            {
                dropped += queue.pop_front().unwrap_or_default();
            }
            heads.replace_first(head_of_queue(core, slot, 0));
            continue;
        }
        let (membership, from) = pending[side as usize - 1];
        let log = log(core, membership);
        let (entries, start) = (log.entries(), log.entries().cost_at(from));
        let to = entries.seek(from, |cursor| {
            let sequence = entries.publication(cursor).map(sequence_of_publication);
            sequence.is_some_and(|sequence| sequence <= until)
                && ((entries.cost_at(cursor) - start) as usize) < waiting - low
        });
        logged -= log.cost_between(from, to);
        dropped += messages_between(core, slot, log, from, to);
        pending[side as usize - 1].1 = to;
        heads.replace_first(head_of_log(core, membership, to));
    }
    core.connections[slot].send_queue().queue.give_back();
    for (membership, cursor) in pending {
        core.rooms.advance(membership.group, membership.position, cursor);
    }
    dropped
}

/// What may be left after dropping the oldest: three quarters of the budget, or
/// the newest frame if it is larger and fits into the budget.
fn low_watermark_for(core: &Core, slot: u32, pending: &PendingLogs, budget: usize) -> usize {
    let queue = core.connections[slot].send_queue.as_ref().map(|send_queue| &send_queue.queue);
    let mut newest = queue.and_then(FrameQueue::newest).unwrap_or_default();
    for (membership, _) in pending {
        let log = log(core, *membership);
        let last = log.end().wrapping_sub(1);
        if let Some(sequence) = head_of_log(core, *membership, last) {
            newest = newest.max((sequence, log.cost_behind(last)));
        }
    }
    low_watermark(budget).max(newest.1.min(budget))
}

/// Keeps as much as the budget allows of the oldest over all sides, in the
/// connection's own queue, and drops the rest. Returns how many messages.
fn drop_newest(core: &mut Core, slot: u32, pending: &PendingLogs, budget: usize) -> usize {
    let mut next: Vec<Cursor> = pending.iter().map(|(_, cursor)| *cursor).collect();
    let mut heads = heads(core, slot, pending);
    let (mut kept, mut queued, mut fresh) = (0, 0, Vec::new());
    while kept <= budget
        && let Some((side, until)) = heads.first()
    {
        if side == QUEUE {
            let queue = &core.connections[slot].send_queue().queue;
            while kept <= budget
                && let Some(entry) = queue.at(queued).filter(|entry| entry.sequence <= until)
            {
                kept += queue.cost(entry);
                queued += 1;
            }
            heads.replace_first(head_of_queue(core, slot, queued));
            continue;
        }
        let (membership, _) = pending[side as usize - 1];
        let at = &mut next[side as usize - 1];
        let log = &core.rooms.group(membership.group).log;
        let queue = &mut core.connections[slot].send_queue().queue;
        while kept <= budget
            && let Some(publication) = log.entries().publication(*at)
            && sequence_of_publication(publication) <= until
        {
            if log.entries().except(*at) != slot {
                let frame = log.frame(*at);
                kept += frame.len() + WAITING_BYTES;
                fresh.push(queue.store(sequence_of_publication(publication), &frame, Tag::NONE));
            }
            *at = at.wrapping_add(1);
        }
        let at = *at;
        heads.replace_first(head_of_log(core, membership, at));
    }
    let mut dropped = truncate_queue(core, slot, queued, fresh, budget);
    for ((membership, _), from) in pending.iter().zip(next) {
        let log = log(core, *membership);
        let end = log.end();
        dropped += messages_between(core, slot, log, from, end);
        core.rooms.advance(membership.group, membership.position, end);
    }
    dropped
}

/// Keeps the first `queued` entries of the connection's own queue and those that
/// were stored, as far as the budget allows. Returns how many messages were
/// dropped.
fn truncate_queue(
    core: &mut Core,
    slot: u32,
    queued: usize,
    fresh: Vec<Waiting>,
    budget: usize,
) -> usize {
    let send_queue = core.connections[slot].send_queue();
    let mut dropped = 0;
    while send_queue.queue.len() > queued {
        dropped += send_queue.queue.pop_back().unwrap_or_default();
    }
    send_queue.queue.merge(fresh);
    while send_queue.queue.kept_bytes() > budget
        && let Some(messages) = send_queue.queue.pop_back()
    {
        dropped += messages;
    }
    send_queue.queue.give_back();
    send_queue.is_full = true;
    // At least something must be read first, whatever the last to go took along.
    send_queue.refill_at = low_watermark(budget).min(send_queue.bytes().saturating_sub(1));
    dropped
}

/// Keeps the newest publication for each group and key, in the connection's
/// own queue, and every direct send. Returns how many were replaced.
fn conflate(core: &mut Core, slot: u32, pending: &PendingLogs) -> usize {
    let mut replaced = core.connections[slot].send_queue().queue.conflate_new();
    let mut survivors = Vec::new();
    for (room, (membership, from)) in pending.iter().enumerate() {
        let before = survivors.len();
        find_survivors(core, slot, room, (*membership, *from), &mut survivors);
        let log = log(core, *membership);
        replaced += messages_between(core, slot, log, *from, log.end());
        replaced -= survivors.len() - before;
    }
    // Each room's are in descending order, which a merging sort makes use of.
    survivors.sort_by_key(|survivor| survivor.sequence);
    let send_queue = core.connections[slot].send_queue();
    let mut fresh = Vec::with_capacity(survivors.len());
    for survivor in &survivors {
        let (membership, _) = pending[survivor.room];
        let frame = core.rooms.group(membership.group).log.frame(survivor.cursor);
        fresh.push(send_queue.queue.store(survivor.sequence, &frame, Tag::record(survivor.record)));
    }
    send_queue.queue.merge(fresh.iter().copied());
    for (survivor, waiting) in survivors.iter().zip(fresh) {
        send_queue.queue.conflation.get_or_insert_default().insert(survivor.record);
        replaced += usize::from(send_queue.queue.replace(survivor.record, waiting));
    }
    send_queue.queue.compact();
    for (membership, _) in pending {
        let end = log(core, *membership).end();
        core.rooms.advance(membership.group, membership.position, end);
    }
    replaced
}

/// The newest for each key of one room's log, the newest of all first.
fn find_survivors(
    core: &mut Core,
    slot: u32,
    room: usize,
    (membership, from): (Membership, Cursor),
    survivors: &mut Vec<Survivor>,
) {
    let group = core.rooms.group(membership.group);
    let (entries, serial) = (group.log.entries(), group.serial);
    let queue = &mut core.connections[slot].send_queue().queue;
    let conflation = queue.conflation.get_or_insert_default();
    let mut cursor = entries.end();
    while cursor != from {
        cursor = cursor.wrapping_sub(1);
        let Some(publication) = entries.publication(cursor) else { break };
        if entries.except(cursor) == slot {
            continue;
        }
        let sequence = sequence_of_publication(publication);
        let record = conflation.record(serial, entries.key(cursor));
        if conflation.claim(record, sequence) {
            survivors.push(Survivor { sequence, room, cursor, record });
        }
        if !entries.has_keys() {
            break;
        }
    }
}

/// What may wait after a policy was applied: three quarters of the budget, so that
/// it is not called again for each message.
fn low_watermark(budget: usize) -> usize {
    budget - budget / 4
}
