//! Appends single JSON values to a buffer. Knows nothing of events or dialects.

use bytes::BytesMut;

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `text` as a JSON string (RFC 8259 section 7), escaping only what must
/// be: quote, backslash and the control characters below U+0020.
pub(super) fn put_string(text: &str, out: &mut BytesMut) {
    let bytes = text.as_bytes();
    out.extend_from_slice(b"\"");
    // One pass without a branch per byte, which the compiler vectorises.
    if bytes.iter().fold(false, |found, &byte| found | must_escape(byte)) {
        put_escaped(bytes, out);
    } else {
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(b"\"");
}

fn must_escape(byte: u8) -> bool {
    matches!(byte, 0..=0x1F | b'"' | b'\\')
}

fn put_escaped(mut bytes: &[u8], out: &mut BytesMut) {
    while let Some(at) = bytes.iter().position(|&byte| must_escape(byte)) {
        let (plain, rest) = bytes.split_at(at);
        out.extend_from_slice(plain);
        put_escape(rest[0], out);
        bytes = &rest[1..];
    }
    out.extend_from_slice(bytes);
}

fn put_escape(byte: u8, out: &mut BytesMut) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends `value` in decimal digits.
pub(super) fn put_integer(mut value: u64, out: &mut BytesMut) {
    let mut digits = [0; 20]; // u64::MAX has 20
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `value` as a JSON string of 16 hexadecimal digits.
pub(super) fn put_hex(value: u64, out: &mut BytesMut) {
    let mut text = [b'"'; 18];
    for (index, digit) in text[1..17].iter_mut().enumerate() {
        *digit = HEX[(value >> (60 - 4 * index) & 15) as usize];
    }
    out.extend_from_slice(&text);
}

/// Appends `value` as a JSON boolean.
pub(super) fn put_boolean(value: bool, out: &mut BytesMut) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends `bytes` as a JSON string in base64 (RFC 4648 section 4, padded).
pub(super) fn put_base64(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(bytes.len().div_ceil(3) * 4 + 2);
    out.extend_from_slice(b"\"");
    for group in bytes.chunks(3) {
        let mut block = [0; 3];
        block[..group.len()].copy_from_slice(group);
        let [a, b, c] = block.map(usize::from);
        let sextets = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        let mut quad = sextets.map(|sextet| BASE64[sextet]);
        quad[group.len() + 1..].fill(b'=');
        out.extend_from_slice(&quad);
    }
    out.extend_from_slice(b"\"");
}
