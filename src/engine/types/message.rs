//! A message as a handler sees it: borrowed from the wire, already understood by
//! the connection's dialect.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use super::errors::HandlerError;
use crate::dialect::{Command, Payload};

/// A message from a client.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    event: &'m str,
    data: Option<Payload<'m>>,
    room: Option<&'m str>,
    to: Option<&'m str>,
}

/// Names by which the built-in commands are known to hooks and handlers.
pub(crate) mod names {
    pub(crate) const SUBSCRIBE: &str = "subscribe";
    pub(crate) const UNSUBSCRIBE: &str = "unsubscribe";
    pub(crate) const PUBLISH: &str = "publish";
    pub(crate) const BROADCAST: &str = "broadcast";
    pub(crate) const PRESENCE: &str = "presence";
    pub(crate) const PING: &str = "ping";
}

thread_local! {
    /// Scratch for typed payloads: `simd-json` rewrites what it reads.
    static SCRATCH: RefCell<(Vec<u8>, simd_json::Buffers)> =
        RefCell::new((Vec::new(), simd_json::Buffers::default()));
}

/// Scratch that has grown beyond this is given back.
const KEPT_SCRATCH_BYTES: usize = 256 * 1024;

impl<'m> Message<'m> {
    pub(crate) fn of(command: &'m Command<'m>) -> Self {
        let (event, room, data, to) = match command {
            Command::Subscribe { room, .. } => (names::SUBSCRIBE, Some(&**room), None, None),
            Command::Unsubscribe { room } => (names::UNSUBSCRIBE, Some(&**room), None, None),
            Command::Publish { room, data } => (names::PUBLISH, Some(&**room), *data, None),
            Command::Broadcast { data } => (names::BROADCAST, None, *data, None),
            Command::Presence { room, .. } => (names::PRESENCE, Some(&**room), None, None),
            Command::Ping => (names::PING, None, None, None),
            Command::Custom { event, data, room, to } => {
                (&**event, room.as_deref(), *data, to.as_deref())
            }
        };
        Self { event, data, room, to }
    }

    /// The event's name: what the client wrote, or `subscribe`, `unsubscribe`,
    /// `publish`, `broadcast`, `presence`, `ping` for the built-in commands of any dialect.
    pub fn event(&self) -> &'m str {
        self.event
    }

    /// The message's data, if it has any.
    pub fn data(&self) -> Option<Payload<'m>> {
        self.data
    }

    /// The room that it names.
    pub fn room(&self) -> Option<&'m str> {
        self.room
    }

    /// The user that it is meant for.
    pub fn to(&self) -> Option<&'m str> {
        self.to
    }

    /// The data as a value of type `T`; missing data is read as `null`.
    ///
    /// # Errors
    /// A reply that tells the client what does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        let bytes = match &self.data {
            Some(data) => data.as_bytes(),
            None => b"null",
        };
        SCRATCH.with(|scratch| {
            // Nobody's `Deserialize` should parse another message, but one that
            // does gets scratch of its own.
            let Ok(mut scratch) = scratch.try_borrow_mut() else {
                return parse_or_tell(bytes);
            };
            let (copy, buffers) = &mut *scratch;
            copy.clear();
            copy.extend_from_slice(bytes);
            let value = simd_json::serde::from_slice_with_buffers(copy, buffers);
            if copy.capacity() > KEPT_SCRATCH_BYTES {
                *scratch = (Vec::new(), simd_json::Buffers::default());
            }
            // Its errors name its own states, and no place.
            value.or_else(|_| parse_or_tell(bytes))
        })
    }
}

/// The data as a `T`, or a reply that says what does not fit into `T`,
/// without a place: the client knows its message, not the payload that was cut out.
fn parse_or_tell<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HandlerError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = text.strip_suffix(&place).unwrap_or(&text);
        HandlerError::reply(format!("invalid data: {what}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Numbers {
        n: Vec<u32>,
    }

    #[test]
    fn data_is_read_as_a_typed_value_and_a_misfit_is_told() {
        let data = Some(Payload::Json(r#"{"n":[1,2]}"#));
        let message = Message { event: "e", data, room: None, to: None };
        assert_eq!(message.parse::<Numbers>().unwrap().n, [1, 2]);
        let error = message.parse::<Vec<u8>>().unwrap_err();
        assert!(error.to_string().starts_with("invalid data: "), "{error}");
    }

    #[test]
    fn a_misfit_is_told_without_the_inner_life_of_the_parser() {
        for (data, expected) in [
            (r#"{"m":1}"#, "invalid data: missing field `n`"),
            (r#"{"n":{}}"#, "invalid data: invalid type: map, expected a sequence"),
            (r#"{"n":[1,-2]}"#, "invalid data: invalid value: integer `-2`, expected u32"),
        ] {
            let data = Some(Payload::Json(data));
            let message = Message { event: "e", data, room: None, to: None };
            assert_eq!(message.parse::<Numbers>().err().unwrap().to_string(), expected);
        }
    }
}
