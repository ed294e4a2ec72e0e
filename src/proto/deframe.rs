//! Frames out of bytes that arrive in any pieces: headers, unmasked payload, and
//! the order in which frames may follow each other (RFC 6455 sections 5.2 to
//! 5.4). Keeps no payload. Must not know messages or limits.

use std::mem;

use super::{
    error::ProtocolError,
    frame::{self, Header, MAX_HEADER, Opcode, Role},
    mask,
};

/// Reads one direction of one connection, frame by frame.
///
/// Call [`Deframer::next`] until it gives `None`, then again when more bytes have
/// arrived. Each frame gives one [`Step::Header`], then one or more
/// [`Step::Payload`], exactly the last of which has `end` set (an empty payload
/// gives one, empty). After an error it must not be used.
///
/// Between calls `kept < MAX_HEADER`, and of an open frame `arrived <= len`:
/// the two cursors, of which at most one is not at rest.
#[derive(Debug)]
pub struct Deframer {
    role: Role,
    /// Whether a data frame without FIN came and its message has not ended.
    in_message: bool,
    /// `header[..kept]` has arrived of a header that is not complete.
    kept: u8,
    header: [u8; MAX_HEADER],
    /// The frame of which payload is still to be handed out.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    header: Header,
    /// Bytes of payload already handed out.
    arrived: u64,
}

/// What [`Deframer::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'i> {
    /// A frame begins.
    Header(Header),
    /// Some payload of the frame that began last.
    Payload {
        /// That frame.
        header: Header,
        /// The next bytes of payload, unmasked.
        bytes: &'i mut [u8],
        /// Whether they are the frame's last.
        end: bool,
    },
}

impl Deframer {
    /// A reader at the start of a connection.
    pub const fn new(role: Role) -> Self {
        Self { role, in_message: false, kept: 0, header: [0; MAX_HEADER], open: None }
    }

    /// Takes the next step off the front of `input`. `None`: `input` is used up.
    ///
    /// # Errors
    /// Any rule of RFC 6455 sections 5.1 to 5.5 that headers can break, as soon
    /// as the first byte that breaks it has arrived.
    pub fn next<'i>(
        &mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Step<'i>>, ProtocolError> {
        let step = match self.open {
            Some(open) => self.payload(open, input),
            None => self.header(input)?.map(Step::Header),
        };
        debug_assert!(usize::from(self.kept) < MAX_HEADER);
        debug_assert!(self.open.is_none_or(|open| open.arrived <= open.header.len));
        debug_assert!(self.open.is_none() || self.kept == 0);
        Ok(step)
    }

    /// Whether it stands between messages, with no part of a frame kept.
    pub const fn is_idle(&self) -> bool {
        !self.in_message && self.kept == 0 && self.open.is_none()
    }

    fn payload<'i>(&mut self, mut open: Open, input: &mut &'i mut [u8]) -> Option<Step<'i>> {
        let left = open.header.len - open.arrived;
        if left > 0 && input.is_empty() {
            return None;
        }
        let bytes = take(input, usize::try_from(left).unwrap_or(usize::MAX));
        if let Some(key) = open.header.mask {
            mask::apply_at(bytes, key, (open.arrived % 4) as usize);
        }
        open.arrived += bytes.len() as u64;
        let end = open.arrived == open.header.len;
        self.open = (!end).then_some(open);
        let header = open.header;
        Some(Step::Payload { header, bytes, end })
    }

    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, ProtocolError> {
        let header = if self.kept == 0
            && let Some((header, len)) = decode_in_order(input, self.role, self.in_message)?
        {
            take(input, len);
            header
        } else {
            match self.kept_header(input)? {
                Some(header) => header,
                None => return Ok(None),
            }
        };
        if !header.opcode.is_control() {
            self.in_message = !header.fin;
        }
        self.open = Some(Open { header, arrived: 0 });
        Ok(Some(header))
    }

    /// Moves bytes from the input to the kept header until that is complete. One
    /// by one, since only the header says how long it is; at most 14.
    fn kept_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, ProtocolError> {
        while let [byte] = *take(input, 1) {
            let kept = usize::from(self.kept);
            self.header[kept] = byte;
            let bytes = &self.header[..=kept];
            if let Some((header, _)) = decode_in_order(bytes, self.role, self.in_message)? {
                self.kept = 0;
                return Ok(Some(header));
            }
            // 14 bytes always make a header, so kept + 1 < 14 here.
            self.kept += 1;
        }
        Ok(None)
    }
}

/// [`frame::decode`] for a frame inside or outside of a fragmented message, which
/// decides what its first byte may be (RFC 6455 section 5.4).
#[inline]
pub(super) fn decode_in_order(
    bytes: &[u8],
    role: Role,
    in_message: bool,
) -> Result<Option<(Header, usize)>, ProtocolError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (fin, opcode) = frame::decode_first(first)?;
    match opcode {
        Opcode::Continuation if !in_message => return Err(ProtocolError::ContinuationUnexpected),
        Opcode::Text | Opcode::Binary if in_message => {
            return Err(ProtocolError::ContinuationExpected);
        }
        _ => {}
    }
    frame::decode_rest(fin, opcode, bytes, role)
}

/// Takes up to `len` bytes off the front of `input`.
#[inline]
pub(super) fn take<'i>(input: &mut &'i mut [u8], len: usize) -> &'i mut [u8] {
    let len = len.min(input.len());
    let (front, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

#[cfg(test)]
mod tests;
