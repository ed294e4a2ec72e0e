//! Reads a JSON envelope by its table: message → fields → command. Must not know
//! which dialects there are.
//!
//! The fields are taken as raw slices of the message: `serde_json` checks their
//! grammar and nothing else, so data is forwarded byte for byte, a number such
//! as `1e400` included. Unknown keys are ignored; of equal keys the last counts.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    Command, Incoming, Parsed, Payload, Refusal,
    members::{is_too_deep, member, read_members},
    table::{BuiltIn, Envelope, Fields, Keys},
    values::{count, id, name, position, text},
};

/// Reads one message of the dialect `envelope`.
pub(super) fn parse<'m>(envelope: &Envelope, message: Incoming<'m>) -> Parsed<'m> {
    let Some(fields) = text_of(message).and_then(|text| read_fields(&envelope.keys, text)) else {
        return Parsed { command: Err(Refusal::InvalidJson), id: None };
    };
    match fields.id.map(id).transpose() {
        Ok(id) => Parsed { command: command(envelope, fields), id },
        Err(refusal) => Parsed { command: Err(refusal), id: None },
    }
}

fn text_of(message: Incoming<'_>) -> Option<&str> {
    match message {
        Incoming::Text(text) => Some(text),
        Incoming::Binary(bytes) => simdutf8::basic::from_utf8(bytes).ok(),
    }
}

fn command<'m>(envelope: &Envelope, fields: Fields<'m>) -> Result<Command<'m>, Refusal<'static>> {
    if let Some(command) = envelope.read_hook.and_then(|read| read(&fields)) {
        return command;
    }
    let built_in = envelope.commands.iter().find(|(name, _)| *name == fields.event);
    let Some((_, built_in)) = built_in else {
        return custom(envelope, fields);
    };
    let data = fields.data.map(json);
    Ok(match built_in {
        BuiltIn::Subscribe => Command::Subscribe {
            room: required_room(envelope, &fields)?,
            recover: optional(fields.recover, position)?,
        },
        BuiltIn::Unsubscribe => Command::Unsubscribe { room: required_room(envelope, &fields)? },
        BuiltIn::Publish => Command::Publish { room: required_room(envelope, &fields)?, data },
        BuiltIn::Broadcast => Command::Broadcast { data },
        BuiltIn::Presence => presence(envelope, &fields)?,
        BuiltIn::Ping => Command::Ping,
    })
}

fn custom<'m>(envelope: &Envelope, fields: Fields<'m>) -> Result<Command<'m>, Refusal<'static>> {
    let room = room(envelope, &fields)?;
    let to = optional(fields.to, name)?;
    Ok(Command::Custom { event: fields.event, data: fields.data.map(json), room, to })
}

/// Which part of the list is asked for stands in the data.
fn presence<'m>(envelope: &Envelope, fields: &Fields<'m>) -> Result<Command<'m>, Refusal<'static>> {
    let room = required_room(envelope, fields)?;
    let data = fields.data.map(RawValue::get).filter(|&data| data != "null");
    let [limit, after] = match data {
        Some(data) => {
            read_members([Some("limit"), Some("after")], data).ok_or(Refusal::InvalidJson)?
        }
        None => [None; 2],
    };
    Ok(Command::Presence { room, limit: optional(limit, count)?, after: optional(after, text)? })
}

fn json(value: &RawValue) -> Payload<'_> {
    Payload::Json(value.get())
}

/// What `read` makes of a field that may be absent.
fn optional<'m, T>(
    value: Option<&'m RawValue>,
    read: impl FnOnce(&'m RawValue) -> Result<Option<T>, Refusal<'static>>,
) -> Result<Option<T>, Refusal<'static>> {
    value.map_or(Ok(None), read)
}

fn required_room<'m>(
    envelope: &Envelope,
    fields: &Fields<'m>,
) -> Result<Cow<'m, str>, Refusal<'static>> {
    match room(envelope, fields)? {
        Some(room) if !room.is_empty() => Ok(room),
        _ => Err(Refusal::RoomRequired),
    }
}

fn room<'m>(
    envelope: &Envelope,
    fields: &Fields<'m>,
) -> Result<Option<Cow<'m, str>>, Refusal<'static>> {
    if let Some(value) = fields.room {
        return text(value);
    }
    match (envelope.room_in_data, fields.data) {
        (Some(key), Some(data)) => optional(member(data, key), text),
        _ => Ok(None),
    }
}

/// Reads an envelope's fields; `None` if it is not one JSON object and nothing else,
/// is too deep, or the event's name is not a string.
fn read_fields<'m>(keys: &Keys, message: &'m str) -> Option<Fields<'m>> {
    let [event, data, room, to] = [keys.event, keys.data, keys.room, keys.to].map(Some);
    let asked = [event, data, room, to, keys.id, keys.recover];
    let [event, data, room, to, id, recover] = read_members(asked, message)?;
    if is_too_deep(message) {
        return None;
    }
    let event = match event {
        Some(value) => text(value).ok().flatten()?,
        None => Cow::Borrowed(""),
    };
    Some(Fields { event, data, room, to, id, recover })
}
