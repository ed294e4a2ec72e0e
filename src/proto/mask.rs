//! Masking and unmasking, which are the same (RFC 6455 section 5.3). Must not
//! know frames: it sees bytes, a key and where in the key to begin.

/// Bytes taken in one unrolled step: two or one vector registers' worth.
const BLOCK: usize = 32;
/// Bytes taken in one word.
const WORD: usize = 8;

/// Applies `key` to `data`, in place. Twice is the identity.
///
/// ```
/// let mut data = *b"Hello";
/// shardcast::proto::mask::apply(&mut data, [0x37, 0xFA, 0x21, 0x3D]);
/// assert_eq!(data, [0x7F, 0x9F, 0x4D, 0x51, 0x58]);
/// ```
#[inline]
pub fn apply(data: &mut [u8], key: [u8; 4]) {
    // The key twice, whatever the byte order.
    let word = u64::from(u32::from_ne_bytes(key)) * 0x1_0000_0001;

    let (blocks, rest) = data.as_chunks_mut::<BLOCK>();
    for block in blocks {
        let (words, _) = block.as_chunks_mut::<WORD>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
    }
    let (words, rest) = rest.as_chunks_mut::<WORD>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    let (halves, tail) = rest.as_chunks_mut::<{ WORD / 2 }>();
    for bytes in halves {
        *bytes = (u32::from_ne_bytes(*bytes) ^ word as u32).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Applies `key` to `data`, the first byte of which is byte `offset` of its
/// frame's payload: for a payload that arrives in pieces.
#[inline]
pub fn apply_at(data: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    apply(data, key);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 section 5.3, word for word: octet i is masked by octet i MOD 4.
    fn definition(data: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, byte) in data.iter_mut().enumerate() {
            *byte ^= key[(i + offset) % 4];
        }
    }

    #[test]
    fn words_do_what_the_definition_does_byte_by_byte() {
        let key = [0x12, 0xF3, 0x00, 0x8D];
        let data: Vec<u8> = (0..320u32).map(|i| (i * 7 + 3) as u8).collect();
        for len in 0..=300 {
            for offset in [0, 1, 2, 3, 4, 5, 6, 7, usize::MAX] {
                // Different starts, so that alignment differs too.
                for start in 0..8 {
                    let mut got = data[start..start + len].to_vec();
                    let mut want = got.clone();
                    apply_at(&mut got, key, offset);
                    definition(&mut want, key, offset % 4);
                    assert_eq!(got, want, "len {len}, offset {offset}");
                }
            }
        }
    }

    #[test]
    fn twice_is_the_identity() {
        let mut data = *b"any bytes, more than one block of thirty-two of them";
        let before = data;
        apply(&mut data, [1, 2, 3, 4]);
        assert_ne!(data, before);
        apply(&mut data, [1, 2, 3, 4]);
        assert_eq!(data, before);
    }
}
