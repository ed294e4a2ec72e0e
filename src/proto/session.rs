//! One client's side of a connection: bytes as they arrive in, messages out (RFC
//! 6455 sections 5 to 8). Must not know who the client is, what it may do, or
//! what is sent back.

use super::{
    close::CloseFrame,
    deframe::{self, Deframer, Step},
    error::ProtocolError,
    frame::{self, Header, MAX_CONTROL_PAYLOAD, Opcode, Role},
    message::{self, Assembly, MessageLimits, Payload, Received, Text},
};

/// What a server keeps of one connection's incoming direction: one word, and
/// nothing behind it while the connection is between messages.
///
/// # How to drive it
///
/// Call [`Session::next`] with the bytes that arrived, until it gives `None`;
/// then again, with the next bytes, when those have arrived. What it hands out
/// borrows the input, never the session. After [`Received::Close`] or an error
/// the connection's incoming direction is over: `next` must not be called again.
///
/// A frame that lies whole in the input is unmasked in place and lent; nothing is
/// allocated or copied. Any other is kept as it arrives: [`Session::is_idle`] is
/// false then, and [`Session::buffered_bytes`] gives what that costs.
///
/// ```
/// use shardcast::proto::{message::{MessageLimits, Received}, session::Session};
/// let limits = MessageLimits { message_bytes: 65_536, frames_per_message: 64 };
/// let mut session = Session::new();
/// let mut bytes = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
/// let mut input = &mut bytes[..];
/// let received = session.next(&mut input, &limits)?;
/// assert!(matches!(received, Some(Received::Text(text)) if text.as_str() == "Hello"));
/// assert!(session.next(&mut input, &limits)?.is_none());
/// # Ok::<(), shardcast::proto::error::ProtocolError>(())
/// ```
#[derive(Debug, Default)]
pub struct Session {
    /// There is one only while something is kept.
    partial: Option<Box<Partial>>,
}

/// A message that lay whole in the input, unmasked in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent<'i> {
    /// A text message: valid UTF-8.
    Text(&'i str),
    /// A binary message.
    Binary(&'i [u8]),
}

impl Session {
    /// A session at the start of a connection, after the handshake.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Takes the next message or control frame off the front of `input`. `None`:
    /// `input` is used up, and what was incomplete is kept.
    ///
    /// The result, error or message, does not depend on the pieces in which the
    /// bytes arrive, except that an error comes as soon as the first bad byte.
    ///
    /// # Errors
    /// Any rule of RFC 6455 sections 5, 7.4 and 8.1, or any of `limits`, that the
    /// peer broke. A message too big or in too many frames is refused at the
    /// header that makes it so, before its payload is kept.
    #[inline]
    pub fn next<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &MessageLimits,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        if self.partial.is_none() {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some(received) = take_whole(input, limits)? {
                return Ok(Some(received));
            }
        }
        self.resume(input, limits)
    }

    /// The short way of [`Session::next`] for what most messages are: one frame, at
    /// most 65,535 bytes, all of it there. `None`: the front of `input` is something
    /// else, or nothing, and was left alone; ask `next`.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidUtf8`].
    #[inline]
    pub fn next_lent<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &MessageLimits,
    ) -> Result<Option<Lent<'i>>, ProtocolError> {
        let (Some((is_text, header_len, len)), true) = (frame::decode_short(input), self.is_idle())
        else {
            return Ok(None);
        };
        if len > limits.message_bytes || input.len() < header_len + len {
            return Ok(None);
        }
        let header = deframe::take(input, header_len);
        let payload = deframe::take(input, len);
        if let Some(key) = header.last_chunk() {
            super::mask::apply(payload, *key);
        }
        if !is_text {
            return Ok(Some(Lent::Binary(payload)));
        }
        match simdutf8::basic::from_utf8(payload) {
            Ok(text) => Ok(Some(Lent::Text(text))),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        }
    }

    /// Whether it stands between messages, and so keeps nothing.
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Bytes of memory held beyond the session's own word: 0 when idle, at most
    /// `message_bytes` and 500 otherwise.
    pub fn buffered_bytes(&self) -> usize {
        match &self.partial {
            None => 0,
            Some(partial) => size_of::<Partial>() + partial.capacity(),
        }
    }

    /// Handles everything that did not arrive as one whole frame.
    #[inline(never)]
    fn resume<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &MessageLimits,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        let partial = self.partial.get_or_insert_with(Box::default);
        let received = partial.next(input, limits);
        let over = matches!(received, Err(_) | Ok(Some(Received::Close(_))));
        if over || partial.is_idle() {
            self.partial = None;
        }
        received
    }
}

/// Takes one frame that is a whole message or control frame, if the front of
/// `input` is such a frame and all of it is there. Else leaves `input` alone.
#[inline]
fn take_whole<'i>(
    input: &mut &'i mut [u8],
    limits: &MessageLimits,
) -> Result<Option<Received<'i>>, ProtocolError> {
    let Some((header, header_len)) = deframe::decode_in_order(input, Role::Server, false)? else {
        return Ok(None);
    };
    if !header.opcode.is_control() && header.len > limits.message_bytes as u64 {
        return Err(ProtocolError::MessageTooBig);
    }
    let arrived = input.len() - header_len;
    if !header.fin || header.len > arrived as u64 {
        return Ok(None);
    }
    deframe::take(input, header_len);
    let payload = deframe::take(input, header.len as usize);
    if let Some(key) = header.mask {
        super::mask::apply(payload, key);
    }
    lent(header.opcode, payload).map(Some)
}

/// What the whole, unmasked payload of an unfragmented frame means.
#[inline]
fn lent(opcode: Opcode, payload: &mut [u8]) -> Result<Received<'_>, ProtocolError> {
    match opcode {
        Opcode::Text => Text::lent(payload).map(Received::Text),
        Opcode::Binary => Ok(Received::Binary(Payload::Lent(payload))),
        _ => control(opcode, Payload::Lent(payload)),
    }
}

/// What the whole payload of a control frame means.
fn control(opcode: Opcode, payload: Payload<'_>) -> Result<Received<'_>, ProtocolError> {
    match opcode {
        Opcode::Ping => Ok(Received::Ping(payload)),
        Opcode::Pong => Ok(Received::Pong(payload)),
        Opcode::Close => CloseFrame::parse(&payload).map(Received::Close),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            Err(ProtocolError::ReservedOpcode(opcode as u8))
        }
    }
}

/// What is kept of frames and messages that have not arrived whole.
#[derive(Debug)]
struct Partial {
    deframer: Deframer,
    /// The data message that has begun.
    message: Option<Assembly>,
    /// The payload so far of a control frame that comes in pieces, perhaps in
    /// the middle of `message`; at most 125 bytes.
    control: Vec<u8>,
}

impl Default for Partial {
    fn default() -> Self {
        Self { deframer: Deframer::new(Role::Server), message: None, control: Vec::new() }
    }
}

impl Partial {
    fn next<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &MessageLimits,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        while let Some(step) = self.deframer.next(input)? {
            let received = match step {
                Step::Header(header) => {
                    self.admit(header, limits)?;
                    None
                }
                Step::Payload { header, bytes, end } if header.opcode.is_control() => {
                    self.control(header, bytes, end)?
                }
                Step::Payload { header, bytes, end } => self.data(header, bytes, end)?,
            };
            if received.is_some() {
                return Ok(received);
            }
        }
        Ok(None)
    }

    fn is_idle(&self) -> bool {
        self.deframer.is_idle()
    }

    fn capacity(&self) -> usize {
        let message = self.message.as_ref().map_or(0, Assembly::capacity);
        message + self.control.capacity()
    }

    fn admit(&mut self, header: Header, limits: &MessageLimits) -> Result<(), ProtocolError> {
        let message = match header.opcode {
            Opcode::Text => self.message.insert(Assembly::text()),
            Opcode::Binary => self.message.insert(Assembly::binary()),
            Opcode::Continuation => match &mut self.message {
                Some(message) => message,
                None => return Err(ProtocolError::ContinuationUnexpected),
            },
            Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
        };
        message.admit(header.len, header.fin, limits)
    }

    fn data<'i>(
        &mut self,
        header: Header,
        bytes: &[u8],
        end: bool,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        if let Some(message) = &mut self.message {
            message.push(bytes)?;
        }
        if !(end && header.fin) {
            return Ok(None);
        }
        self.message.take().map(Assembly::finish).transpose()
    }

    fn control<'i>(
        &mut self,
        header: Header,
        bytes: &'i mut [u8],
        end: bool,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        if end && self.control.is_empty() {
            return control(header.opcode, Payload::Lent(bytes)).map(Some);
        }
        message::append(&mut self.control, bytes, header.len as usize);
        debug_assert!(self.control.len() <= MAX_CONTROL_PAYLOAD);
        if !end {
            return Ok(None);
        }
        let payload = Payload::Assembled(std::mem::take(&mut self.control));
        control(header.opcode, payload).map(Some)
    }
}

#[cfg(test)]
mod tests;
