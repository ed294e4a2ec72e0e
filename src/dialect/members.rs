//! Takes members of a JSON object as raw slices: `serde_json` checks their grammar and
//! nothing else. Knows no envelope and no command.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The most levels of arrays and objects in a JSON message, its envelope
/// included: 127, as many as `serde_json` reads into values. Raw slices are
/// skipped without any limit, and a handler or another client would have to parse
/// by recursion what this accepts.
pub const MAX_DEPTH: usize = 127;

/// The member `key` of the object `data`; `None` also if `data` is no object.
pub(super) fn member<'m>(data: &'m RawValue, key: &str) -> Option<&'m RawValue> {
    let [value] = read_members([Some(key)], data.get())?;
    value
}

/// The values of `keys` in `object`, the last of each; `None` if it is not one
/// JSON object and nothing else.
pub(super) fn read_members<'m, const N: usize>(
    keys: [Option<&str>; N],
    object: &'m str,
) -> Option<[Option<&'m RawValue>; N]> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    let members = Members(keys).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

/// Whether the valid JSON text `message` is nested deeper than [`MAX_DEPTH`].
pub(super) fn is_too_deep(message: &str) -> bool {
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

struct Members<'k, const N: usize>([Option<&'k str>; N]);

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
struct KeyIndex<'k>(&'k [Option<&'k str>]);

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
        Ok(self.0.iter().position(|known| *known == Some(key)))
    }
}
