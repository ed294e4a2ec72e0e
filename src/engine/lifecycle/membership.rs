//! Joining and leaving: keeps a connection's list of memberships, the groups'
//! lists of members and the directory's counts in step.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    cluster::{Presence, ToRelay},
    dialect::Refusal,
    engine::{
        backpressure::backlog,
        process::shared_room::SharedRoom,
        state::{
            connection::{Membership, State},
            core::Core,
            rooms::Reclaimed,
        },
        types::audience::{Space, Target},
    },
    id::ConnId,
};

/// Makes `id` a member. Joining twice is the same as once.
pub(crate) fn join(
    core: &mut Core,
    id: ConnId,
    target: Target<'_>,
) -> Result<Arc<SharedRoom>, Refusal<'static>> {
    let slot = id.slot();
    check_name(core, target)?;
    if core.connections[slot].state != State::Open {
        return Err(Refusal::Other("the connection is closing"));
    }
    if let Some(membership) = find(core, slot, target) {
        let room = core.rooms.group(membership.group).room;
        return Ok(Arc::clone(&core.rooms.room(room).shared));
    }
    if target.space() == Space::Room
        && rooms_of(core, slot).count() >= core.limits.rooms_per_connection
    {
        return Err(Refusal::TooManyRooms);
    }
    let room = enter(core, target)?;
    let shared = Arc::clone(&core.rooms.room(room).shared);
    let variant = core.connections[slot].dialect as u8;
    let group = core.rooms.group_for(room, variant);
    let position = core.rooms.add(group, slot);
    let memberships = &mut core.connections[slot].memberships;
    memberships.push(Membership { group, position });
    note_change(core, id, true, &shared);
    Ok(shared)
}

pub(crate) fn check_name(core: &Core, target: Target<'_>) -> Result<(), Refusal<'static>> {
    match target {
        Target::Room("") => Err(Refusal::RoomRequired),
        Target::User("") => Err(Refusal::Other("user name is required")),
        Target::Room(name) if name.len() > core.limits.name_bytes => Err(Refusal::RoomNameTooLong),
        Target::User(name) if name.len() > core.limits.name_bytes => {
            Err(Refusal::Other("user name is too long"))
        }
        Target::Everyone | Target::Room(_) | Target::User(_) => Ok(()),
    }
}

/// Counts one more member of the room and returns its place on this shard.
fn enter(core: &mut Core, target: Target<'_>) -> Result<u32, Refusal<'static>> {
    let (space, name) = (target.space(), target.name());
    let max = match space {
        Space::Everyone => return Ok(everyone(core)),
        Space::Room => core.limits.members_per_room,
        Space::User => core.limits.connections,
    };
    if let Some(room) = core.rooms.find(space, name) {
        let fits = core.rooms.room(room).shared.add_member(max);
        return if fits { Ok(room) } else { Err(Refusal::RoomFull) };
    }
    let entered = core.process.directory.enter(space, name, core.shard, max);
    entered.map(|shared| core.rooms.create(shared)).ok_or(Refusal::RoomFull)
}

fn everyone(core: &mut Core) -> u32 {
    let known = core.rooms.find(Space::Everyone, "");
    known.unwrap_or_else(|| core.rooms.create(Arc::new(SharedRoom::everyone())))
}

/// The membership of `slot` in that room, if it has one.
pub(crate) fn find(core: &Core, slot: u32, target: Target<'_>) -> Option<Membership> {
    let room = core.rooms.find(target.space(), target.name())?;
    let memberships = &core.connections[slot].memberships;
    let found =
        memberships.iter().find(|membership| core.rooms.group(membership.group).room == room);
    found.copied()
}

/// The rooms that `slot` is in, not counting its user and everyone.
pub(crate) fn rooms_of(core: &Core, slot: u32) -> impl Iterator<Item = &Arc<str>> {
    let memberships = &core.connections[slot].memberships;
    memberships.iter().filter_map(|membership| {
        let room = core.rooms.group(membership.group).room;
        let shared = &core.rooms.room(room).shared;
        (shared.space == Space::Room).then_some(&shared.name)
    })
}

/// Ends a membership. What was published before still reaches `id`. Returns
/// whether there was one.
pub(crate) fn leave(core: &mut Core, id: ConnId, target: Target<'_>) -> bool {
    let Some(membership) = find(core, id.slot(), target) else { return false };
    end_membership(core, id, membership, true);
    true
}

/// Ends all memberships; what waits in the rooms' logs is kept or dropped.
pub(crate) fn leave_all(core: &mut Core, id: ConnId, keep_backlog: bool) {
    while let Some(membership) = core.connections[id.slot()].memberships.last() {
        end_membership(core, id, *membership, keep_backlog);
    }
}

fn end_membership(core: &mut Core, id: ConnId, membership: Membership, keep_backlog: bool) {
    let slot = id.slot();
    let Membership { group, position } = membership;
    let entry = core.rooms.group(group);
    let room = entry.room;
    if keep_backlog && entry.members[position as usize].cursor != entry.log.end() {
        backlog::detach_membership(core, slot, group, position);
        core.mark_ready(slot);
    }
    let memberships = &mut core.connections[slot].memberships;
    memberships.retain(|other| other.group != group);
    let shared = Arc::clone(&core.rooms.room(room).shared);
    let connections = &mut core.connections;
    core.rooms.remove(group, position, |slot, position| {
        let memberships = &mut connections[slot].memberships;
        if let Some(other) = memberships.iter_mut().find(|other| other.group == group) {
            other.position = position;
        }
    });
    let mut owed = Vec::new();
    let reclaimed = core.rooms.reclaim(group, &mut owed);
    for owed in owed {
        core.outbound.credit(owed.origin, owed.bytes);
    }
    if reclaimed != Reclaimed::Nothing {
        core.holds.forget(group);
    }
    let gone = reclaimed == Reclaimed::Room;
    if shared.space != Space::Everyone {
        if gone {
            core.process.directory.exit(&shared, core.shard);
        } else {
            shared.remove_member();
        }
    }
    note_change(core, id, false, &shared);
}

fn note_change(core: &mut Core, id: ConnId, joined: bool, shared: &SharedRoom) {
    if shared.space == Space::Room {
        core.changes.note(id, joined, &shared.name);
        if shared.traits.presence {
            tell_presence(core, id, joined, &shared.name);
        }
    }
}

/// Tells the relay that a connection has come to a room whose presence is kept, or has
/// left it.
fn tell_presence(core: &Core, id: ConnId, joined: bool, room: &Arc<str>) {
    let Some(relay) = &core.process.relay else { return };
    let client = core.client_id(id);
    relay.put(if joined {
        let user = core.connections[id.slot()].user().map(Into::into);
        ToRelay::Present(Arc::clone(room), Presence { client, user })
    } else {
        ToRelay::Absent(Arc::clone(room), client)
    });
}

/// Makes `id` act for `user`: messages to that user reach it from now on.
pub(crate) fn set_user(core: &mut Core, id: ConnId, user: &str) -> Result<(), Refusal<'static>> {
    let slot = id.slot();
    let before = core.connections[slot].user().map(str::to_owned);
    if before.as_deref() == Some(user) {
        return Ok(());
    }
    join(core, id, Target::User(user))?;
    if let Some(before) = before {
        leave(core, id, Target::User(&before));
    }
    core.connections[slot].extra().user = Some(user.into());
    let rooms = core.connections[slot].memberships.iter();
    let rooms = rooms.map(|membership| core.rooms.group(membership.group).room);
    let rooms = rooms.map(|room| Arc::clone(&core.rooms.room(room).shared));
    // It is present under another name from now on.
    let rooms: SmallVec<[_; 4]> = rooms.filter(|shared| shared.traits.presence).collect();
    for shared in rooms {
        tell_presence(core, id, false, &shared.name);
        tell_presence(core, id, true, &shared.name);
    }
    Ok(())
}
