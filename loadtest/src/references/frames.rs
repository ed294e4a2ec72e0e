//! Frames, server side (RFC 6455 section 5.2), for references that have no
//! library for them: masked ones in, unmasked in place, plain ones out. Pure.

use anyhow::{Result, ensure};
use std::ops::Range;

/// The first byte of a whole text message.
pub(super) const TEXT: u8 = 0x81;
/// The first byte of a whole binary message.
pub(super) const BINARY: u8 = 0x82;
/// The first byte of a close frame.
pub(super) const CLOSE: u8 = 0x88;

/// The longest payload that is taken.
const PAYLOAD_BYTES: usize = 1 << 20;

/// The bytes of a client's masked frame with `payload` bytes.
pub(super) fn masked_bytes(payload: usize) -> usize {
    head_bytes(payload) + 4 + payload
}

fn head_bytes(payload: usize) -> usize {
    match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

/// A frame in the buffer that it arrived in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Flags and opcode.
    pub(super) first: u8,
    /// Where its payload lies; the frame ends with it.
    pub(super) payload: Range<usize>,
}

/// Unmasks the first frame of `bytes`, if it is complete.
pub(super) fn next(bytes: &mut [u8]) -> Result<Option<Frame>> {
    let [first, second, rest @ ..] = &*bytes else {
        return Ok(None);
    };
    ensure!(second & 0x80 != 0, "a client must mask");
    let (length, head) = match second & 0x7F {
        126 => match rest.first_chunk::<2>() {
            Some(wide) => (usize::from(u16::from_be_bytes(*wide)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(wide) => (u64::from_be_bytes(*wide) as usize, 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    ensure!(length <= PAYLOAD_BYTES, "a frame of {length} bytes");
    let (first, payload) = (*first, head + 4..head + 4 + length);
    if bytes.len() < payload.end {
        return Ok(None);
    }
    let (heads, masked) = bytes[..payload.end].split_at_mut(payload.start);
    if let Some(key) = heads.last_chunk::<4>() {
        unmask(masked, *key);
    }
    Ok(Some(Frame { first, payload }))
}

/// Eight bytes at a time, which the compiler makes more of.
fn unmask(bytes: &mut [u8], key: [u8; 4]) {
    let wide = u64::from(u32::from_ne_bytes(key));
    let wide = wide << 32 | wide;
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
    if let Some(rest) = rest.get_mut(4..) {
        for (byte, key) in rest.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

/// Appends an unmasked frame.
pub(super) fn append(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        short @ 0..126 => out.push(short as u8),
        middle @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::frame;

    #[test]
    fn what_the_client_sends_is_read_at_every_length_and_cut() {
        for length in [0, 1, 4, 5, 7, 8, 13, 125, 126, 127, 65_535, 65_536, 70_001] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut masked = Vec::new();
            frame::append(frame::BINARY, &payload, &mut masked);
            assert_eq!(masked.len(), masked_bytes(length));
            for cut in (0..masked.len()).step_by(1 + length / 50) {
                assert_eq!(next(&mut masked.clone()[..cut]).unwrap(), None);
            }
            masked.extend_from_slice(b"next");
            let found = next(&mut masked).unwrap().unwrap();
            assert_eq!(found.first, BINARY);
            assert_eq!(masked[found.payload.clone()], payload);
            assert_eq!(found.payload.end, masked.len() - 4);
        }
        assert!(next(&mut [BINARY, 0]).is_err(), "not masked");
    }
}
