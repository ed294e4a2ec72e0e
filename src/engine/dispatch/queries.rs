//! What other threads ask a shard about its state, and the answers. Changes nothing.

use crate::{
    engine::{
        lifecycle::membership,
        process::mail::{Page, Query},
        state::{
            connection::{Connection, State},
            core::Core,
        },
        types::{audience::Space, info::ConnInfo, kept::Kept, limits::Limits},
    },
    id::ConnId,
};

/// Answers a query.
pub(crate) fn answer(core: &Core, query: Query) {
    match query {
        Query::Stats(answer) => answer(core.stats),
        Query::Connection(id, answer) => {
            let open = core.find(id).is_some_and(|found| found.state == State::Open);
            answer(open.then(|| describe(core, id)));
        }
        Query::Connections { from, answer } => answer(page(core, from, |_| true)),
        Query::Members { room, from, answer } => answer(members_of(core, &room, from)),
    }
}

/// What there is to know about `id`, which must be in the arena.
pub(crate) fn describe(core: &Core, id: ConnId) -> ConnInfo {
    let connection = &core.connections[id.slot()];
    let extra = connection.extra.as_ref();
    ConnInfo {
        id,
        client_id: core.client_id(id),
        user: connection.user().map(Into::into),
        peer: connection.peer.address(),
        dialect: connection.dialect,
        accepted_ms: connection.accepted_ms,
        rooms: membership::rooms_of(core, id.slot()).cloned().collect(),
        metadata: extra.map(|extra| extra.metadata.clone()).unwrap_or_default(),
    }
}

/// The members of a room on this shard: all at once if they are few, else page by
/// page.
fn members_of(core: &Core, room: &str, from: u32) -> Page {
    let rooms = &core.rooms;
    let Some(room) = rooms.find(Space::Room, room) else { return (Vec::new(), None) };
    let room = rooms.room(room);
    if from == 0 && room.members as usize <= Limits::INFOS_PER_TURN {
        let members = room.groups.iter().flat_map(|group| &rooms.group(*group).members);
        let infos = members.map(|member| describe(core, core.connections.id_of(member.slot)));
        return (infos.collect(), None);
    }
    // By slot and not by the list of members, whose order changes with every
    // one that leaves.
    page(core, from, |connection| {
        let mut memberships = connection.memberships.iter();
        memberships.any(|membership| room.groups.contains(&membership.group))
    })
}

/// The open connections from the slot `from` on that are wanted, as many as one turn
/// may describe. A connection keeps its slot, so one that is open from the first page
/// to the last is on exactly one of them.
fn page(core: &Core, from: u32, is_wanted: impl Fn(&Connection) -> bool) -> Page {
    let end = core.connections.end();
    let stop = end.min(from.saturating_add(Limits::SLOTS_PER_TURN as u32));
    let mut infos = Vec::new();
    for slot in from..stop {
        if infos.len() == Limits::INFOS_PER_TURN {
            return (infos, Some(slot));
        }
        let open = core.connections.get(slot).filter(|found| found.state == State::Open);
        if open.is_some_and(&is_wanted) {
            infos.push(describe(core, core.connections.id_of(slot)));
        }
    }
    (infos, (stop < end).then_some(stop))
}

/// What this shard keeps in memory of what was sent to it. Costs a walk over all
/// connections and rooms.
pub(crate) fn kept(core: &Core) -> Kept {
    let mut kept = Kept {
        logs: core.rooms.kept_bytes(),
        queues: core.direct.len(),
        underway: core.outbound.windows.underway_bytes(),
        ..Kept::default()
    };
    for connection in core.connections.iter() {
        kept.queues += connection.send_queue.as_ref().map_or(0, |queue| queue.bytes());
        kept.partial += connection.session.buffered_bytes();
        if let Some(extra) = &connection.extra {
            kept.partial += extra.head.capacity();
            kept.parked += extra.parked.as_ref().map_or(0, |parked| parked.kept_bytes());
        }
    }
    kept
}
