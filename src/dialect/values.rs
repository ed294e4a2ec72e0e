//! Reads single JSON values of a request: names, numbers, ids, positions. Knows no
//! envelope and no command.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{members::read_members, vocabulary::Refusal};
use crate::publication::Position;

/// The most bytes of a request's `id`, as the client writes it and without the quotes.
pub const MAX_ID_BYTES: usize = 128;

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
pub(super) fn name(value: &RawValue) -> Result<Option<Cow<'_, str>>, Refusal<'static>> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Ok(Some(Cow::Borrowed(json))),
        _ => text(value),
    }
}

/// A request's `id`: a string or a number, as it is written.
pub(super) fn id(value: &RawValue) -> Result<&str, Refusal<'static>> {
    let json = value.get();
    let is_id = match json.as_bytes().first() {
        Some(b'"') => json.len() <= MAX_ID_BYTES + 2 && text(value).is_ok(),
        Some(b'-' | b'0'..=b'9') => json.len() <= MAX_ID_BYTES,
        _ => false,
    };
    if is_id { Ok(json) } else { Err(Refusal::InvalidId) }
}

/// A number of at most 32 bits, in digits and nothing else; `None` for `null`.
pub(super) fn count(value: &RawValue) -> Result<Option<u32>, Refusal<'static>> {
    match value.get() {
        "null" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| Refusal::InvalidJson),
    }
}

/// A position, `{"epoch":"16 digits","offset":N}`; `None` for `null`.
pub(super) fn position(value: &RawValue) -> Result<Option<Position>, Refusal<'static>> {
    if value.get() == "null" {
        return Ok(None);
    }
    let position = || {
        let [epoch, offset] = read_members([Some("epoch"), Some("offset")], value.get())?;
        let epoch = Position::parse_epoch(&text(epoch?).ok()??)?;
        let offset = offset?.get().parse().ok()?;
        Some(Position { epoch, offset })
    };
    position().map(Some).ok_or(Refusal::InvalidRecover)
}
