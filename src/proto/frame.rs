//! Frame headers, read and written (RFC 6455 section 5.2). Must not know what
//! frames came before: rules between frames are [`deframe`](super::deframe)'s,
//! limits on sizes are [`session`](super::session)'s.

use std::ops::Deref;

use super::{error::ProtocolError, mask};

/// What a frame is for (RFC 6455 section 11.8). The value is the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The last frame of this direction.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// The answer to a ping, with its payload; or unsolicited.
    Pong = 0xA,
}

impl Opcode {
    /// Close, ping or pong: short, never fragmented, allowed between fragments.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    pub(super) const fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }
}

/// On which side the reader of frames stands (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads what a client sent: each frame must be masked.
    Server,
    /// Reads what a server sent: no frame may be masked.
    Client,
}

/// A frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The key with which the payload is masked, if it is.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload: below 2^63, at most 125 in a control frame.
    pub len: u64,
}

/// The most bytes that the header of a frame from a server has.
pub const MAX_SERVER_HEADER: usize = 10;
/// The most bytes that any header has: a server's and a masking key.
pub const MAX_HEADER: usize = 14;
/// The most bytes of payload in a control frame (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The largest payload whose length fits into the second byte.
const MAX_LEN_7: u8 = 125;
const LEN_16: u8 = 126;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Reads the header at the front of `bytes`; with it comes the number of its own
/// bytes, 2 to [`MAX_HEADER`]. `None` if it is not all there yet.
///
/// # Errors
/// Any rule of RFC 6455 section 5 that one header alone can break, as soon as
/// the first byte that breaks it is in `bytes`, even if later ones are not.
#[inline]
pub fn decode(bytes: &[u8], role: Role) -> Result<Option<(Header, usize)>, ProtocolError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (fin, opcode) = decode_first(first)?;
    decode_rest(fin, opcode, bytes, role)
}

/// Reads the first byte of a header: FIN and the opcode.
#[inline]
pub(super) const fn decode_first(byte: u8) -> Result<(bool, Opcode), ProtocolError> {
    if byte & 0x70 != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    let Some(opcode) = Opcode::from_nibble(byte & 0x0F) else {
        return Err(ProtocolError::ReservedOpcode(byte & 0x0F));
    };
    let fin = byte & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(ProtocolError::ControlFragmented);
    }
    Ok((fin, opcode))
}

/// Reads the header in `bytes`, the first byte of which gave `fin` and `opcode`.
#[inline]
pub(super) fn decode_rest(
    fin: bool,
    opcode: Opcode,
    bytes: &[u8],
    role: Role,
) -> Result<Option<(Header, usize)>, ProtocolError> {
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    let masked = second & MASKED != 0;
    match role {
        Role::Server if !masked => return Err(ProtocolError::MaskMissing),
        Role::Client if masked => return Err(ProtocolError::MaskForbidden),
        _ => {}
    }
    let short = second & !MASKED;
    if opcode.is_control() && short > MAX_LEN_7 {
        return Err(ProtocolError::ControlTooLong);
    }
    let (len, at) = match short {
        ..=MAX_LEN_7 => (u64::from(short), 2),
        LEN_16 => match decode_len_16(&bytes[2..])? {
            Some(len) => (len, 4),
            None => return Ok(None),
        },
        _ => match decode_len_64(&bytes[2..])? {
            Some(len) => (len, 10),
            None => return Ok(None),
        },
    };
    let (mask, at) = match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        _ if !masked => (None, at),
        Some(key) => (Some(*key), at + 4),
        None => return Ok(None),
    };
    let header = Header { fin, opcode, mask, len };
    Ok(Some((header, at)))
}

/// The header of a client's unfragmented data frame of at most 65,535 bytes, if
/// that is at the front of `bytes`: whether it is text, the header's own bytes (with
/// the masking key at their end) and those of the payload. `None` for all else, right
/// or wrong.
#[inline]
pub(super) fn decode_short(bytes: &[u8]) -> Option<(bool, usize, usize)> {
    const TEXT: u8 = FIN | Opcode::Text as u8;
    const BINARY: u8 = FIN | Opcode::Binary as u8;
    const MASKED_16: u8 = MASKED | LEN_16;
    let [first @ (TEXT | BINARY), second, rest @ ..] = bytes else { return None };
    let (header_len, len) = match *second {
        MASKED_16 => match *rest {
            [high, low, ..] => (8, usize::from(u16::from_be_bytes([high, low]))),
            _ => return None,
        },
        MASKED..MASKED_16 => (6, usize::from(second & !MASKED)),
        _ => return None,
    };
    let is_minimal = header_len == 6 || len > usize::from(MAX_LEN_7);
    is_minimal.then_some((*first == TEXT, header_len, len))
}

fn decode_len_16(bytes: &[u8]) -> Result<Option<u64>, ProtocolError> {
    let Some(bytes) = bytes.first_chunk() else {
        return Ok(None);
    };
    let len = u16::from_be_bytes(*bytes);
    if len <= u16::from(MAX_LEN_7) {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(Some(u64::from(len)))
}

#[inline(never)]
fn decode_len_64(bytes: &[u8]) -> Result<Option<u64>, ProtocolError> {
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(ProtocolError::LengthTooLarge);
    }
    // Six zeros leave a length that 16 bits can hold.
    if bytes.first_chunk() == Some(&[0; 6]) {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(bytes.first_chunk().map(|len| u64::from_be_bytes(*len)))
}

/// The header of an unmasked frame, held in place: 2 to [`MAX_SERVER_HEADER`]
/// bytes.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    /// The header is `bytes[..len]`; `len <= 10`.
    bytes: [u8; MAX_SERVER_HEADER],
    len: u8,
}

impl Deref for HeaderBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Writes the header of a frame from a server, before `len` bytes of payload.
///
/// In a control frame `len` must be at most [`MAX_CONTROL_PAYLOAD`] and `fin`
/// true; [`encode_control`] sees to both.
///
/// ```
/// use shardcast::proto::frame::{Opcode, encode_header};
/// assert_eq!(&*encode_header(Opcode::Text, true, 5), [0x81, 5]);
/// assert_eq!(&*encode_header(Opcode::Binary, true, 256), [0x82, 126, 1, 0]);
/// ```
#[inline]
pub fn encode_header(opcode: Opcode, fin: bool, len: u64) -> HeaderBytes {
    let mut bytes = [0; MAX_SERVER_HEADER];
    bytes[0] = opcode as u8 | if fin { FIN } else { 0 };
    let len = if len <= u64::from(MAX_LEN_7) {
        bytes[1] = len as u8;
        2
    } else if let Ok(len) = u16::try_from(len) {
        bytes[1] = LEN_16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        bytes[1] = LEN_16 + 1;
        bytes[2..].copy_from_slice(&len.to_be_bytes());
        10
    };
    HeaderBytes { bytes, len }
}

/// What [`encode_header`] gives for a whole message of at most 125 bytes.
#[inline]
pub(crate) const fn short_header(opcode: Opcode, len: usize) -> Option<[u8; 2]> {
    if len <= MAX_LEN_7 as usize { Some([FIN | opcode as u8, len as u8]) } else { None }
}

/// How many bytes [`encode_header`] gives for `len` bytes of payload: 2, 4 or 10.
#[inline]
pub const fn server_header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => MAX_SERVER_HEADER,
    }
}

/// A whole control frame from a server, held in place: 2 to 127 bytes.
#[derive(Clone, Copy, Debug)]
pub struct ControlBytes {
    /// The frame is `bytes[..2 + bytes[1]]`; `bytes[1] <= 125`.
    bytes: [u8; 2 + MAX_CONTROL_PAYLOAD],
}

impl Deref for ControlBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..2 + usize::from(self.bytes[1])]
    }
}

/// Writes a close, ping or pong frame from a server. A payload beyond 125 bytes
/// is cut off there.
///
/// ```
/// use shardcast::proto::frame::{Opcode, encode_control};
/// assert_eq!(&*encode_control(Opcode::Pong, b"hi"), b"\x8A\x02hi");
/// ```
pub fn encode_control(opcode: Opcode, payload: &[u8]) -> ControlBytes {
    debug_assert!(opcode.is_control());
    let len = payload.len().min(MAX_CONTROL_PAYLOAD);
    let mut bytes = [0; 2 + MAX_CONTROL_PAYLOAD];
    bytes[0] = FIN | opcode as u8;
    bytes[1] = len as u8;
    bytes[2..2 + len].copy_from_slice(&payload[..len]);
    ControlBytes { bytes }
}

/// Appends a frame from a server to `dst`.
pub fn write_unmasked(dst: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8]) {
    dst.extend_from_slice(&encode_header(opcode, fin, payload.len() as u64));
    dst.extend_from_slice(payload);
}

/// Appends a frame from a client to `dst`, masked with the key `mask`. The key
/// should be random per frame (RFC 6455 section 10.3).
pub fn write_masked(dst: &mut Vec<u8>, fin: bool, opcode: Opcode, mask: [u8; 4], payload: &[u8]) {
    let mut header = encode_header(opcode, fin, payload.len() as u64);
    header.bytes[1] |= MASKED;
    dst.extend_from_slice(&header);
    dst.extend_from_slice(&mask);
    let start = dst.len();
    dst.extend_from_slice(payload);
    mask::apply(&mut dst[start..], mask);
}

#[cfg(test)]
mod tests;
