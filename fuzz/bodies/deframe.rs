//! A frame reader for either side, fed in any pieces. The first byte is the size
//! of the pieces (0 counts as 256), the second the side (odd: a client's); the
//! rest is what the peer sent.

use shardcast::proto::{
    deframe::{Deframer, Step},
    error::ProtocolError,
    frame::{Header, Role},
};

/// The frames read, each with its payload put together, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    frames: Vec<(Header, Vec<u8>)>,
    error: Option<ProtocolError>,
    idle: bool,
}

pub(crate) fn run(data: &[u8]) {
    let [size, reader, stream @ ..] = data else {
        return;
    };
    let size = if *size == 0 { 256 } else { usize::from(*size) };
    let role = if reader % 2 == 1 {
        Role::Client
    } else {
        Role::Server
    };

    let whole = read(stream, stream.len().max(1), role);
    assert_eq!(read(stream, size, role), whole);
    assert_eq!(read(stream, 1, role), whole);
}

fn read(stream: &[u8], size: usize, role: Role) -> Reading {
    let mut deframer = Deframer::new(role);
    let mut frames: Vec<(Header, Vec<u8>)> = Vec::new();
    let mut error = None;
    'pieces: for piece in stream.to_vec().chunks_mut(size) {
        let mut input = piece;
        loop {
            match deframer.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Step::Header(header))) => {
                    assert_eq!(header.mask.is_some(), role == Role::Server);
                    assert!(i64::try_from(header.len).is_ok());
                    frames.push((header, Vec::new()));
                }
                Ok(Some(Step::Payload { header, bytes, end })) => {
                    let (begun, payload) = frames.last_mut().expect("a header comes first");
                    assert_eq!(*begun, header);
                    payload.extend_from_slice(bytes);
                    assert_eq!(end, payload.len() as u64 == header.len);
                }
                Err(broken) => {
                    error = Some(broken);
                    break 'pieces;
                }
            }
        }
        assert!(input.is_empty(), "`None` means that the input is used up");
    }
    let idle = error.is_none() && deframer.is_idle();
    Reading {
        frames,
        error,
        idle,
    }
}
