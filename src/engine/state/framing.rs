//! Frames as they leave: unmasked and unfragmented (RFC 6455 section 5.2).

use bytes::BytesMut;

use crate::{
    copy::append,
    dialect::Encoding,
    proto::frame::{self, MAX_SERVER_HEADER, Opcode},
};

/// Appends one frame whose payload `encode` writes. Nothing is appended if it says
/// [`Encoding::Skip`].
pub(crate) fn write_frame(out: &mut BytesMut, encode: impl FnOnce(&mut BytesMut) -> Encoding) {
    // The header's length is known only after the payload: most need four
    // bytes, the others move their payload once.
    const GUESS: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; GUESS]);
    let opcode = match encode(out) {
        Encoding::Text => Opcode::Text,
        Encoding::Binary => Opcode::Binary,
        Encoding::Skip => {
            out.truncate(start);
            return;
        }
    };
    let end = out.len();
    let header = frame::encode_header(opcode, true, (end - start - GUESS) as u64);
    if header.len() < GUESS {
        out.copy_within(start + GUESS..end, start + header.len());
        out.truncate(end - (GUESS - header.len()));
    } else if header.len() > GUESS {
        let more = header.len() - GUESS;
        out.resize(end + more, 0);
        out.copy_within(start + GUESS..end, start + GUESS + more);
    }
    out[start..start + header.len()].copy_from_slice(&header);
}

/// Appends one whole frame.
#[inline]
pub(crate) fn write_whole(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    out.reserve(MAX_SERVER_HEADER + payload.len());
    if let Some(header) = frame::short_header(opcode, payload.len()) {
        // Most are so short, and a copy of known length is one store.
        out.extend_from_slice(&header);
    } else {
        let header = frame::encode_header(opcode, true, payload.len() as u64);
        out.extend_from_slice(&header);
    }
    append(out, payload);
}
