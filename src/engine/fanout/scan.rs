//! A group's scan: its members are looked at one after the other, over several turns
//! if they are many, and each is sent what it lacks. At its end is known what every
//! member has, and what most have: the log is trimmed, and publishers may go on.

use bytes::Bytes;

use super::serve::{serve, serve_publications};
use crate::engine::{
    state::{connection::Membership, core::Core, room_log::Cursor},
    types::{
        outlet::Outlet,
        slow_policy::SlowPolicy,
        time::{TICK_MS, Tick, reached},
    },
};

/// Rooms that wait for their members are looked at again after so long: 240 ms.
const LOOK_AGAIN_TICKS: Tick = 15;

/// Goes on with the group's members. Returns whether all have been given everything.
pub(super) fn pass(core: &mut Core, index: u32, outlet: &mut impl Outlet) -> bool {
    // Nobody has more coming than this group's entries.
    let alone = core.rooms.dirty.is_empty();
    let group = core.rooms.group_mut(index);
    group.log.freeze();
    let end = group.log.end();
    if group.scan_position == 0 {
        group.scan_end = end;
        group.scan_lowest = end;
        group.behind = 0;
        group.paced = 0;
        group.has_pressed = false;
        group.caught_up = false;
    }
    let none = Bytes::new();
    loop {
        core.flush.work_left -= core.rooms.group_mut(index).skip_served(core.flush.work_left);
        let position = position(core, index);
        let Some(member) = core.rooms.group(index).members.get(position) else { break };
        if core.flush.work_left == 0 {
            return false;
        }
        core.flush.work_left -= 1;
        let slot = member.slot;
        let passed = Membership { group: index, position: position as u32 };
        if !serve_publications(core, slot, passed, alone, outlet) {
            serve(core, slot, Some(passed), &none, outlet);
        }
        let (paced, pressed) = pace(core, slot);
        let group = core.rooms.group_mut(index);
        let cursor = group.members[group.scan_position as usize].cursor;
        group.scan_position += 1;
        if cursor != end {
            group.behind += 1;
            group.paced += u32::from(paced);
            group.has_pressed |= pressed;
        }
        if group.log.behind(cursor) > group.log.behind(group.scan_lowest) {
            group.scan_lowest = cursor;
        }
    }
    finish_pass(core, index)
}

fn position(core: &Core, group: u32) -> usize {
    core.rooms.group(group).scan_position as usize
}

/// Whether a connection that is behind has taken something of late and wants to lose
/// nothing; and whether moreover half of its budget is used up, so that it would soon be
/// closed as a slow one.
fn pace(core: &Core, slot: u32) -> (bool, bool) {
    let connection = &core.connections[slot];
    let Some(send_queue) =
        connection.send_queue.as_ref().filter(|_| connection.policy == SlowPolicy::Close)
    else {
        return (false, false);
    };
    let paced = send_queue.progress.is_paced(core.now.tick());
    (paced, paced && send_queue.waiting() > core.limits.queue_bytes / 2)
}

/// Every member has been looked at: forgets what all have, and credits what most have.
/// Returns whether nothing came in since the scan began.
fn finish_pass(core: &mut Core, index: u32) -> bool {
    let group = core.rooms.group_mut(index);
    group.scan_position = 0;
    let lagging = group.has_pressed || group.paced as usize * 4 > group.members.len();
    group.is_lagging = lagging;
    let (lowest, scan_end) = (group.scan_lowest, group.scan_end);
    if !lagging {
        settle_group(core, index, scan_end);
    }
    core.rooms.list_if_lagging(index);
    let group = core.rooms.group_mut(index);
    group.log.trim(lowest);
    // Of the members that were left behind some have caught up since: there were
    // fewer than the pass has counted, and its lowest cursor is too low.
    let counts_too_many = group.caught_up && (group.behind == 0 || group.is_lagging);
    if scan_end != group.log.end() || (counts_too_many && !group.log.is_empty()) {
        return false;
    }
    group.dirty = false;
    if group.log.is_empty() {
        core.rooms.release_buffer(index);
    }
    true
}

/// Most members have the log up to `end`: whoever was charged for it is credited, and
/// publishers that were held may go on.
fn settle_group(core: &mut Core, index: u32, end: Cursor) {
    let relieved = core.rooms.settle(index, end, &core.limits);
    while let Some(owed) = core.rooms.take_owed(index) {
        core.outbound.credit(owed.origin, owed.bytes);
    }
    if relieved {
        core.holds.relieve(index);
    }
}

/// Looks again at groups most of whose members were behind: those that have taken
/// nothing since do not slow their publishers down any more.
pub(crate) fn look_at_lagging(core: &mut Core) {
    if core.rooms.lagging.is_empty() || !reached(core.flush.look_again, core.now.tick()) {
        return;
    }
    core.flush.look_again = core.now.tick().wrapping_add(LOOK_AGAIN_TICKS);
    let rooms = &mut core.rooms;
    let mut lagging = std::mem::take(&mut rooms.lagging);
    lagging.retain(|group| {
        let found = rooms.group_mut(*group);
        found.is_listed = found.is_lagging;
        if found.is_lagging {
            rooms.mark_dirty(*group);
        }
        rooms.group(*group).is_listed
    });
    core.rooms.lagging = lagging;
}

/// When that is due.
pub(crate) fn next_look_at_lagging(core: &Core) -> Option<std::time::Duration> {
    if core.rooms.lagging.is_empty() {
        return None;
    }
    let ticks = core.flush.look_again.wrapping_sub(core.now.tick());
    let ticks = if ticks > u32::MAX / 2 { 1 } else { ticks.max(1) };
    Some(std::time::Duration::from_millis(u64::from(ticks) * TICK_MS))
}
