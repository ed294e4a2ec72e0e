//! Reads a JSON envelope by its table: message → fields → command. Must not know
//! which dialects there are.
//!
//! The fields are taken as raw slices of the message: `serde_json` checks their
//! grammar and nothing else, so data is forwarded byte for byte, a number such
//! as `1e400` included. Unknown keys are ignored; of equal keys the last counts.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Command, Incoming, Payload, Refusal,
    table::{BuiltIn, Envelope, Fields, Keys},
};

/// The most levels of arrays and objects in a JSON message, its envelope
/// included: 127, as many as `serde_json` reads into values. Raw slices are
/// skipped without any limit, and a handler or another client would have to parse
/// by recursion what this accepts.
pub const MAX_DEPTH: usize = 127;

/// Reads one message of the dialect `envelope`.
pub(super) fn parse<'m>(
    envelope: &Envelope,
    message: Incoming<'m>,
) -> Result<Command<'m>, Refusal<'static>> {
    let text = match message {
        Incoming::Text(text) => text,
        Incoming::Binary(bytes) => {
            simdutf8::basic::from_utf8(bytes).map_err(|_| Refusal::InvalidJson)?
        }
    };
    let fields = read_fields(&envelope.keys, text).ok_or(Refusal::InvalidJson)?;
    if let Some(command) = envelope.read_hook.and_then(|read| read(&fields)) {
        return command;
    }
    let built_in = envelope.commands.iter().find(|(name, _)| *name == fields.event);
    let Some((_, built_in)) = built_in else {
        return custom(envelope, fields);
    };
    let data = fields.data.map(json);
    Ok(match built_in {
        BuiltIn::Subscribe => Command::Subscribe { room: required_room(envelope, &fields)? },
        BuiltIn::Unsubscribe => Command::Unsubscribe { room: required_room(envelope, &fields)? },
        BuiltIn::Publish => Command::Publish { room: required_room(envelope, &fields)?, data },
        BuiltIn::Broadcast => Command::Broadcast { data },
        BuiltIn::Ping => Command::Ping,
    })
}

fn custom<'m>(envelope: &Envelope, fields: Fields<'m>) -> Result<Command<'m>, Refusal<'static>> {
    let room = room(envelope, &fields)?;
    let to = match fields.to {
        Some(value) => name(value)?,
        None => None,
    };
    Ok(Command::Custom { event: fields.event, data: fields.data.map(json), room, to })
}

fn json(value: &RawValue) -> Payload<'_> {
    Payload::Json(value.get())
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
        (Some(key), Some(data)) => member(data, key).map_or(Ok(None), text),
        _ => Ok(None),
    }
}

/// The member `key` of the object `data`; `None` also if `data` is no object.
pub(super) fn member<'m>(data: &'m RawValue, key: &str) -> Option<&'m RawValue> {
    let [value] = read_members([key], data.get())?;
    value
}

/// A string, without its quotes; `None` for `null`.
pub(super) fn text(value: &RawValue) -> Result<Option<Cow<'_, str>>, Refusal<'static>> {
    let json = value.get();
    if json == "null" {
        return Ok(None);
    }
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.ok_or(Refusal::InvalidJson)?;
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    // Half a surrogate pair passes the grammar but is no text.
    let unescaped = serde_json::from_str(json).map_err(|_| Refusal::InvalidJson)?;
    Ok(Some(Cow::Owned(unescaped)))
}

/// A user's name: a string, or a number in its own digits; `None` for `null`.
fn name(value: &RawValue) -> Result<Option<Cow<'_, str>>, Refusal<'static>> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Ok(Some(Cow::Borrowed(json))),
        _ => text(value),
    }
}

/// Reads an envelope's fields; `None` if it is not one JSON object and nothing else,
/// is too deep, or the event's name is not a string.
fn read_fields<'m>(keys: &Keys, message: &'m str) -> Option<Fields<'m>> {
    let keys = [keys.event, keys.data, keys.room, keys.to];
    let [event, data, room, to] = read_members(keys, message)?;
    if is_too_deep(message) {
        return None;
    }
    let event = match event {
        Some(value) => text(value).ok().flatten()?,
        None => Cow::Borrowed(""),
    };
    Some(Fields { event, data, room, to })
}

/// The values of `keys` in `object`, the last of each; `None` if it is not one
/// JSON object and nothing else.
fn read_members<'m, const N: usize>(
    keys: [&str; N],
    object: &'m str,
) -> Option<[Option<&'m RawValue>; N]> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    let members = Members(keys).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

/// Whether the valid JSON text `message` is nested deeper than [`MAX_DEPTH`].
fn is_too_deep(message: &str) -> bool {
    let bytes = message.as_bytes();
    // Each level costs two bytes, so most messages are too short to be too deep;
    // of the others, many have too few brackets, which are quick to count.
    if bytes.len() <= 2 * MAX_DEPTH {
        return false;
    }
    if opening_brackets(bytes) <= MAX_DEPTH {
        return false;
    }
    deepest_level(bytes) > MAX_DEPTH
}

/// How many `[` and `{` there are. They differ in one bit only, and a sum of
/// bytes over short pieces is what a compiler makes vector instructions of.
fn opening_brackets(bytes: &[u8]) -> usize {
    const PIECE: usize = u8::MAX as usize;
    let in_piece = |piece: &[u8]| -> u8 {
        // At most 255 ones.
        piece.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum()
    };
    bytes.chunks(PIECE).map(|piece| usize::from(in_piece(piece))).sum()
}

/// How many levels the valid JSON text `bytes` has at its deepest.
fn deepest_level(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest),
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Moves past the end of a string of which the opening quote has been taken.
fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(rest.next()),
            _ => {}
        }
    }
}

struct Members<'k, const N: usize>([&'k str; N]);

impl<'m, const N: usize> DeserializeSeed<'m> for Members<'_, N> {
    type Value = [Option<&'m RawValue>; N];

    fn deserialize<D: Deserializer<'m>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'m, const N: usize> Visitor<'m> for Members<'_, N> {
    type Value = [Option<&'m RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(index) = map.next_key_seed(KeyIndex(&self.0))? {
            match index.and_then(|index| values.get_mut(index)) {
                Some(value) => *value = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

/// Reads a key as its place among those asked for; `None` for any other.
struct KeyIndex<'k>(&'k [&'k str]);

impl<'m> DeserializeSeed<'m> for KeyIndex<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'m>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIndex<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == key))
    }
}
