//! Clients that come to rooms and leave them, and ask who is there; and what the relay
//! answers when one of that had to wait for it. Knows memberships and what is awaited;
//! not how a request was read.

use std::sync::Arc;

use crate::{
    cluster::{Presence, ToRelay},
    dialect::{Event, Refusal},
    engine::{
        fanout::publish::to_payload,
        lifecycle::membership,
        state::{
            awaited::{PresenceRequest, Recovery},
            connection::State,
            core::Core,
        },
        types::{audience::Target, limits::Limits},
    },
    id::ConnId,
    publication::{Position, Publication},
};

/// Makes `id` a member of `room`. It is told so when what is published on other nodes
/// reaches it; in a room with history, when the relay has said from where on.
pub(crate) fn subscribe(
    core: &mut Core,
    id: ConnId,
    room: &str,
    recover: Option<Position>,
    request: Option<&str>,
) -> Result<(), Refusal<'static>> {
    let place = core.rooms.find(Target::Room(room).space(), room);
    if core.has_history(Target::Room(room), place) {
        return ask_to_recover(core, id, room, recover, request);
    }
    let shared = membership::join(core, id, Target::Room(room))?;
    // Nothing can be recovered where nothing is kept.
    let recovered = recover.map(|_| false);
    if core.process.relay.is_some() && !shared.is_linked() && recovered.is_none() {
        core.awaited.link(&shared.name, id);
        return Ok(());
    }
    let members = shared.members();
    core.send_event(id.slot(), &Event::Subscribed { room, members, position: None, recovered });
    Ok(())
}

fn ask_to_recover(
    core: &mut Core,
    id: ConnId,
    room: &str,
    since: Option<Position>,
    request: Option<&str>,
) -> Result<(), Refusal<'static>> {
    membership::check_name(core, Target::Room(room))?;
    let is_member = membership::find(core, id.slot(), Target::Room(room)).is_some();
    if core.awaited.is_recovering(id, room) {
        return Err(Refusal::Busy);
    }
    let rooms = membership::rooms_of(core, id.slot()).count() + core.awaited.recovering(id);
    if !is_member && rooms >= core.limits.rooms_per_connection {
        return Err(Refusal::TooManyRooms);
    }
    let Some(relay) = &core.process.relay else { return Err(Refusal::HistoryUnavailable) };
    let directory = &core.process.directory;
    let announced = directory.announce(Target::Room(room).space(), room, core.shard);
    relay.put(ToRelay::Recover { conn: id, room: room.into(), since });
    let recovery =
        Recovery { room: announced, is_asked: since.is_some(), request: request.map(Into::into) };
    core.awaited.recover(id, recovery);
    Ok(())
}

/// What is published elsewhere in `room` reaches this node.
pub(crate) fn on_linked(core: &mut Core, room: &str) {
    for id in core.awaited.take_linked(room) {
        let is_open = core.find(id).is_some_and(|found| found.state == State::Open);
        if is_open
            && membership::find(core, id.slot(), Target::Room(room)).is_some()
            && let Some(place) = core.rooms.find(Target::Room(room).space(), room)
        {
            let members = core.rooms.room(place).shared.members();
            let event = Event::Subscribed { room, members, position: None, recovered: None };
            core.send_event(id.slot(), &event);
        }
    }
}

/// How far `id` has come in the history of `room`, and what it missed: from here on it is
/// a member.
pub(crate) fn on_recovered(
    core: &mut Core,
    id: ConnId,
    room: &str,
    position: Option<Position>,
    missed: Option<&[Arc<Publication>]>,
) {
    let Some(Recovery { room: announced, is_asked, request }) =
        core.awaited.take_recovery(id, room)
    else {
        return;
    };
    if core.find(id).is_none_or(|found| found.state != State::Open) {
        return;
    }
    let was_member = membership::find(core, id.slot(), Target::Room(room)).is_some();
    let joined = membership::join(core, id, Target::Room(room));
    // Whoever publishes finds the directory as the join left it.
    drop(announced);
    let receiving = core.turn.receiving.replace(id);
    match joined {
        Err(refusal) => {
            let event = Event::Refused { refusal, id: request.as_deref() };
            core.send_event(id.slot(), &event);
        }
        Ok(shared) => {
            // A member has had what it asks for, or gets it.
            let missed = missed.filter(|_| !was_member);
            let recovered = is_asked.then_some(missed.is_some());
            let members = shared.members();
            let event = Event::Subscribed { room, members, position, recovered };
            core.send_event(id.slot(), &event);
            if is_asked {
                missed.into_iter().flatten().for_each(|one| send_missed(core, id, room, one));
            }
        }
    }
    core.turn.receiving = receiving;
}

/// Sends what `id` missed: it asked for it, so it is an answer.
fn send_missed(core: &mut Core, id: ConnId, room: &str, publication: &Publication) {
    let event = Event::Message {
        event: &publication.event,
        room: Some(room),
        data: to_payload(&publication.data),
        from: publication.from,
        user: publication.user.as_deref(),
        offset: Some(publication.offset),
    };
    core.send_event(id.slot(), &event);
}

/// Ends a membership, or the wait for one.
pub(crate) fn unsubscribe(core: &mut Core, id: ConnId, room: &str) -> Result<(), Refusal<'static>> {
    let was_awaited = core.awaited.take_recovery(id, room).is_some();
    let was_member = membership::leave(core, id, Target::Room(room)) || was_awaited;
    let dialect = core.connections[id.slot()].dialect;
    if !was_member && dialect.rules().unsubscribe_needs_membership {
        return Err(Refusal::NotSubscribed);
    }
    core.send_event(id.slot(), &Event::Unsubscribed { room });
    Ok(())
}

/// Asks the relay who is present in a room that `id` is a member of.
pub(crate) fn ask_presence(
    core: &mut Core,
    id: ConnId,
    room: &str,
    limit: Option<u32>,
    after: Option<&str>,
) -> Result<(), Refusal<'static>> {
    let Some(place) = core.rooms.find(Target::Room(room).space(), room) else {
        return Err(Refusal::NotSubscribed);
    };
    if membership::find(core, id.slot(), Target::Room(room)).is_none() {
        return Err(Refusal::NotSubscribed);
    }
    let shared = Arc::clone(&core.rooms.room(place).shared);
    let Some(relay) = core.process.relay.as_ref().filter(|_| shared.traits.presence) else {
        return Err(Refusal::PresenceNotKept);
    };
    if core.awaited.presence_requests(id) >= Limits::PRESENCE_REQUESTS {
        return Err(Refusal::Busy);
    }
    let room = Arc::clone(&shared.name);
    relay.put(ToRelay::ListPresent { conn: id, room: Arc::clone(&room) });
    let limit = limit.map_or(Limits::PRESENCE_PER_ANSWER, |limit| limit as usize);
    let limit = limit.clamp(1, Limits::PRESENCE_PER_ANSWER);
    let request = PresenceRequest { room, limit, after: after.map(Into::into) };
    core.awaited.ask_presence(id, request);
    Ok(())
}

/// Who is present in `room`: the part that `id` asked for.
pub(crate) fn on_present(core: &mut Core, id: ConnId, room: &str, present: Option<&[Presence]>) {
    let Some(request) = core.awaited.take_presence(id, room) else { return };
    if core.find(id).is_none_or(|found| found.state != State::Open) {
        return;
    }
    let Some(present) = present else {
        let event = Event::Refused { refusal: Refusal::PresenceUnavailable, id: None };
        return core.send_event(id.slot(), &event);
    };
    let mut members: Vec<(String, &Presence)> =
        present.iter().map(|who| (who.key(), who)).collect();
    members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let first =
        request.after.map_or(0, |after| members.partition_point(|(key, _)| **key <= *after));
    let more = members.len() - first > request.limit;
    let members = members[first..].iter().take(request.limit);
    let members: Vec<Presence> = members.map(|(_, who)| (*who).clone()).collect();
    let event = Event::Presence { room, count: present.len(), members: &members, more };
    core.send_event(id.slot(), &event);
}

/// Whether `id` may publish in `room` where that needs a membership: one that is on its
/// way counts.
pub(crate) fn is_or_becomes_member(core: &Core, id: ConnId, room: &str) -> bool {
    membership::find(core, id.slot(), Target::Room(room)).is_some()
        || core.awaited.is_recovering(id, room)
}
