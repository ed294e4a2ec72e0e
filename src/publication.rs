//! A message on its way to many: the value that crosses threads. It carries the
//! frames that shards encode of it, so that each form is made once per process.
//! Knows no wire format: whoever needs a frame brings the encoder.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::id::{ClientId, ConnId};

/// How many forms a frame can have: one for each dialect, plain and compressed.
pub const VARIANTS: usize = 12;

/// The name of an event that was given none.
pub const MESSAGE_EVENT: &str = "message";

/// Payload bytes with what is known of their form.
///
/// ```
/// use shardcast::publication::Data;
/// let data = Data::json(&["a", "b"]).unwrap();
/// assert_eq!(&data.bytes()[..], br#"["a","b"]"#);
/// assert!(Data::raw_json("{not json").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    form: Form,
    bytes: Bytes,
}

/// What is known of payload bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// No payload at all.
    Absent,
    /// One valid JSON value.
    Json,
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

impl Data {
    /// No payload.
    pub const fn absent() -> Self {
        Self { form: Form::Absent, bytes: Bytes::new() }
    }

    /// `value` as JSON.
    ///
    /// # Errors
    /// What `serde_json` says of a value that JSON cannot express.
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let bytes = serde_json::to_vec(value)?;
        Ok(Self { form: Form::Json, bytes: bytes.into() })
    }

    /// Text that is already JSON, forwarded byte for byte.
    ///
    /// # Errors
    /// If it is not exactly one JSON value.
    pub fn raw_json(json: impl Into<String>) -> Result<Self, serde_json::Error> {
        let json = json.into();
        serde_json::from_str::<&serde_json::value::RawValue>(&json)?;
        Ok(Self { form: Form::Json, bytes: json.into() })
    }

    /// Text: a text message in the `raw` dialect, a JSON string in the others.
    pub fn text(text: impl Into<String>) -> Self {
        Self { form: Form::Text, bytes: text.into().into() }
    }

    /// Bytes: a binary message in the `raw` dialect, base64 in the others.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self { form: Form::Binary, bytes: bytes.into() }
    }

    /// Bytes whose form the caller has already established.
    pub(crate) const fn trusted(form: Form, bytes: Bytes) -> Self {
        Self { form, bytes }
    }

    /// What is known of the bytes.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.form, self.bytes.len())
    }
}

/// A place in the history of a room.
///
/// Offsets are counted from 1 by whoever makes the room's order, and never go back while
/// the epoch is the same. Another epoch is another history: nothing of the one before
/// can be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which history: a random number, 16 lower-case hexadecimal digits to clients.
    pub epoch: u64,
    /// The last publication that the holder has seen; 0 for none.
    pub offset: u64,
}

impl Position {
    /// The epoch that clients write as `text`, if it is one.
    ///
    /// ```
    /// use shardcast::Position;
    /// let position = Position { epoch: 0xABC, offset: 7 };
    /// assert_eq!(position.epoch_text(), "0000000000000abc");
    /// assert_eq!(Position::parse_epoch("0000000000000abc"), Some(0xABC));
    /// assert_eq!(Position::parse_epoch("abc"), None);
    /// ```
    pub fn parse_epoch(text: &str) -> Option<u64> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_epoch = text.len() == 16 && text.bytes().all(is_hex);
        if is_epoch { u64::from_str_radix(text, 16).ok() } else { None }
    }

    /// The epoch as clients are told it.
    pub fn epoch_text(&self) -> String {
        format!("{:016x}", self.epoch)
    }
}

/// Who a publication is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Every connection.
    Everyone,
    /// The members of a room.
    Room(Arc<str>),
    /// Every connection of a user.
    User(Arc<str>),
}

/// A message for many, shared by the shards that deliver it.
pub struct Publication {
    /// Who it is for.
    pub audience: Audience,
    /// The event's name.
    pub event: Cow<'static, str>,
    /// The payload.
    pub data: Data,
    /// The connection that sent it, unless the server did.
    pub from: Option<ClientId>,
    /// The user that sent it, if known.
    pub user: Option<Box<str>>,
    /// A member that shall not get it, usually the sender.
    pub except: Option<ConnId>,
    /// What it replaces when a slow consumer's queue is conflated.
    pub key: Option<Box<str>>,
    /// When it was accepted, in milliseconds of Unix time.
    pub timestamp_ms: u64,
    /// Its offset in the room's history; 0 if the room has none.
    pub offset: u64,
    frames: Frames,
}

impl Publication {
    /// A publication with nothing encoded yet.
    pub fn new(audience: Audience, event: &str, data: Data, timestamp_ms: u64) -> Self {
        let event = match event {
            MESSAGE_EVENT => Cow::Borrowed(MESSAGE_EVENT),
            other => Cow::Owned(other.to_owned()),
        };
        Self {
            audience,
            event,
            data,
            from: None,
            user: None,
            except: None,
            key: None,
            timestamp_ms,
            offset: 0,
            frames: Frames::default(),
        }
    }

    /// Bytes of memory that it keeps, with the one frame that is made of most.
    pub(crate) fn kept_bytes(&self) -> usize {
        let data = self.data.bytes().len();
        let frame = data + self.event.len() + 256;
        size_of::<Self>() + self.event.len() + data + frame
    }

    /// Whether any frame was made, or is being made.
    pub(crate) fn has_frames(&self) -> bool {
        self.frames.first.get().is_some()
    }

    /// The frame in form `variant`, made by `encode` if no shard has made it
    /// yet. An empty frame means that this form has nothing to say.
    ///
    /// # Panics
    /// If `variant` is not below [`VARIANTS`].
    pub fn frame(&self, variant: usize, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        assert!(variant < VARIANTS, "no form of a frame");
        // Whoever wants another form does not wait until this one is made.
        let (first, frame) = self.frames.first.get_or_init(|| (variant, OnceLock::new()));
        if *first == variant {
            return frame.get_or_init(|| encode(self));
        }
        self.frames.others.get_or_init(Box::default)[variant].get_or_init(|| encode(self))
    }
}

/// The frames of one publication. Most are wanted in one form.
#[derive(Default)]
struct Frames {
    /// The form that was asked for first, and that frame.
    first: OnceLock<(usize, OnceLock<Bytes>)>,
    /// Those of all other forms.
    others: OnceLock<Box<[OnceLock<Bytes>; VARIANTS]>>,
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("audience", &self.audience)
            .field("event", &self.event)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_frame_is_made_once_whichever_is_first() {
        for first in 0..VARIANTS {
            let publication = Publication::new(Audience::Everyone, "news", Data::absent(), 0);
            let all = (first..VARIANTS).chain(0..first);
            for variant in all.clone() {
                publication.frame(variant, |_| vec![variant as u8].into());
            }
            for variant in all {
                let again = |_: &Publication| panic!("form {variant} is made twice");
                assert_eq!(publication.frame(variant, again)[..], [variant as u8]);
            }
        }
    }

    #[test]
    fn a_publication_is_small() {
        assert!(size_of::<Publication>() <= 256, "{}", size_of::<Publication>());
    }

    #[test]
    fn an_epoch_is_sixteen_digits_and_nothing_else() {
        let position = Position { epoch: u64::MAX - 1, offset: 0 };
        assert_eq!(Position::parse_epoch(&position.epoch_text()), Some(position.epoch));
        for wrong in ["", "0", "00000000000000001", "000000000000000G", "+00000000000000a"] {
            assert_eq!(Position::parse_epoch(wrong), None, "{wrong}");
        }
    }
}
