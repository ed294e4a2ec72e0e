//! The payload of a close frame, read and written (RFC 6455 section 5.5.1). Must
//! not know who closes, why, or what follows.

use std::{fmt, ops::Deref};

use super::error::ProtocolError;

mod code;

pub use code::CloseCode;

/// What a close frame with a payload says. One without is `None` where this is
/// optional, and means code 1005, "no status received".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why, as a number. Valid on the wire when it came from there.
    pub code: CloseCode,
    /// Why, as text for a log: at most 123 bytes. Allocated only if not empty.
    pub reason: Box<str>,
}

impl CloseFrame {
    /// Reads the payload of a close frame, already unmasked.
    ///
    /// # Errors
    /// [`ProtocolError::CloseTooShort`], [`ProtocolError::CloseCodeInvalid`] or
    /// [`ProtocolError::CloseReasonInvalid`] (RFC 6455 section 5.5.1).
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let (code, reason) = match payload {
            [] => return Ok(None),
            [_] => return Err(ProtocolError::CloseTooShort),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        let code = CloseCode::new(code);
        if !code.is_valid_on_wire() {
            return Err(ProtocolError::CloseCodeInvalid(code.to_u16()));
        }
        let reason = str::from_utf8(reason).map_err(|_| ProtocolError::CloseReasonInvalid)?;
        let reason = reason.into();
        Ok(Some(Self { code, reason }))
    }
}

/// The payload of a close frame to send: at most 125 bytes, held in place.
#[derive(Clone, Copy)]
pub struct ClosePayload {
    /// The payload is `bytes[..len]`; `len <= 125`.
    bytes: [u8; 125],
    len: u8,
}

/// The longest reason that fits into a close frame, in bytes.
pub const MAX_CLOSE_REASON: usize = 123;

/// Writes the payload of a close frame; [`encode_control`](super::frame::encode_control)
/// makes the frame of it.
///
/// A reason of more than 123 bytes ends at the last character that fits. A code
/// that must not be on the wire gives an empty payload, which the peer
/// reads as 1005, no status received.
///
/// ```
/// use shardcast::proto::close::{CloseCode, encode_close};
/// assert_eq!(&*encode_close(CloseCode::NORMAL, "bye"), b"\x03\xE8bye");
/// assert_eq!(&*encode_close(CloseCode::new(1005), "bye"), b"");
/// ```
pub fn encode_close(code: CloseCode, reason: &str) -> ClosePayload {
    let mut payload = ClosePayload { bytes: [0; 125], len: 0 };
    if !code.is_valid_on_wire() {
        return payload;
    }
    // reason.len() <= 123, so 2 + reason.len() <= 125.
    let reason = &reason[..reason.floor_char_boundary(MAX_CLOSE_REASON)];
    payload.bytes[..2].copy_from_slice(&code.to_u16().to_be_bytes());
    payload.bytes[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    payload.len = 2 + reason.len() as u8;
    payload
}

impl Deref for ClosePayload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ClosePayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClosePayload").field(&&**self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_wire_are_told_from_the_others() {
        let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        for code in valid.into_iter().chain([3000, 3999, 4000, 4999]) {
            assert!(CloseCode::new(code).is_valid_on_wire(), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!CloseCode::new(code).is_valid_on_wire(), "{code}");
            let payload = code.to_be_bytes();
            let refused = Err(ProtocolError::CloseCodeInvalid(code));
            assert_eq!(CloseFrame::parse(&payload), refused);
        }
    }

    #[test]
    fn a_payload_is_read_back_as_written() {
        let payload = encode_close(CloseCode::GOING_AWAY, "à bientôt");
        let frame = CloseFrame::parse(&payload).unwrap().unwrap();
        assert_eq!(frame.code, CloseCode::GOING_AWAY);
        assert_eq!(&*frame.reason, "à bientôt");
        assert_eq!(CloseFrame::parse(b""), Ok(None));
    }

    #[test]
    fn payloads_that_break_a_rule_are_refused() {
        assert_eq!(CloseFrame::parse(b"\x03"), Err(ProtocolError::CloseTooShort));
        let not_utf8 = CloseFrame::parse(b"\x03\xE8ok\xFF");
        assert_eq!(not_utf8, Err(ProtocolError::CloseReasonInvalid));
    }

    #[test]
    fn a_long_reason_ends_at_a_character() {
        let reason = "é".repeat(62); // 124 bytes
        let payload = encode_close(CloseCode::NORMAL, &reason);
        assert_eq!(payload.len(), 124);
        assert_eq!(&payload[2..], "é".repeat(61).as_bytes());
        assert_eq!(encode_close(CloseCode::NORMAL, &"x".repeat(123)).len(), 125);
        assert_eq!(encode_close(CloseCode::NORMAL, &"x".repeat(500)).len(), 125);
    }
}
