//! What is pending for a connection in its rooms' logs: what lies between its cursor in
//! each and the log's end. Counts; changes no cursor.

use smallvec::SmallVec;

use crate::engine::state::{
    connection::Membership,
    core::Core,
    room_log::{Cursor, RoomLog},
};

/// The memberships in whose logs something is pending, with their cursors.
pub(crate) type PendingLogs = SmallVec<[(Membership, Cursor); 4]>;

/// The rooms that have something for `slot`, made ready to be sliced.
pub(crate) fn pending_logs(core: &mut Core, slot: u32) -> PendingLogs {
    let mut pending = PendingLogs::new();
    for membership in &core.connections[slot].memberships {
        let group = core.rooms.group_mut(membership.group);
        let cursor = group.members[membership.position as usize].cursor;
        if cursor != group.log.end() {
            group.log.freeze();
            pending.push((*membership, cursor));
        }
    }
    pending
}

/// Messages between two cursors that `slot` would have got.
pub(crate) fn messages_between(
    core: &Core,
    slot: u32,
    log: &RoomLog,
    from: Cursor,
    to: Cursor,
) -> usize {
    let messages = to.wrapping_sub(from) as usize;
    if core.connections[slot].flags.excepted {
        return messages - log.entries().excepted(from, to, slot) as usize;
    }
    messages
}
