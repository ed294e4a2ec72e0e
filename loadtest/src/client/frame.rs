//! Masked frames, as a client must send them (RFC 6455 section 5.3). Pure.

/// The masking key of every frame. A fixed one lets a frame be built once and
/// sent often; the server does the same work for any key that is not zero.
const KEY: [u8; 4] = [0x5A, 0x13, 0xC4, 0x7E];

/// The first byte of a whole text message.
pub(crate) const TEXT: u8 = 0x81;
/// The first byte of a whole binary message.
pub(crate) const BINARY: u8 = 0x82;
/// The first byte of a close frame.
pub(crate) const CLOSE: u8 = 0x88;
/// The first byte of a ping frame.
pub(crate) const PING: u8 = 0x89;
/// The first byte of a pong frame.
pub(crate) const PONG: u8 = 0x8A;

/// Appends a frame with `first` as its first byte and `payload`, masked.
pub(crate) fn append(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            out.push(0xFE);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0xFF);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    let masked = payload.iter().zip(KEY.iter().cycle());
    out.extend(masked.map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_unmasks_to_its_payload_for_each_form_of_the_length() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let payload: Vec<u8> = (0..length).map(|at: usize| at as u8).collect();
            let mut frame = Vec::new();
            append(BINARY, &payload, &mut frame);
            assert_eq!(frame[0], BINARY);
            assert_eq!(frame[1] & 0x80, 0x80, "the mask bit");
            let (key, masked) = frame[head..].split_first_chunk::<4>().unwrap();
            let plain: Vec<u8> =
                masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(plain, payload);
        }
    }
}
