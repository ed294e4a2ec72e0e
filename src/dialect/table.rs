//! What a dialect consists of: the types of which each dialect is one constant.
//! Knows no dialect; does no reading and no writing.

use std::borrow::Cow;

use bytes::BytesMut;
use serde_json::value::RawValue;

use super::{
    event::{Event, Stamp},
    vocabulary::{Command, Payload, Refusal},
};
use crate::{cluster::Presence, id::ClientId, publication::Position};

/// One dialect.
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) subprotocol: &'static str,
    pub(super) rules: Rules,
    pub(super) wire: Wire,
}

/// What the engine must do differently for one dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// A new connection is sent [`Event::Connected`] before anything else.
    pub greets: bool,
    /// [`Command::Publish`] by a connection that is not a member of the room is
    /// answered by [`Refusal::NotSubscribed`].
    pub publish_needs_membership: bool,
    /// [`Command::Unsubscribe`] by a connection that is not a member of the room
    /// is answered by [`Refusal::NotSubscribed`]; otherwise as if it had been.
    pub unsubscribe_needs_membership: bool,
}

/// How a dialect's messages are laid out.
pub(super) enum Wire {
    /// A JSON object around the data.
    Envelope(&'static Envelope),
    /// Nothing around the data.
    Bare,
}

/// A JSON dialect: how to read its requests and to write its events.
pub(super) struct Envelope {
    pub(super) keys: Keys,
    /// The names of the built-in commands; any other is [`Command::Custom`].
    pub(super) commands: &'static [(&'static str, BuiltIn)],
    /// The key under which `data` names the room, for dialects whose envelope
    /// does not. A room in the envelope goes first.
    pub(super) room_in_data: Option<&'static str>,
    /// Reads requests that the other fields cannot describe. If it returns `None`,
    /// the message is read by the other fields.
    pub(super) read_hook: Option<ReadHook>,
    pub(super) templates: Templates,
    /// Selects another template than `templates` would. If it returns `None`,
    /// `templates` decides.
    pub(super) template_hook: Option<TemplateHook>,
    pub(super) error_texts: ErrorTexts,
}

/// A hook of the reader.
pub(super) type ReadHook = for<'m> fn(&Fields<'m>) -> Option<Result<Command<'m>, Refusal<'static>>>;

/// A hook of the writer.
pub(super) type TemplateHook = fn(&Event<'_>) -> Option<&'static Template>;

/// The envelope's keys.
pub(super) struct Keys {
    pub(super) event: &'static str,
    pub(super) data: &'static str,
    pub(super) room: &'static str,
    pub(super) to: &'static str,
    /// `None` if requests have no id: nothing is acknowledged then.
    pub(super) id: Option<&'static str>,
    /// `None` if requests cannot ask for what was missed.
    pub(super) recover: Option<&'static str>,
}

/// A built-in command, named in [`Envelope::commands`].
#[derive(Clone, Copy)]
pub(super) enum BuiltIn {
    Subscribe,
    Unsubscribe,
    Publish,
    Broadcast,
    Presence,
    Ping,
}

/// An envelope's fields, each valid JSON but not parsed further (except the
/// event's name), so that a command pays only for those that it uses.
pub(super) struct Fields<'m> {
    /// Empty if there is none.
    pub(super) event: Cow<'m, str>,
    pub(super) data: Option<&'m RawValue>,
    pub(super) room: Option<&'m RawValue>,
    pub(super) to: Option<&'m RawValue>,
    pub(super) id: Option<&'m RawValue>,
    pub(super) recover: Option<&'m RawValue>,
}

/// How each kind of event is written; `None` for those that are not sent.
pub(super) struct Templates {
    pub(super) connected: Option<&'static Template>,
    pub(super) subscribed: Option<&'static Template>,
    pub(super) unsubscribed: Option<&'static Template>,
    pub(super) message: Option<&'static Template>,
    pub(super) ack: Option<&'static Template>,
    pub(super) gap: Option<&'static Template>,
    pub(super) presence: Option<&'static Template>,
    pub(super) presence_join: Option<&'static Template>,
    pub(super) presence_leave: Option<&'static Template>,
    pub(super) refused: Option<&'static Template>,
    pub(super) pong: Option<&'static Template>,
}

/// The text of an event: fields with what goes before each, and an end. A field
/// that the event does not have is left out together with what goes before it.
pub(super) struct Template {
    pub(super) parts: &'static [(&'static str, Field)],
    pub(super) end: &'static str,
}

/// A place in a template. All are written as complete JSON values.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for dialects that send more than the present ones")
)]
pub(super) enum Field {
    /// The event's name, as a string.
    Event,
    /// The room's name, as a string.
    Room,
    /// The data, as it is.
    Data,
    /// The client id of the receiver (connected), of the sender, or of who has come or
    /// left, as a string.
    Client,
    /// The user that sent it, or of who has come or left, as a string.
    User,
    /// The number of members, or of those who are present.
    Members,
    /// The history's epoch, as a string of 16 hexadecimal digits.
    Epoch,
    /// The offset in the room's history, as a number.
    Offset,
    /// Whether what was missed follows, as `true` or `false`.
    Recovered,
    /// How many publications were lost, as a number, or `null` if that is not known.
    Missed,
    /// Who is present: an array of `{"client_id":…,"user":…}`.
    Present,
    /// `true` if there are others behind those.
    More,
    /// The request's id, as it was written.
    Id,
    /// `true` if the request had been accepted before.
    Repeated,
    /// Why a request was refused, as a string.
    ErrorText,
    /// The time, as a number of milliseconds.
    TimestampMs,
    /// What only one dialect has. Must append one JSON value.
    Own(fn(&Values<'_>, Stamp, &mut BytesMut)),
}

/// What there is to fill into a template.
#[derive(Default)]
pub(super) struct Values<'a> {
    pub(super) event: &'a str,
    pub(super) room: Option<&'a str>,
    pub(super) data: Option<Payload<'a>>,
    pub(super) client: Option<ClientId>,
    pub(super) user: Option<&'a str>,
    pub(super) members: usize,
    pub(super) epoch: Option<u64>,
    pub(super) offset: Option<u64>,
    pub(super) recovered: Option<bool>,
    pub(super) missed: Option<u64>,
    pub(super) present: &'a [Presence],
    pub(super) more: bool,
    pub(super) id: Option<&'a str>,
    pub(super) repeated: bool,
    pub(super) error_text: &'a str,
}

impl Values<'_> {
    /// With the epoch and the offset of `position`.
    pub(super) fn at(self, position: Option<Position>) -> Self {
        let epoch = position.map(|position| position.epoch);
        Self { epoch, offset: position.map(|position| position.offset), ..self }
    }
}

/// The error text that a dialect has for each [`Refusal`].
pub(super) struct ErrorTexts {
    pub(super) invalid_json: &'static str,
    pub(super) unknown_type: &'static str,
    pub(super) invalid_id: &'static str,
    pub(super) invalid_recover: &'static str,
    pub(super) room_required: &'static str,
    pub(super) not_subscribed: &'static str,
    pub(super) room_full: &'static str,
    pub(super) server_full: &'static str,
    pub(super) too_many_rooms: &'static str,
    pub(super) room_name_too_long: &'static str,
    pub(super) busy: &'static str,
    pub(super) dropped: &'static str,
    pub(super) refused_by_relay: &'static str,
    pub(super) history_unavailable: &'static str,
    pub(super) presence_not_kept: &'static str,
    pub(super) presence_unavailable: &'static str,
    pub(super) internal: &'static str,
}

impl ErrorTexts {
    /// The text for `refusal`; a handler's own text is taken as it is.
    pub(super) fn of<'a>(&self, refusal: &Refusal<'a>) -> &'a str {
        match refusal {
            Refusal::InvalidJson => self.invalid_json,
            Refusal::UnknownType => self.unknown_type,
            Refusal::InvalidId => self.invalid_id,
            Refusal::InvalidRecover => self.invalid_recover,
            Refusal::RoomRequired => self.room_required,
            Refusal::NotSubscribed => self.not_subscribed,
            Refusal::RoomFull => self.room_full,
            Refusal::ServerFull => self.server_full,
            Refusal::TooManyRooms => self.too_many_rooms,
            Refusal::RoomNameTooLong => self.room_name_too_long,
            Refusal::Busy => self.busy,
            Refusal::Dropped => self.dropped,
            Refusal::RefusedByRelay => self.refused_by_relay,
            Refusal::HistoryUnavailable => self.history_unavailable,
            Refusal::PresenceNotKept => self.presence_not_kept,
            Refusal::PresenceUnavailable => self.presence_unavailable,
            Refusal::Internal => self.internal,
            Refusal::Other(text) => text,
        }
    }
}
