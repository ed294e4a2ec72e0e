//! What the module beside this promises, each rule accepted and refused.

use proptest::{prelude::*, sample};

use super::*;
use crate::proto::frame::write_masked;

const LIMITS: MessageLimits = MessageLimits { message_bytes: 70_000, frames_per_message: 4 };
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A [`Received`] that owns what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseFrame>),
}

impl From<Received<'_>> for Owned {
    fn from(received: Received<'_>) -> Self {
        match received {
            Received::Text(text) => Self::Text(text.into_string()),
            Received::Binary(payload) => Self::Binary(payload.into_vec()),
            Received::Ping(payload) => Self::Ping(payload.into_vec()),
            Received::Pong(payload) => Self::Pong(payload.into_vec()),
            Received::Close(frame) => Self::Close(frame),
        }
    }
}

/// How a stream of bytes was read.
#[derive(Debug)]
struct Reading {
    received: Vec<Owned>,
    /// The error, and how many bytes had been given when it came.
    error: Option<(ProtocolError, usize)>,
    session: Session,
}

/// Reads `bytes` in pieces as long as `sizes` says, over and over.
fn read(bytes: &[u8], sizes: &[usize], limits: &MessageLimits) -> Reading {
    let mut reading = Reading { received: Vec::new(), error: None, session: Session::new() };
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    let mut given = 0;
    for &size in sizes.iter().cycle() {
        let mut input = deframe::take(&mut rest, size);
        given += input.len();
        loop {
            match reading.session.next(&mut input, limits) {
                Ok(None) => break,
                Ok(Some(received)) => {
                    let received = Owned::from(received);
                    let over = matches!(received, Owned::Close(_));
                    reading.received.push(received);
                    if over {
                        return reading;
                    }
                }
                Err(error) => {
                    reading.error = Some((error, given));
                    return reading;
                }
            }
        }
        assert!(input.is_empty(), "None means that all is used up");
        let held = reading.session.buffered_bytes();
        assert!(held <= limits.message_bytes + 500, "{held}");
        assert_eq!(reading.session.is_idle(), held == 0);
        if rest.is_empty() {
            break;
        }
    }
    reading
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_masked(&mut bytes, fin, opcode, KEY, payload);
    bytes
}

fn whole(bytes: &[u8]) -> Reading {
    read(bytes, &[usize::MAX], &LIMITS)
}

fn bytewise(bytes: &[u8]) -> Reading {
    read(bytes, &[1], &LIMITS)
}

/// Asserts that `bytes` are refused however they come, and not before the last.
#[track_caller]
fn refused(bytes: &[u8], error: ProtocolError) {
    let all = Some((error, bytes.len()));
    assert_eq!(whole(bytes).error, all);
    assert_eq!(bytewise(bytes).error, all);
}

#[test]
fn an_idle_session_is_one_word() {
    assert_eq!(size_of::<Session>(), 8);
    assert!(size_of::<Partial>() <= 256, "{}", size_of::<Partial>());
    assert_eq!(Session::new().buffered_bytes(), 0);
}

#[test]
fn a_whole_frame_is_lent_from_the_input() {
    let mut session = Session::new();
    for opcode in [Opcode::Binary, Opcode::Ping, Opcode::Pong] {
        let mut bytes = frame(true, opcode, b"payload");
        let range = bytes.as_ptr_range();
        let mut input = &mut bytes[..];
        let received = session.next(&mut input, &LIMITS).unwrap();
        let Some(Received::Binary(payload) | Received::Ping(payload) | Received::Pong(payload)) =
            received
        else {
            panic!("{received:?}");
        };
        assert!(matches!(payload, Payload::Lent(_)));
        assert!(range.contains(&payload.as_ptr()));
        assert_eq!(&*payload, b"payload");
        assert!(session.is_idle());
    }
    let mut bytes = frame(true, Opcode::Text, "grüß".as_bytes());
    let range = bytes.as_ptr_range();
    let mut input = &mut bytes[..];
    let Some(Received::Text(text)) = session.next(&mut input, &LIMITS).unwrap() else {
        panic!("no text");
    };
    assert!(range.contains(&text.as_str().as_ptr()));
    assert_eq!(&*text, "grüß");
}

#[test]
fn the_fragmented_message_of_rfc_6455_section_5_7() {
    let mut bytes = frame(false, Opcode::Text, b"Hel");
    bytes.extend(frame(true, Opcode::Continuation, b"lo"));
    for reading in [whole(&bytes), bytewise(&bytes)] {
        assert_eq!(reading.received, [Owned::Text("Hello".into())]);
        assert!(reading.session.is_idle());
    }
}

#[test]
fn control_frames_come_between_fragments_in_their_place() {
    let mut bytes = frame(false, Opcode::Binary, b"a");
    bytes.extend(frame(true, Opcode::Ping, &[7; 125]));
    bytes.extend(frame(false, Opcode::Continuation, b""));
    bytes.extend(frame(true, Opcode::Pong, b""));
    bytes.extend(frame(true, Opcode::Continuation, b"b"));
    let want = [Owned::Ping(vec![7; 125]), Owned::Pong(vec![]), Owned::Binary(b"ab".to_vec())];
    for reading in [whole(&bytes), bytewise(&bytes)] {
        assert_eq!(reading.received, want);
        assert!(reading.session.is_idle());
    }
}

#[test]
fn close_ends_the_reading_and_frees_what_was_kept() {
    let mut bytes = frame(false, Opcode::Text, b"unfinished");
    bytes.extend(frame(true, Opcode::Close, b"\x03\xE9bye"));
    bytes.extend(b"not a frame");
    for reading in [whole(&bytes), bytewise(&bytes)] {
        let Some(Owned::Close(Some(close))) = reading.received.last() else {
            panic!("{reading:?}");
        };
        assert_eq!((close.code.to_u16(), &*close.reason), (1001, "bye"));
        assert!(reading.session.is_idle());
    }
    let empty = whole(&frame(true, Opcode::Close, b""));
    assert_eq!(empty.received, [Owned::Close(None)]);
}

#[test]
fn rules_of_close_payloads_hold() {
    use ProtocolError::{CloseCodeInvalid, CloseReasonInvalid, CloseTooShort};
    refused(&frame(true, Opcode::Close, b"\x03"), CloseTooShort);
    refused(&frame(true, Opcode::Close, b"\x03\xED"), CloseCodeInvalid(1005));
    refused(&frame(true, Opcode::Close, b"\x03\xE8\xFF"), CloseReasonInvalid);
}

#[test]
fn order_of_fragments_holds() {
    let orphan = [0x80];
    refused(&orphan, ProtocolError::ContinuationUnexpected);
    let mut nested = frame(false, Opcode::Text, b"a");
    nested.push(0x81);
    refused(&nested, ProtocolError::ContinuationExpected);
}

#[test]
fn a_message_may_fill_its_limit_and_not_pass_it() {
    let full = frame(true, Opcode::Binary, &vec![1; 70_000]);
    assert_eq!(whole(&full).received.len(), 1);
    assert_eq!(read(&full, &[999], &LIMITS).received.len(), 1);

    let over = frame(true, Opcode::Binary, &vec![1; 70_001]);
    refused(&over[..14], ProtocolError::MessageTooBig);

    let mut split = frame(false, Opcode::Binary, &vec![1; 40_000]);
    split.extend(&frame(true, Opcode::Continuation, &vec![1; 30_001])[..8]);
    refused(&split, ProtocolError::MessageTooBig);
}

#[test]
fn a_message_may_have_so_many_frames_and_no_more() {
    let mut bytes = frame(false, Opcode::Text, b"1");
    bytes.extend(frame(false, Opcode::Continuation, b"2"));
    bytes.extend(frame(true, Opcode::Ping, b""));
    bytes.extend(frame(false, Opcode::Continuation, b"3"));
    let mut four = bytes.clone();
    four.extend(frame(true, Opcode::Continuation, b"4"));
    assert_eq!(whole(&four).received.last(), Some(&Owned::Text("1234".into())));
    bytes.extend(frame(false, Opcode::Continuation, b"4"));
    bytes.extend(&frame(true, Opcode::Continuation, b"5")[..6]);
    refused(&bytes, ProtocolError::TooManyFrames);
}

/// Autobahn 6.4: 11 good bytes, F4 90 (above U+10FFFF from its second byte on),
/// 80 80, 6 good ones.
const BAD_TEXT: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited";

#[test]
fn bad_text_in_fragments_fails_with_its_fragment() {
    let mut bytes = frame(false, Opcode::Text, &BAD_TEXT[..11]);
    bytes.extend(frame(false, Opcode::Continuation, &BAD_TEXT[11..15]));
    assert_eq!(whole(&bytes).error, Some((ProtocolError::InvalidUtf8, bytes.len())));
    let at = bytes.len() - 2; // 80 80 need not arrive
    assert_eq!(bytewise(&bytes).error, Some((ProtocolError::InvalidUtf8, at)));
}

#[test]
fn bad_text_in_pieces_fails_at_its_first_bad_byte() {
    let bytes = frame(true, Opcode::Text, BAD_TEXT);
    let at = 6 + 13;
    for sizes in [&[1][..], &[at - 1, 1], &[at], &[6 + 11, 2]] {
        let error = read(&bytes, sizes, &LIMITS).error;
        assert_eq!(error, Some((ProtocolError::InvalidUtf8, at)), "{sizes:?}");
    }
}

#[test]
fn text_cut_inside_its_last_character_is_refused() {
    refused(&frame(true, Opcode::Text, &BAD_TEXT[..12]), ProtocolError::InvalidUtf8);
    let mut bytes = frame(false, Opcode::Text, b"\xE2\x82");
    bytes.extend(frame(true, Opcode::Continuation, b""));
    refused(&bytes, ProtocolError::InvalidUtf8);
}

#[test]
fn a_claimed_length_costs_nothing() {
    let bytes = &frame(true, Opcode::Binary, &vec![1; 70_000])[..20];
    let reading = whole(bytes);
    assert!(reading.session.buffered_bytes() < 300);
}

/// A frame as a test might send it, most often a valid one.
fn any_frame() -> impl Strategy<Value = (bool, Opcode, Vec<u8>)> {
    use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
    let opcodes = vec![Text, Text, Binary, Continuation, Continuation, Ping, Pong, Close];
    let text = sample::select(vec!["", "hello", "κόσμε", "a € and a 😀", "0123456789"]);
    let payload = prop_oneof![
        6 => (text, 0..30usize).prop_map(|(text, times)| text.repeat(times).into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..140),
        1 => Just(b"\x03\xE8done".to_vec()),
    ];
    (any::<bool>(), sample::select(opcodes), payload).prop_map(|(fin, opcode, mut payload)| {
        if opcode.is_control() {
            payload.truncate(MAX_CONTROL_PAYLOAD);
        }
        (fin || opcode.is_control(), opcode, payload)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn pieces_change_nothing(
        frames in prop::collection::vec(any_frame(), 1..10),
        key: [u8; 4],
        sizes in prop::collection::vec(1..60usize, 1..12),
        cut in 0..6usize,
    ) {
        let limits = MessageLimits { message_bytes: 600, frames_per_message: 3 };
        let mut bytes = Vec::new();
        for (fin, opcode, payload) in frames {
            write_masked(&mut bytes, fin, opcode, key, &payload);
        }
        bytes.truncate(bytes.len() - cut);

        let whole = read(&bytes, &[usize::MAX], &limits);
        for sizes in [&sizes[..], &[1]] {
            let pieces = read(&bytes, sizes, &limits);
            prop_assert_eq!(&pieces.received, &whole.received);
            prop_assert_eq!(pieces.error.map(|e| e.0), whole.error.map(|e| e.0));
            prop_assert_eq!(pieces.session.is_idle(), whole.session.is_idle());
        }
    }

    #[test]
    fn no_bytes_can_do_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        sizes in prop::collection::vec(1..20usize, 1..4),
    ) {
        let whole = whole(&bytes);
        let pieces = read(&bytes, &sizes, &LIMITS);
        prop_assert_eq!(pieces.received, whole.received);
        prop_assert_eq!(pieces.error.map(|e| e.0), whole.error.map(|e| e.0));
    }
}

/// Reads `bytes` as a driver's read does: what is whole by the short way, the rest by
/// the other.
fn read_short_first(mut bytes: &mut [u8], limits: &MessageLimits) -> (Vec<Owned>, bool) {
    let (mut received, mut session) = (Vec::new(), Session::new());
    loop {
        let before = bytes.len();
        match session.next_lent(&mut bytes, limits) {
            Ok(Some(Lent::Text(text))) => received.push(Owned::Text(text.to_owned())),
            Ok(Some(Lent::Binary(data))) => received.push(Owned::Binary(data.to_vec())),
            Err(_) => return (received, false),
            Ok(None) => {
                assert_eq!(bytes.len(), before, "what is not taken is left alone");
                match session.next(&mut bytes, limits) {
                    Ok(Some(message)) => {
                        received.push(Owned::from(message));
                        if matches!(received.last(), Some(Owned::Close(_))) {
                            return (received, true);
                        }
                    }
                    Ok(None) => return (received, true),
                    Err(_) => return (received, false),
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_short_way_reads_what_the_other_reads(
        frames in prop::collection::vec(
            (any::<bool>(), 0u8..11, prop::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>()),
            0..8,
        ),
        ascii in any::<bool>(),
        spoiled in prop::option::of((any::<sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = Vec::new();
        for (fin, opcode, mut payload, mask) in frames {
            let Some(opcode) = Opcode::from_nibble(opcode) else { continue };
            if ascii {
                for byte in &mut payload {
                    *byte &= 0x7F;
                }
            }
            if opcode.is_control() {
                payload.truncate(if opcode == Opcode::Close { 0 } else { 125 });
            }
            write_masked(&mut bytes, fin || opcode.is_control(), opcode, mask, &payload);
        }
        if let (Some((index, byte)), false) = (spoiled, bytes.is_empty()) {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let other = read(&bytes, &[bytes.len().max(1)], &LIMITS);
        let (received, is_right) = read_short_first(&mut bytes, &LIMITS);
        prop_assert_eq!(received, other.received);
        prop_assert_eq!(is_right, other.error.is_none());
    }
}
