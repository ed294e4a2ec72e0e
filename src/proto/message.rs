//! Messages: what a session hands out, and the assembly of one from fragments
//! (RFC 6455 sections 5.4 and 5.6). Must not know headers or how bytes arrive.

use std::{fmt, ops::Deref};

use super::{close::CloseFrame, error::ProtocolError, utf8};
use crate::copy;

/// What each message may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// The most bytes of payload in one message, all fragments together. Control
    /// frames have their own limit of 125 bytes.
    pub message_bytes: usize,
    /// The most data frames in one message; 0 counts as 1.
    pub frames_per_message: u32,
}

/// A whole message or control frame. Borrows the input it came from, if
/// anything.
#[derive(Debug)]
pub enum Received<'i> {
    /// A text message: valid UTF-8.
    Text(Text<'i>),
    /// A binary message.
    Binary(Payload<'i>),
    /// A ping, to be answered by a pong with the same payload (RFC 6455 section
    /// 5.5.2), at most 125 bytes.
    Ping(Payload<'i>),
    /// A pong, at most 125 bytes.
    Pong(Payload<'i>),
    /// The peer's last frame; without a payload it is `None`.
    Close(Option<CloseFrame>),
}

/// Unmasked bytes: lent from the input if the frame came in one piece, owned if
/// they had to be put together.
#[derive(Debug)]
pub enum Payload<'i> {
    /// Part of the input, unmasked in place.
    Lent(&'i mut [u8]),
    /// Put together from pieces.
    Assembled(Vec<u8>),
}

impl Payload<'_> {
    /// The bytes as a vector; copies them only if they are lent.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Lent(bytes) => bytes.to_vec(),
            Self::Assembled(bytes) => bytes,
        }
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Assembled(bytes) => bytes,
        }
    }
}

/// The text of a message, validated once, when it arrived.
pub struct Text<'i>(Repr<'i>);

enum Repr<'i> {
    Lent(&'i str),
    Assembled(String),
}

impl<'i> Text<'i> {
    /// The text in `bytes`, if it is UTF-8.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidUtf8`].
    #[inline]
    pub fn lent(bytes: &'i [u8]) -> Result<Self, ProtocolError> {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Ok(Self(Repr::Lent(text))),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        }
    }

    /// The text; costs nothing.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Lent(text) => text,
            Repr::Assembled(text) => text,
        }
    }

    /// The text as a string; copies it only if it is lent.
    pub fn into_string(self) -> String {
        match self.0 {
            Repr::Lent(text) => text.to_owned(),
            Repr::Assembled(text) => text,
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A data message of which not all has arrived.
///
/// Call `admit` for each frame of it, `push` for each piece of the frame's
/// payload, `finish` after the last piece of the last frame. Its memory grows
/// with what arrived, never with what a header claims. After each `push`
/// `len() <= ceiling <= message_bytes`, and `capacity() <= message_bytes`.
#[derive(Debug)]
pub(super) struct Assembly {
    body: Body,
    /// Frames admitted.
    frames: u32,
    /// What `len()` cannot pass: the message's final length once the last frame
    /// has begun, the limit until then.
    ceiling: usize,
}

#[derive(Debug)]
enum Body {
    Text(String, utf8::Pieces),
    Binary(Vec<u8>),
}

impl Assembly {
    pub(super) const fn text() -> Self {
        Self::new(Body::Text(String::new(), utf8::Pieces::new()))
    }

    pub(super) const fn binary() -> Self {
        Self::new(Body::Binary(Vec::new()))
    }

    const fn new(body: Body) -> Self {
        Self { body, frames: 0, ceiling: 0 }
    }

    /// Lets the message's next frame in, of `len` bytes, the last one if `fin`.
    pub(super) fn admit(
        &mut self,
        len: u64,
        fin: bool,
        limits: &MessageLimits,
    ) -> Result<(), ProtocolError> {
        if self.frames > 0 && self.frames >= limits.frames_per_message {
            return Err(ProtocolError::TooManyFrames);
        }
        let room = limits.message_bytes.checked_sub(self.len());
        let len = usize::try_from(len).ok();
        match (room, len) {
            (Some(room), Some(len)) if len <= room => {
                self.ceiling = if fin { self.len() + len } else { limits.message_bytes };
            }
            _ => return Err(ProtocolError::MessageTooBig),
        }
        self.frames += 1;
        Ok(())
    }

    /// Takes the next bytes of the frame admitted last.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        match &mut self.body {
            Body::Text(text, pieces) => {
                let fed = pieces.feed(bytes)?;
                let more = fed.joined.map_or(0, char::len_utf8) + fed.text.len();
                text.reserve_exact(growth(text.len(), text.capacity(), more, self.ceiling));
                text.extend(fed.joined);
                text.push_str(fed.text);
            }
            Body::Binary(body) => append(body, bytes, self.ceiling),
        }
        debug_assert!(self.len() <= self.ceiling);
        Ok(())
    }

    /// The message, whole.
    pub(super) fn finish<'i>(self) -> Result<Received<'i>, ProtocolError> {
        match self.body {
            Body::Text(text, pieces) if pieces.is_complete() => {
                Ok(Received::Text(Text(Repr::Assembled(text))))
            }
            Body::Text(..) => Err(ProtocolError::InvalidUtf8),
            Body::Binary(body) => Ok(Received::Binary(Payload::Assembled(body))),
        }
    }

    /// Bytes of memory that the message holds.
    pub(super) const fn capacity(&self) -> usize {
        match &self.body {
            Body::Text(text, _) => text.capacity(),
            Body::Binary(body) => body.capacity(),
        }
    }

    /// Bytes of payload that have arrived.
    const fn len(&self) -> usize {
        match &self.body {
            Body::Text(text, pieces) => text.len() + pieces.pending(),
            Body::Binary(body) => body.len(),
        }
    }
}

/// Appends `bytes` to `buffer`, which will not become longer than `ceiling`.
pub(super) fn append(buffer: &mut Vec<u8>, bytes: &[u8], ceiling: usize) {
    let (len, capacity) = (buffer.len(), buffer.capacity());
    buffer.reserve_exact(growth(len, capacity, bytes.len(), ceiling));
    copy::append(buffer, bytes);
}

/// How many bytes beyond `len` to reserve so that `more` fit: none if they do,
/// else up to twice the capacity, so that pieces of any size cost amortised
/// constant time, but not beyond `ceiling`.
fn growth(len: usize, capacity: usize, more: usize, ceiling: usize) -> usize {
    let need = len.saturating_add(more);
    if need <= capacity {
        return 0;
    }
    capacity.saturating_mul(2).min(ceiling).max(need) - len
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MessageLimits = MessageLimits { message_bytes: 10_000, frames_per_message: 3 };

    #[test]
    fn memory_follows_what_arrived_and_not_what_was_claimed() {
        let mut message = Assembly::binary();
        message.admit(10_000, true, &LIMITS).unwrap();
        assert_eq!(message.capacity(), 0);
        let mut grown = 0;
        for arrived in 1..=10_000 {
            let before = message.capacity();
            message.push(b"x").unwrap();
            grown += usize::from(message.capacity() != before);
            assert!(message.capacity() <= 2 * arrived);
            assert!(message.capacity() <= 10_000);
        }
        assert!(grown <= 15, "geometric: {grown}");
    }

    #[test]
    fn the_last_frame_leaves_no_slack() {
        for mut message in [Assembly::binary(), Assembly::text()] {
            message.admit(600, false, &LIMITS).unwrap();
            message.push(&[b'x'; 600]).unwrap();
            message.admit(700, true, &LIMITS).unwrap();
            message.push(&[b'x'; 100]).unwrap();
            assert_eq!(message.capacity(), 1200);
            message.push(&[b'x'; 600]).unwrap();
            assert_eq!(message.capacity(), 1300);
        }
    }

    #[test]
    fn size_is_judged_by_what_a_frame_announces() {
        let mut message = Assembly::text();
        assert_eq!(message.admit(10_000, false, &LIMITS), Ok(()));
        message.push(&[b'x'; 10_000]).unwrap();
        assert_eq!(message.admit(0, false, &LIMITS), Ok(()));
        let refused = message.admit(1, true, &LIMITS);
        assert_eq!(refused, Err(ProtocolError::MessageTooBig));
        let refused = Assembly::binary().admit(u64::MAX >> 1, true, &LIMITS);
        assert_eq!(refused, Err(ProtocolError::MessageTooBig));
    }

    #[test]
    fn frames_are_counted() {
        let mut message = Assembly::binary();
        for _ in 0..3 {
            assert_eq!(message.admit(0, false, &LIMITS), Ok(()));
        }
        let refused = message.admit(0, true, &LIMITS);
        assert_eq!(refused, Err(ProtocolError::TooManyFrames));
    }

    #[test]
    fn text_must_end_with_a_whole_character() {
        let mut message = Assembly::text();
        message.admit(2, true, &LIMITS).unwrap();
        message.push(&"€".as_bytes()[..2]).unwrap();
        assert_eq!(message.finish().unwrap_err(), ProtocolError::InvalidUtf8);
    }
}
