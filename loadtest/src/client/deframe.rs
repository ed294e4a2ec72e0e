//! Frames from received bytes (RFC 6455 section 5.2), client side: what a
//! server sends is not masked, and no extension was negotiated. Pure; knows
//! nothing of sockets. A fragmented message is refused: the servers measured
//! here send whole ones.

use crate::limits::FRAME_BYTES;
use std::fmt;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// A whole text message.
    Text,
    /// A whole binary message.
    Binary,
    /// The start or the answer of a close.
    Close,
    /// To be answered with a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

/// One frame, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// What it carries.
    pub(crate) opcode: Opcode,
    /// Its payload.
    pub(crate) payload: &'a [u8],
}

/// The rule that the server broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A server must not mask (section 5.1).
    Masked,
    /// A reserved bit without an extension.
    ReservedBit,
    /// Not an opcode of section 11.8.
    Opcode(u8),
    /// A fragment, which this client does not take.
    Fragmented,
    /// Longer than [`FRAME_BYTES`].
    TooLong(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Masked => f.write_str("the server sent a masked frame"),
            Self::ReservedBit => f.write_str("the server set a reserved bit"),
            Self::Opcode(code) => write!(f, "the server sent opcode {code}"),
            Self::Fragmented => f.write_str("the server fragmented a message"),
            Self::TooLong(bytes) => write!(f, "the server sent a frame of {bytes} bytes"),
        }
    }
}

/// The first frame of `bytes` and its length with its head, or `None` if it is
/// not yet complete.
pub(crate) fn next_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Fault> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = opcode(*first)?;
    if second & 0x80 != 0 {
        return Err(Fault::Masked);
    }
    let (length, head) = match second & 0x7F {
        126 => match rest.first_chunk::<2>() {
            Some(wide) => (u64::from(u16::from_be_bytes(*wide)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(wide) => (u64::from_be_bytes(*wide), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    if length > FRAME_BYTES as u64 {
        return Err(Fault::TooLong(length));
    }
    let end = head + length as usize;
    Ok(bytes.get(head..end).map(|payload| (Frame { opcode, payload }, end)))
}

fn opcode(first: u8) -> Result<Opcode, Fault> {
    if first & 0x70 != 0 {
        return Err(Fault::ReservedBit);
    }
    let opcode = match first & 0x0F {
        0 => return Err(Fault::Fragmented),
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        other => return Err(Fault::Opcode(other)),
    };
    if first & 0x80 == 0 {
        return Err(Fault::Fragmented);
    }
    Ok(opcode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Vec<u8> {
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(length as u8),
            126..65_536 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend((0..length).map(|at| at as u8));
        frame
    }

    #[test]
    fn each_form_of_the_length_is_read() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
            let bytes = text(length);
            let (frame, used) = next_frame(&bytes).unwrap().unwrap();
            assert_eq!(frame.opcode, Opcode::Text);
            assert_eq!(frame.payload.len(), length);
            assert_eq!(used, bytes.len());
        }
    }

    #[test]
    fn an_incomplete_frame_is_waited_for_at_every_cut() {
        for length in [0, 5, 126, 70_000] {
            let bytes = text(length);
            for cut in (0..bytes.len().min(20)).chain([bytes.len() - 1]) {
                assert_eq!(next_frame(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn coalesced_frames_come_one_after_the_other() {
        let mut bytes = text(3);
        bytes.extend([0x88, 2, 0x03, 0xE9]);
        bytes.extend(text(130));
        let mut lengths = Vec::new();
        let mut at = 0;
        while let Some((frame, used)) = next_frame(&bytes[at..]).unwrap() {
            lengths.push((frame.opcode, frame.payload.len()));
            at += used;
        }
        assert_eq!(at, bytes.len());
        let wanted = [(Opcode::Text, 3), (Opcode::Close, 2), (Opcode::Text, 130)];
        assert_eq!(lengths, wanted);
    }

    #[test]
    fn what_a_server_must_not_send_is_refused() {
        let too_long = FRAME_BYTES as u64 + 1;
        let mut long = vec![0x82, 127];
        long.extend(too_long.to_be_bytes());
        for (bytes, fault) in [
            (&[0x81, 0x80][..], Fault::Masked),
            (&[0xC1, 0], Fault::ReservedBit),
            (&[0x01, 0], Fault::Fragmented),
            (&[0x80, 0], Fault::Fragmented),
            (&[0x83, 0], Fault::Opcode(3)),
            (&long, Fault::TooLong(too_long)),
        ] {
            assert_eq!(next_frame(bytes), Err(fault));
        }
    }
}
