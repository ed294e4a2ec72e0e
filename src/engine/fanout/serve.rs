//! One connection is sent what is pending for it, batch by batch, until it has
//! everything or the driver still has a batch. Knows its queue, its rooms' logs and
//! this turn's direct sends.

use bytes::Bytes;

use super::gather::{Taken, gather};
use crate::{
    batch::{Sending, Slice},
    engine::{
        backpressure::{backlog, holds, pending_logs},
        lifecycle::{closing, deadlines::PROGRESS_LOOKS},
        state::{
            connection::{Membership, NONE, State},
            core::Core,
            room_log::Slices,
        },
        types::{
            limits::Limits,
            outlet::{Outlet, SocketAction},
        },
    },
    id::ConnId,
};

/// What a small send counts as work; a look at a member counts 1.
pub(super) const WORK_PER_SEND: usize = 16;

/// Bytes of a send that count as much as a look.
const BYTES_PER_WORK: usize = 1024;

/// Rooms whose frames are copied for one send and count as much.
const ROOMS_PER_WORK: usize = 8;

/// Sends a member publications and nothing else, all that it has coming; `passed` is
/// where it lacks some, `alone` whether that is all. Returns whether it was served:
/// what takes more than that, or several batches, [`serve`] does.
pub(super) fn serve_publications(
    core: &mut Core,
    slot: u32,
    passed: Membership,
    alone: bool,
    outlet: &mut impl Outlet,
) -> bool {
    let connection = &core.connections[slot];
    if connection.send_queue.is_some()
        || connection.direct_head != NONE
        || connection.flags.excepted
        || connection.state != State::Open
    {
        return false;
    }
    let max = core.limits.batch_of(connection.policy);
    if alone || !coming_from_others(core, slot) {
        serve_one_room(core, slot, passed, max, outlet)
    } else {
        serve_rooms(core, slot, max.min(Limits::COPIED_FRAME_BYTES), outlet)
    }
}

/// Finds what comes for `slot` from all its rooms, which need not be frozen. Returns
/// whether that is more than one.
///
/// While nothing waits for a connection, only rooms that are to be flushed have
/// something for it.
fn coming_from_others(core: &mut Core, slot: u32) -> bool {
    let coming = &mut core.flush.merged.coming;
    coming.clear();
    for membership in &core.connections[slot].memberships {
        let group = core.rooms.group(membership.group);
        if !group.dirty {
            continue;
        }
        let cursor = group.members[membership.position as usize].cursor;
        if cursor != group.log.end() {
            coming.push((*membership, cursor));
        }
    }
    coming.len() > 1
}

/// The entries of one log, where they lie.
fn serve_one_room(
    core: &mut Core,
    slot: u32,
    passed: Membership,
    max: usize,
    outlet: &mut impl Outlet,
) -> bool {
    let id = core.connections.id_of(slot);
    let group = core.rooms.group_mut(passed.group);
    let position = passed.position as usize;
    let (cursor, end) = (group.members[position].cursor, group.log.end());
    let bytes = group.log.bytes_between(cursor, end);
    if bytes > max {
        return false;
    }
    let mut slices = Slices::new();
    group.log.slices(cursor, end, &mut slices);
    let sending = outlet.send(id, &slices);
    drop(slices);
    core.stats.deliveries += u64::from(group.log.behind(cursor));
    group.members[position].cursor = end;
    sent(core, slot, bytes, 1, sending);
    true
}

/// The entries of several logs, copied into one run of at most `max` bytes.
fn serve_rooms(core: &mut Core, slot: u32, max: usize, outlet: &mut impl Outlet) -> bool {
    let id = core.connections.id_of(slot);
    let merged = &mut core.flush.merged;
    let Some((run, publications)) = merged.run(&mut core.rooms, max) else { return false };
    let (bytes, sending) = (run.len(), outlet.send(id, &[Slice::whole(run)]));
    core.stats.deliveries += publications;
    for (membership, _) in &merged.coming {
        let end = core.rooms.group(membership.group).log.end();
        core.rooms.advance(membership.group, membership.position, end);
    }
    let rooms = merged.coming.len();
    sent(core, slot, bytes, rooms / ROOMS_PER_WORK, sending);
    true
}

/// Sends a connection everything that it has coming, batch by batch, until it can take
/// no more. `passed` is the membership that the scan of its group has come to.
pub(super) fn serve(
    core: &mut Core,
    slot: u32,
    passed: Option<Membership>,
    turn: &Bytes,
    outlet: &mut impl Outlet,
) {
    let Some(connection) = core.connections.occupied_mut(slot) else { return };
    connection.flags.ready = false;
    if connection.is_blocked() {
        backlog::queue_direct_sends(core, slot, turn);
        backlog::check_budget(core, slot, passed);
        return;
    }
    let id = core.connections.id_of(slot);
    loop {
        let mut control = [const { None }; 3];
        if let Some(send_queue) = &mut core.connections[slot].send_queue {
            control = send_queue.take_control();
            send_queue.queue.close_segment();
        }
        let pending = pending_logs::pending_logs(core, slot);
        let gathered = gather(core, slot, turn, &control, pending);
        if gathered.slices.is_empty() {
            let taken = gathered.taken();
            apply(core, slot, taken);
            break;
        }
        let sending = outlet.send(id, &gathered.slices);
        let slices = gathered.slices.len();
        let taken = gathered.taken();
        let (bytes, more) = (taken.bytes, taken.more);
        apply(core, slot, taken);
        sent(core, slot, bytes, slices, sending);
        if sending == Sending::Pending {
            backlog::queue_direct_sends(core, slot, turn);
            backlog::recount(core, slot);
            backlog::check_budget(core, slot, None);
            holds::release_if_answered(core, id);
            return;
        }
        if !more {
            break;
        }
    }
    served(core, slot, id);
}

/// Sends a connection its direct sends of this turn and nothing else.
pub(super) fn serve_direct(core: &mut Core, slot: u32, turn: &Bytes, outlet: &mut impl Outlet) {
    let id = core.connections.id_of(slot);
    let connection = &mut core.connections[slot];
    connection.flags.ready = false;
    let mut next = std::mem::replace(&mut connection.direct_head, NONE);
    connection.direct_tail = NONE;
    let mut slices = Slices::new();
    let mut bytes = 0;
    while let Some(run) = core.direct.run(next) {
        bytes += run.end - run.start;
        slices.push(Slice::new(turn, run.start..run.end));
        next = run.next;
    }
    if bytes > 0 {
        let sending = outlet.send(id, &slices);
        let count = slices.len();
        drop(slices);
        sent(core, slot, bytes, count, sending);
        if sending == Sending::Pending {
            return;
        }
    }
    served(core, slot, id);
}

/// Nothing is left to send to `slot`, and nothing is with the driver.
fn served(core: &mut Core, slot: u32, id: ConnId) {
    let connection = &mut core.connections[slot];
    debug_assert!(connection.send_queue.as_ref().is_none_or(|send_queue| send_queue.is_empty()));
    connection.send_queue = None;
    connection.flags.excepted = false;
    if connection.flags.held {
        holds::release_if_answered(core, id);
    }
    let connection = &mut core.connections[slot];
    match connection.state {
        State::Handshake | State::Open => {}
        State::Closing => closing::await_peer(core, slot),
        State::Lingering => {
            if !std::mem::replace(&mut connection.flags.write_closed, true) {
                core.socket_actions.push(SocketAction::Shutdown(id));
            }
            closing::await_peer(core, slot);
        }
        State::Finished => closing::remove(core, id),
    }
}

/// Moves cursors past what was handed to the driver.
fn apply(core: &mut Core, slot: u32, taken: Taken) {
    core.stats.deliveries += taken.deliveries;
    let connection = &mut core.connections[slot];
    connection.direct_head = taken.next_run;
    if taken.next_run == NONE {
        connection.direct_tail = NONE;
    }
    if let Some(send_queue) = &mut connection.send_queue {
        send_queue.queue.sent(taken.queued);
    }
    for (membership, cursor) in taken.cursors {
        core.rooms.advance(membership.group, membership.position, cursor);
    }
}

/// Counts a batch and, if the driver still has it, blocks the connection.
fn sent(core: &mut Core, slot: u32, bytes: usize, slices: usize, sending: Sending) {
    worked(core, WORK_PER_SEND + slices + bytes / BYTES_PER_WORK);
    core.stats.sends += 1;
    core.stats.bytes_sent += bytes as u64;
    if sending == Sending::Pending {
        let now = core.now.tick();
        let send_queue = core.connections[slot].send_queue();
        send_queue.in_flight = true;
        send_queue.progress.count(now, bytes);
        send_queue.since = now;
        send_queue.unsent = 0;
        let at = core.now.tick_after(core.limits.write_timeout / PROGRESS_LOOKS);
        core.schedule_by(slot, at);
    }
}

/// Counts work that was done.
fn worked(core: &mut Core, work: usize) {
    core.flush.work_left = core.flush.work_left.saturating_sub(work);
}
