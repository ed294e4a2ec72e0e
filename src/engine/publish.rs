//! From a message to the logs of those who shall get it: one append for each
//! form of frames, whatever the number of members; one mail for each other shard
//! that has members.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    core::{Core, write_frame},
    directory::Space,
    flow::Cause,
    limits::Limits,
    mail::{Mail, Origin},
    room_log::NOBODY,
};
use crate::{
    dialect::{Dialect, Event, Payload, Stamp},
    id::{ClientId, ConnId},
    publication::{Audience, Data, Form, Publication},
};

/// Who a message is for, by borrowed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Everyone,
    Room(&'a str),
    User(&'a str),
}

impl<'a> Target<'a> {
    pub(crate) fn space(self) -> Space {
        match self {
            Self::Everyone => Space::Everyone,
            Self::Room(_) => Space::Room,
            Self::User(_) => Space::User,
        }
    }

    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Everyone => "",
            Self::Room(name) | Self::User(name) => name,
        }
    }

    /// The same as a value that can cross threads.
    pub(crate) fn to_audience(self) -> Audience {
        match self {
            Self::Everyone => Audience::Everyone,
            Self::Room(name) => Audience::Room(name.into()),
            Self::User(name) => Audience::User(name.into()),
        }
    }

    fn of(audience: &'a Audience) -> Self {
        match audience {
            Audience::Everyone => Self::Everyone,
            Audience::Room(name) => Self::Room(name),
            Audience::User(name) => Self::User(name),
        }
    }
}

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

impl Core {
    /// Publishes for `id` to all members, on this shard and the others. If that is
    /// more than they can take, `id` is held.
    pub(crate) fn publish(&mut self, id: ConnId, target: Target<'_>, message: &Outgoing<'_>) {
        self.stats.publications += 1;
        let room = self.rooms.find(target.space(), target.name());
        let elsewhere = self.shards_of(target, room) & !(1 << self.shard);
        if elsewhere == 0 {
            if let Some(room) = room {
                self.publish_here(room, target, message);
            }
        } else {
            let publication = Arc::new(to_publication(target, message, self.now.unix_ms));
            self.post(elsewhere, Mail::Publish(Arc::clone(&publication)), id);
            self.deliver(&publication, None);
        }
        self.hold_publisher(id, room, elsewhere);
    }

    /// Holds who has just published if now more waits than should, for each reason that
    /// there is.
    fn hold_publisher(&mut self, id: ConnId, room: Option<u32>, elsewhere: u64) {
        if self.rooms.congested > 0
            && let Some(room) = room
        {
            for index in 0..self.rooms.room(room).channels.len() {
                let channel = self.rooms.room(room).channels[index];
                if self.rooms.is_congested(channel) {
                    self.hold(id, Cause::Room(channel));
                }
            }
        }
        self.hold_for_windows(id, elsewhere);
    }

    /// Holds who has just sent something to `shards`, one bit each, if more of it is on
    /// the way to some of them than should.
    pub(crate) fn hold_for_windows(&mut self, id: ConnId, shards: u64) {
        let mut left = shards;
        while left != 0
            && let Some((shard, why)) = self.windows.tight(left, id)
        {
            self.hold(id, Cause::Window(shard, why));
            left &= !(u64::MAX >> (63 - shard));
        }
    }

    /// The shards that have members, one bit each.
    pub(crate) fn shards_of(&self, target: Target<'_>, room: Option<u32>) -> u64 {
        match (target, room) {
            (Target::Everyone, _) => self.process.all_shards(),
            (_, Some(room)) => self.rooms.room(room).shared.shards(),
            _ => {
                let found = self.process.directory.find(target.space(), target.name());
                found.map_or(0, |shared| shared.shards())
            }
        }
    }

    /// Encodes straight into the logs of a room whose members are all here.
    fn publish_here(&mut self, room: u32, target: Target<'_>, message: &Outgoing<'_>) {
        let stamp = self.stamp();
        let event = event_of(target, message);
        let size = message.data.map_or(0, |data| data.as_bytes().len());
        let mark = self.begin(message.except);
        for index in 0..self.rooms.room(room).channels.len() {
            let channel = self.rooms.room(room).channels[index];
            let dialect = Dialect::ALL[usize::from(self.rooms.channel(channel).variant)];
            self.rooms.equip(channel);
            if size >= Limits::COPIED_FRAME_BYTES {
                let mut frame = BytesMut::with_capacity(size + 512);
                write_frame(&mut frame, |out| dialect.encode(&event, &stamp, out));
                self.append_shared(channel, frame.freeze(), mark, message.key);
            } else {
                let log = &mut self.rooms.channel_mut(channel).log;
                let before = log.open().len();
                write_frame(log.open(), |out| dialect.encode(&event, &stamp, out));
                let written = log.open().len() - before;
                self.commit(channel, written, mark, message.key);
            }
            self.stats.frames_encoded += 1;
        }
    }

    /// Appends a publication to the logs of its audience's members here. Who is
    /// charged for it, if anybody, is credited when they have taken it.
    pub(crate) fn deliver(&mut self, publication: &Publication, charged: Option<(Origin, u32)>) {
        let target = Target::of(&publication.audience);
        let room = self.rooms.find(target.space(), target.name());
        if let Some(room) = room {
            self.deliver_to(room, publication);
        }
        let Some((origin, bytes)) = charged else { return };
        match room.and_then(|room| self.rooms.most_waiting(room)) {
            Some(channel) => self.rooms.owe(channel, origin, bytes),
            None => self.credit(origin, bytes),
        }
    }

    fn deliver_to(&mut self, room: u32, publication: &Publication) {
        let mark = self.begin(publication.except);
        for index in 0..self.rooms.room(room).channels.len() {
            let channel = self.rooms.room(room).channels[index];
            let variant = self.rooms.channel(channel).variant;
            let mut encoded = 0;
            let frame = publication.frame(usize::from(variant), |publication| {
                encoded = 1;
                encode(Dialect::ALL[usize::from(variant)], publication)
            });
            self.stats.frames_encoded += encoded;
            if frame.len() >= Limits::COPIED_FRAME_BYTES {
                self.append_shared(channel, frame.clone(), mark, publication.key.as_deref());
            } else {
                self.rooms.equip(channel);
                self.rooms.channel_mut(channel).log.open().extend_from_slice(frame);
                self.commit(channel, frame.len(), mark, publication.key.as_deref());
            }
        }
    }

    /// Gives the next publication its number, and notes whom it leaves out.
    fn begin(&mut self, except: Option<ConnId>) -> Mark {
        self.sequence += 1;
        let except = match except {
            Some(id) => match self.find_mut(id) {
                Some(connection) => {
                    connection.flags.excepted = true;
                    id.slot()
                }
                None => NOBODY,
            },
            None => NOBODY,
        };
        Mark { sequence: self.sequence, except }
    }

    fn commit(&mut self, channel: u32, written: usize, mark: Mark, key: Option<&str>) {
        if written == 0 {
            if !self.rooms.channel(channel).dirty && self.rooms.channel(channel).log.is_empty() {
                self.rooms.unequip(channel);
            }
            return;
        }
        self.logged += written;
        self.rooms.channel_mut(channel).log.commit(mark.sequence, mark.except, key);
        self.rooms.appended(channel, &self.limits);
        self.rooms.mark_dirty(channel);
    }

    fn append_shared(&mut self, channel: u32, frame: Bytes, mark: Mark, key: Option<&str>) {
        if frame.is_empty() {
            return;
        }
        let written = frame.len();
        self.logged += written;
        let log = &mut self.rooms.channel_mut(channel).log;
        log.append_shared(frame, mark.sequence, mark.except, key);
        self.rooms.appended(channel, &self.limits);
        self.rooms.mark_dirty(channel);
    }
}

/// What all entries of one publication share.
#[derive(Clone, Copy)]
struct Mark {
    sequence: u64,
    except: u32,
}

fn event_of<'a>(target: Target<'a>, message: &Outgoing<'a>) -> Event<'a> {
    let room = match target {
        Target::Room(name) => Some(name),
        Target::Everyone | Target::User(_) => None,
    };
    let Outgoing { event, data, from, user, .. } = *message;
    Event::Message { event, room, data, from, user }
}

/// The message as a value that can cross threads: the payload is copied once.
fn to_publication(target: Target<'_>, message: &Outgoing<'_>, unix_ms: u64) -> Publication {
    let data = to_data(message.data);
    let mut publication = Publication::new(target.to_audience(), message.event, data, unix_ms);
    publication.from = message.from;
    publication.user = message.user.map(Into::into);
    publication.except = message.except;
    publication.key = message.key.map(Into::into);
    publication
}

pub(crate) fn to_data(payload: Option<Payload<'_>>) -> Data {
    let Some(payload) = payload else { return Data::absent() };
    let form = match payload {
        Payload::Json(_) => Form::Json,
        Payload::Text(_) => Form::Text,
        Payload::Binary(_) => Form::Binary,
    };
    Data::trusted(form, Bytes::copy_from_slice(payload.as_bytes()))
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

fn encode(dialect: Dialect, publication: &Publication) -> Bytes {
    let message = Outgoing {
        event: &publication.event,
        data: to_payload(&publication.data),
        from: publication.from,
        user: publication.user.as_deref(),
        except: None,
        key: None,
    };
    let event = event_of(Target::of(&publication.audience), &message);
    let stamp = Stamp { timestamp_ms: publication.timestamp_ms };
    let mut frame = BytesMut::with_capacity(publication.data.bytes().len() + 256);
    write_frame(&mut frame, |out| dialect.encode(&event, &stamp, out));
    frame.freeze()
}
