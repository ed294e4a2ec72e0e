//! Copying bytes behind others, at one speed wherever they lie. Knows no meaning of
//! them.

use bytes::BufMut;

/// The most that is copied by one call.
///
/// Longer copies glibc makes by one `rep movsb`, which on AMD's Zen cores takes thirty
/// times as long where the destination lies 4 to 31 bytes behind the source modulo 4096.
/// An echo puts a header of another length before what it copies, so it is there often:
/// 16 KiB then take 5.6 µs instead of 0.2 µs. Pieces of this size are copied by vector
/// registers, in 0.25 µs for 16 KiB at the most.
const PIECE_BYTES: usize = 2048;

/// Appends `bytes` to `out`.
#[inline]
pub(crate) fn append(out: &mut impl BufMut, bytes: &[u8]) {
    if bytes.len() <= PIECE_BYTES {
        return out.put_slice(bytes);
    }
    bytes.chunks(PIECE_BYTES).for_each(|piece| out.put_slice(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_and_all_comes_behind_it() {
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 7).map(|at| at as u8).collect();
        for len in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, bytes.len()] {
            let mut out = b"head".to_vec();
            append(&mut out, &bytes[..len]);
            assert!(out[..4] == *b"head" && out[4..] == bytes[..len]);
        }
    }
}
