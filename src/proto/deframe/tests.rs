//! What the module beside this promises, each rule accepted and refused.

use super::*;
use crate::proto::frame::{write_masked, write_unmasked};

const KEY: [u8; 4] = [9, 8, 7, 6];

/// What the steps say once pieces of payload are put together again.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    payload: Vec<u8>,
}

/// Reads `bytes` in pieces of `size`; also gives the error and the number of
/// bytes read when it came.
fn read(bytes: &[u8], size: usize, role: Role) -> (Vec<Frame>, Option<(ProtocolError, usize)>) {
    let mut deframer = Deframer::new(role);
    let mut frames: Vec<Frame> = Vec::new();
    let mut read = 0;
    for piece in bytes.to_vec().chunks_mut(size) {
        read += piece.len();
        let mut input = piece;
        loop {
            match deframer.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Step::Header(Header { fin, opcode, .. }))) => {
                    let payload = Vec::new();
                    frames.push(Frame { fin, opcode, payload });
                }
                Ok(Some(Step::Payload { bytes, .. })) => {
                    frames.last_mut().unwrap().payload.extend_from_slice(bytes);
                }
                Err(error) => return (frames, Some((error, read))),
            }
        }
        assert!(input.is_empty());
    }
    (frames, None)
}

fn conversation() -> Vec<(bool, Opcode, Vec<u8>)> {
    vec![
        (true, Opcode::Text, b"hello".to_vec()),
        (false, Opcode::Binary, vec![1; 200]),
        (true, Opcode::Ping, b"between".to_vec()),
        (false, Opcode::Continuation, vec![]),
        (true, Opcode::Pong, vec![]),
        (true, Opcode::Continuation, vec![2; 70_000]),
        (true, Opcode::Close, b"\x03\xE8".to_vec()),
    ]
}

#[test]
fn any_size_of_piece_gives_the_frames_that_were_written() {
    let mut from_client = Vec::new();
    let mut from_server = Vec::new();
    let mut want = Vec::new();
    for (fin, opcode, payload) in conversation() {
        write_masked(&mut from_client, fin, opcode, KEY, &payload);
        write_unmasked(&mut from_server, fin, opcode, &payload);
        want.push(Frame { fin, opcode, payload });
    }
    for size in [1, 2, 3, 5, 7, 13, 14, 15, 64, 4096, usize::MAX >> 1] {
        assert_eq!(read(&from_client, size, Role::Server), (want_of(&want), None));
        assert_eq!(read(&from_server, size, Role::Client), (want_of(&want), None));
    }
}

fn want_of(frames: &[Frame]) -> Vec<Frame> {
    let copy = |frame: &Frame| Frame { payload: frame.payload.clone(), ..*frame };
    frames.iter().map(copy).collect()
}

#[test]
fn frames_out_of_order_are_refused_at_their_first_byte() {
    for (bytes, error) in [
        (&[0x00][..], ProtocolError::ContinuationUnexpected),
        (&[0x80], ProtocolError::ContinuationUnexpected),
        (&[0x81, 0, 0x80], ProtocolError::ContinuationUnexpected),
        (&[0x01, 0, 0x81], ProtocolError::ContinuationExpected),
        (&[0x02, 0, 0x89, 0, 0x02], ProtocolError::ContinuationExpected),
        (&[0x02, 0, 0x80, 0, 0x80], ProtocolError::ContinuationUnexpected),
    ] {
        let (_, refused) = read(bytes, 1, Role::Client);
        assert_eq!(refused, Some((error, bytes.len())), "{bytes:x?}");
    }
}

#[test]
fn a_header_is_told_before_any_payload_has_arrived() {
    let mut deframer = Deframer::new(Role::Client);
    let mut bytes = [0x82, 126, 1, 0];
    let mut input = &mut bytes[..];
    let step = deframer.next(&mut input).unwrap();
    assert!(matches!(step, Some(Step::Header(Header { len: 256, .. }))));
    assert_eq!(deframer.next(&mut input), Ok(None));
    assert!(!deframer.is_idle());
}

#[test]
fn is_idle_only_between_messages() {
    let mut bytes = [0x01, 1, b'a', 0x89, 0, 0x80, 0];
    let mut deframer = Deframer::new(Role::Client);
    assert!(deframer.is_idle());
    let mut idle = Vec::new();
    for piece in bytes.chunks_mut(1) {
        let mut input = piece;
        while deframer.next(&mut input).unwrap().is_some() {}
        idle.push(deframer.is_idle());
    }
    assert_eq!(idle, [false, false, false, false, false, false, true]);
}

#[test]
fn an_empty_payload_still_ends() {
    let mut deframer = Deframer::new(Role::Client);
    let mut bytes = [0x81, 0];
    let mut input = &mut bytes[..];
    assert!(matches!(deframer.next(&mut input), Ok(Some(Step::Header(_)))));
    let step = deframer.next(&mut input);
    assert!(matches!(step, Ok(Some(Step::Payload { bytes: [], end: true, .. }))));
    assert!(deframer.is_idle());
}
