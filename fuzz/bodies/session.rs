//! A session fed in any pieces. The first byte is the size of the pieces (0
//! counts as 256), the second the limits; the rest is what the client sent.

use shardcast::proto::{
    close::CloseFrame,
    error::ProtocolError,
    frame::MAX_CONTROL_PAYLOAD,
    message::{MessageLimits, Received},
    session::Session,
};

/// What may be held beside the message: the record of it and a control frame.
const BESIDE_BYTES: usize = 500;

#[derive(Debug, PartialEq, Eq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseFrame>),
}

#[derive(Debug, PartialEq, Eq)]
struct Reading {
    received: Vec<Owned>,
    error: Option<ProtocolError>,
    idle: bool,
}

pub(crate) fn run(data: &[u8]) {
    let [size, limits, stream @ ..] = data else {
        return;
    };
    let size = if *size == 0 { 256 } else { usize::from(*size) };
    let limits = MessageLimits {
        message_bytes: usize::from(limits & 0xF0) * 16,
        frames_per_message: u32::from(limits & 0x0F),
    };
    let whole = read(stream, stream.len().max(1), &limits);
    assert_eq!(read(stream, size, &limits), whole);
    assert_eq!(read(stream, 1, &limits), whole);
}

fn read(stream: &[u8], size: usize, limits: &MessageLimits) -> Reading {
    let mut session = Session::new();
    let mut received = Vec::new();
    let mut error = None;
    'pieces: for piece in stream.to_vec().chunks_mut(size) {
        let mut input = piece;
        loop {
            match session.next(&mut input, limits) {
                Ok(None) => break,
                Ok(Some(next)) => received.push(owned(next, limits)),
                Err(broken) => error = Some(broken),
            }
            if error.is_some() || matches!(received.last(), Some(Owned::Close(_))) {
                assert_eq!(session.buffered_bytes(), 0);
                break 'pieces;
            }
        }
        assert!(input.is_empty(), "`None` means that the input is used up");
        let held = session.buffered_bytes();
        assert!(held <= limits.message_bytes + BESIDE_BYTES);
        assert_eq!(held == 0, session.is_idle());
    }
    let idle = session.is_idle();
    Reading {
        received,
        error,
        idle,
    }
}

fn owned(received: Received<'_>, limits: &MessageLimits) -> Owned {
    let owned = match received {
        Received::Text(text) => Owned::Text(text.into_string()),
        Received::Binary(payload) => Owned::Binary(payload.into_vec()),
        Received::Ping(payload) => Owned::Ping(payload.into_vec()),
        Received::Pong(payload) => Owned::Pong(payload.into_vec()),
        Received::Close(frame) => Owned::Close(frame),
    };
    match &owned {
        Owned::Text(text) => assert!(text.len() <= limits.message_bytes),
        Owned::Binary(bytes) => assert!(bytes.len() <= limits.message_bytes),
        Owned::Ping(bytes) | Owned::Pong(bytes) => assert!(bytes.len() <= MAX_CONTROL_PAYLOAD),
        Owned::Close(frame) => {
            assert!(
                frame
                    .as_ref()
                    .is_none_or(|frame| frame.code.is_valid_on_wire())
            );
        }
    }
    owned
}
