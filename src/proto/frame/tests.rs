//! What the module beside this promises, each rule accepted and refused.

use super::*;

fn header(opcode: Opcode, fin: bool, mask: Option<[u8; 4]>, len: u64) -> Header {
    Header { fin, opcode, mask, len }
}

/// Decodes each beginning of `bytes`: the shortest one with an answer gives it.
fn decode_growing(
    bytes: &[u8],
    role: Role,
) -> (usize, Result<Option<(Header, usize)>, ProtocolError>) {
    for end in 0..=bytes.len() {
        match decode(&bytes[..end], role) {
            Ok(None) => {}
            answer => return (end, answer),
        }
    }
    (bytes.len(), Ok(None))
}

#[track_caller]
fn refused(bytes: &[u8], role: Role, error: ProtocolError) {
    assert_eq!(decode_growing(bytes, role), (bytes.len(), Err(error)));
}

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

#[test]
fn the_examples_of_rfc_6455_section_5_7() {
    use Opcode::{Binary, Continuation, Ping, Pong, Text};
    let client = |bytes: &[u8]| decode(bytes, Role::Server).unwrap().unwrap();
    let server = |bytes: &[u8]| decode(bytes, Role::Client).unwrap().unwrap();

    assert_eq!(server(b"\x81\x05Hello"), (header(Text, true, None, 5), 2));
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(client(masked), (header(Text, true, Some(KEY), 5), 6));
    assert_eq!(server(b"\x01\x03Hel"), (header(Text, false, None, 3), 2));
    assert_eq!(server(b"\x80\x02lo"), (header(Continuation, true, None, 2), 2));
    assert_eq!(server(b"\x89\x05Hello"), (header(Ping, true, None, 5), 2));
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(client(pong), (header(Pong, true, Some(KEY), 5), 6));
    assert_eq!(server(b"\x82\x7E\x01\x00"), (header(Binary, true, None, 256), 4));
    let large = b"\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00";
    assert_eq!(server(large), (header(Binary, true, None, 65536), 10));

    let mut written = Vec::new();
    write_masked(&mut written, true, Text, KEY, b"Hello");
    assert_eq!(written, masked);
    written.clear();
    write_unmasked(&mut written, false, Text, b"Hel");
    assert_eq!(written, b"\x01\x03Hel");
}

#[test]
fn a_header_is_decoded_as_soon_as_its_last_byte_is_there() {
    for len in [0, 1, 125, 126, 127, 65535, 65536, 1 << 40, (1 << 63) - 1] {
        for opcode in [Opcode::Text, Opcode::Binary, Opcode::Continuation] {
            let written = encode_header(opcode, false, len);
            let (end, answer) = decode_growing(&written, Role::Client);
            let want = header(opcode, false, None, len);
            assert_eq!(answer, Ok(Some((want, written.len()))));
            assert_eq!(end, written.len());
            assert_eq!(server_header_len(len as usize), written.len());

            let mut masked = written.to_vec();
            masked[1] |= 0x80;
            masked.extend(KEY);
            let (end, answer) = decode_growing(&masked, Role::Server);
            let want = header(opcode, false, Some(KEY), len);
            assert_eq!(answer, Ok(Some((want, masked.len()))));
            assert_eq!(end, masked.len());
        }
    }
}

#[test]
fn reserved_bits_are_refused_at_the_first_byte() {
    for bits in [0x40, 0x20, 0x10, 0x70] {
        refused(&[0x81 | bits], Role::Server, ProtocolError::ReservedBits);
        refused(&[0x81 | bits], Role::Client, ProtocolError::ReservedBits);
    }
}

#[test]
fn reserved_opcodes_are_refused_at_the_first_byte() {
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        refused(&[0x80 | opcode], Role::Server, ProtocolError::ReservedOpcode(opcode));
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [0x8, 0x9, 0xA] {
        refused(&[opcode], Role::Server, ProtocolError::ControlFragmented);
        refused(&[0x80 | opcode, 126], Role::Client, ProtocolError::ControlTooLong);
        refused(&[0x80 | opcode, 0xFF], Role::Server, ProtocolError::ControlTooLong);
        assert!(decode(&[0x80 | opcode, 125], Role::Client).unwrap().is_some());
    }
}

#[test]
fn each_side_insists_on_its_rule_of_masking() {
    refused(&[0x81, 0x05], Role::Server, ProtocolError::MaskMissing);
    refused(&[0x81, 0x85], Role::Client, ProtocolError::MaskForbidden);
}

#[test]
fn lengths_that_a_shorter_form_could_hold_are_refused() {
    let error = ProtocolError::LengthNotMinimal;
    refused(&[0x82, 126, 0, 125], Role::Client, error);
    refused(&[0x82, 0xFE, 0, 0], Role::Server, error);
    // The sixth zero tells: whatever follows, 16 bits could hold it.
    refused(&[0x82, 127, 0, 0, 0, 0, 0, 0], Role::Client, error);
    refused(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0], Role::Server, error);
}

#[test]
fn a_length_of_64_bits_is_refused_at_its_first_byte() {
    refused(&[0x82, 127, 0x80], Role::Client, ProtocolError::LengthTooLarge);
    refused(&[0x82, 0xFF, 0xFF], Role::Server, ProtocolError::LengthTooLarge);
}

#[test]
fn control_frames_are_cut_at_125_bytes() {
    assert_eq!(&*encode_control(Opcode::Ping, b""), [0x89, 0]);
    assert_eq!(&*encode_control(Opcode::Close, b"\x03\xE8"), b"\x88\x02\x03\xE8");
    let long = encode_control(Opcode::Pong, &[7; 300]);
    assert_eq!((long.len(), long[1]), (127, 125));
}

#[test]
fn the_short_way_is_taken_by_each_whole_data_frame_that_16_bits_can_measure() {
    for len in [0, 1, 125, 126, 127, 65535, 65536] {
        for (opcode, fin) in [
            (Opcode::Text, true),
            (Opcode::Binary, true),
            (Opcode::Text, false),
            (Opcode::Continuation, true),
            (Opcode::Ping, true),
        ] {
            let mut frame = Vec::new();
            write_masked(&mut frame, fin, opcode, KEY, &vec![0; len]);
            let is_short = fin && matches!(opcode, Opcode::Text | Opcode::Binary) && len < 65536;
            let header_len = frame.len() - len;
            let expected = is_short.then_some((opcode == Opcode::Text, header_len, len));
            assert_eq!(decode_short(&frame), expected, "{opcode:?} of {len} bytes");
        }
    }
    for longer_than_need_be in [0, 125] {
        assert_eq!(decode_short(&[0x81, 0xFE, 0, longer_than_need_be]), None);
    }
}
