//! From a message to the logs of those who shall get it: one append for each
//! form of frames, whatever the number of members.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    copy::append,
    dialect::{Dialect, Event, Payload, Stamp},
    engine::{
        process::mail::Origin,
        state::{
            chunk::Chunk,
            core::Core,
            framing::write_frame,
            room_log::{NOBODY, RoomLog},
        },
        types::{
            audience::{Space, Target},
            limits::Limits,
        },
    },
    id::{ClientId, ConnId},
    publication::{Audience, Data, Form, Publication},
};

/// A message for many, borrowed from the one who sends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) event: &'a str,
    pub(crate) data: Option<Payload<'a>>,
    pub(crate) from: Option<ClientId>,
    pub(crate) user: Option<&'a str>,
    pub(crate) except: Option<ConnId>,
    pub(crate) key: Option<&'a str>,
}

/// Encodes straight into the logs of a room whose members are all here.
pub(super) fn publish_here(core: &mut Core, room: u32, target: Target<'_>, message: &Outgoing<'_>) {
    let (stamp, event) = (core.stamp(), event_of(target, message, None));
    encode_into_logs(core, room, &event, stamp, message);
}

/// Encodes `event`, which is `message`'s, once for each form that the room's members here
/// have, where it is to be.
fn encode_into_logs(
    core: &mut Core,
    room: u32,
    event: &Event<'_>,
    stamp: Stamp,
    message: &Outgoing<'_>,
) {
    let size = message.data.map_or(0, |data| data.as_bytes().len());
    let mark = begin(core, message.except);
    for index in 0..core.rooms.room(room).groups.len() {
        let group = core.rooms.room(room).groups[index];
        let dialect = Dialect::ALL[usize::from(core.rooms.group(group).variant)];
        core.rooms.acquire_buffer(group);
        if size >= Limits::COPIED_FRAME_BYTES {
            let mut frame = BytesMut::with_capacity(size + 512);
            write_frame(&mut frame, |out| dialect.encode(event, &stamp, out));
            append_shared(core, group, frame.freeze(), mark, message.key);
        } else {
            let log = &mut core.rooms.group_mut(group).log;
            let before = log.open().len();
            write_frame(log.open(), |out| dialect.encode(event, &stamp, out));
            let written = log.open().len() - before;
            commit(core, group, written, mark, message.key);
        }
        core.stats.frames_encoded += 1;
    }
}

/// Appends a publication that came by mail to the logs of its audience's members here.
/// Who is charged for it is credited when they have taken it.
pub(crate) fn deliver(core: &mut Core, publication: &Arc<Publication>, charged: (Origin, u32)) {
    let target = Target::of(&publication.audience);
    let room = core.rooms.find(target.space(), target.name());
    if let Some(room) = room {
        if Arc::strong_count(publication) > 1 || publication.has_frames() {
            deliver_to(core, room, publication);
        } else {
            // No other shard wants its frames: they are made where they are needed.
            let message = message_of(publication);
            let (event, stamp) = told(publication, &message);
            encode_into_logs(core, room, &event, stamp, &message);
        }
    }
    let (origin, bytes) = charged;
    match room.and_then(|room| core.rooms.most_waiting(room)) {
        Some(group) => core.rooms.owe(group, origin, bytes),
        None => core.outbound.credit(origin, bytes),
    }
}

pub(super) fn deliver_to(core: &mut Core, room: u32, publication: &Publication) {
    let mark = begin(core, publication.except);
    for index in 0..core.rooms.room(room).groups.len() {
        let group = core.rooms.room(room).groups[index];
        let variant = core.rooms.group(group).variant;
        let mut encoded = 0;
        let frame = publication.frame(usize::from(variant), |publication| {
            encoded = 1;
            encode(&mut core.outbound.chunk, Dialect::ALL[usize::from(variant)], publication)
        });
        core.stats.frames_encoded += encoded;
        if frame.len() >= Limits::COPIED_FRAME_BYTES {
            append_shared(core, group, frame.clone(), mark, publication.key.as_deref());
        } else {
            core.rooms.acquire_buffer(group);
            append(core.rooms.group_mut(group).log.open(), frame);
            commit(core, group, frame.len(), mark, publication.key.as_deref());
        }
    }
}

/// Tells the members of a room on this shard something that is no publication.
pub(crate) fn announce(core: &mut Core, room: &str, event: &Event<'_>) {
    let Some(room) = core.rooms.find(Space::Room, room) else { return };
    let (stamp, mark) = (core.stamp(), begin(core, None));
    for index in 0..core.rooms.room(room).groups.len() {
        let group = core.rooms.room(room).groups[index];
        let dialect = Dialect::ALL[usize::from(core.rooms.group(group).variant)];
        core.rooms.acquire_buffer(group);
        let log = &mut core.rooms.group_mut(group).log;
        let before = log.open().len();
        write_frame(log.open(), |out| dialect.encode(event, &stamp, out));
        let written = log.open().len() - before;
        commit(core, group, written, mark, None);
    }
}

/// Gives the next publication its number, and notes whom it leaves out.
fn begin(core: &mut Core, except: Option<ConnId>) -> Mark {
    core.flush.publications += 1;
    let except = match except {
        Some(id) => match core.find_mut(id) {
            Some(connection) => {
                connection.flags.excepted = true;
                id.slot()
            }
            None => NOBODY,
        },
        None => NOBODY,
    };
    Mark { sequence: core.flush.publications, except }
}

fn commit(core: &mut Core, group: u32, written: usize, mark: Mark, key: Option<&str>) {
    if written == 0 {
        if !core.rooms.group(group).dirty && core.rooms.group(group).log.is_empty() {
            core.rooms.release_buffer(group);
        }
        return;
    }
    core.flush.logged += written;
    let commit = |log: &mut RoomLog| log.commit(mark.sequence, mark.except, key);
    core.rooms.append(group, &core.limits, commit);
}

fn append_shared(core: &mut Core, group: u32, frame: Bytes, mark: Mark, key: Option<&str>) {
    if frame.is_empty() {
        return;
    }
    let written = frame.len();
    core.flush.logged += written;
    let append = |log: &mut RoomLog| log.append_shared(frame, mark.sequence, mark.except, key);
    core.rooms.append(group, &core.limits, append);
}

/// What all entries of one publication share.
#[derive(Clone, Copy)]
struct Mark {
    sequence: u64,
    except: u32,
}

fn event_of<'a>(target: Target<'a>, message: &Outgoing<'a>, offset: Option<u64>) -> Event<'a> {
    let room = match target {
        Target::Room(name) => Some(name),
        Target::Everyone | Target::User(_) => None,
    };
    let Outgoing { event, data, from, user, .. } = *message;
    Event::Message { event, room, data, from, user, offset }
}

/// The message as a value that can cross threads: the payload is copied once, and what
/// is known of `room`, the target's, is shared.
pub(super) fn to_publication(
    core: &mut Core,
    target: Target<'_>,
    room: Option<u32>,
    message: &Outgoing<'_>,
) -> Publication {
    let audience = match (target, room) {
        (Target::Room(_), Some(room)) => {
            Audience::Room(Arc::clone(&core.rooms.room(room).shared.name))
        }
        _ => target.to_audience(),
    };
    let chunk = &mut core.outbound.chunk;
    let data = message.data.map_or(Data::absent(), |payload| {
        let bytes = payload.as_bytes();
        let copy = chunk.write(bytes.len(), |out| append(out, bytes));
        Data::trusted(form_of(payload), copy)
    });
    let mut publication = Publication::new(audience, message.event, data, core.now.unix_ms);
    publication.from = message.from;
    publication.user = message.user.map(Into::into);
    publication.except = message.except;
    publication.key = message.key.map(Into::into);
    publication
}

pub(crate) fn to_data(payload: Option<Payload<'_>>) -> Data {
    let Some(payload) = payload else { return Data::absent() };
    Data::trusted(form_of(payload), Bytes::copy_from_slice(payload.as_bytes()))
}

fn form_of(payload: Payload<'_>) -> Form {
    match payload {
        Payload::Json(_) => Form::Json,
        Payload::Text(_) => Form::Text,
        Payload::Binary(_) => Form::Binary,
    }
}

/// The payload of `data`; text whose bytes are not UTF-8 cannot have been made.
pub(crate) fn to_payload(data: &Data) -> Option<Payload<'_>> {
    let bytes = data.bytes();
    match data.form() {
        Form::Absent => None,
        Form::Binary => Some(Payload::Binary(bytes)),
        Form::Json => std::str::from_utf8(bytes).ok().map(Payload::Json),
        Form::Text => std::str::from_utf8(bytes).ok().map(Payload::Text),
    }
}

/// What was published, borrowed again.
fn message_of(publication: &Publication) -> Outgoing<'_> {
    Outgoing {
        event: &publication.event,
        data: to_payload(&publication.data),
        from: publication.from,
        user: publication.user.as_deref(),
        except: publication.except,
        key: publication.key.as_deref(),
    }
}

/// The event that members are told, and when it happened.
fn told<'a>(publication: &'a Publication, message: &Outgoing<'a>) -> (Event<'a>, Stamp) {
    let offset = (publication.offset > 0).then_some(publication.offset);
    let event = event_of(Target::of(&publication.audience), message, offset);
    (event, Stamp { timestamp_ms: publication.timestamp_ms })
}

fn encode(chunk: &mut Chunk, dialect: Dialect, publication: &Publication) -> Bytes {
    let (event, stamp) = told(publication, &message_of(publication));
    chunk.write(publication.data.bytes().len() + 256, |frame| {
        write_frame(frame, |out| dialect.encode(&event, &stamp, out));
    })
}
