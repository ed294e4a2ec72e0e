//! The one reader of what a server sends: bytes of any connection, simulated ones
//! among them, to responses and frames. Judges nothing but the form.

use shardcast::proto::frame::{Opcode, Role, decode};

/// So many bytes that were taken may lie in front of those that were not.
const TAKEN_BYTES: usize = 64 << 10;

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Vec<u8>,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The status line and the header fields.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    /// The value of the first header field of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// What was received on one connection, and how much of it was taken.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: Vec<u8>,
    /// Not above the length of `bytes`.
    taken: usize,
}

impl Received {
    /// Adds what has come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes have not been taken.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Takes a response, if one is there whole; one with status 101 has no body.
    pub(crate) fn take_response(&mut self) -> Option<Response> {
        let rest = &self.bytes[self.taken..];
        let end = rest.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(rest[..end].to_vec()).expect("a head of text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut response =
            Response { status: status.expect("a status"), head, body: String::new() };
        let mut len = 0;
        if response.status != 101 {
            let value = response.header("content-length").expect("a length");
            len = value.parse().expect("a number");
        }
        let body = rest.get(end..end + len)?;
        response.body = String::from_utf8(body.to_vec()).expect("a body of text");
        self.take(end + len);
        Some(response)
    }

    /// Takes a frame, if one is there whole.
    pub(crate) fn take_frame(&mut self) -> Option<Frame> {
        let rest = &self.bytes[self.taken..];
        let (header, at) = decode(rest, Role::Client).expect("a frame")?;
        let end = at + header.len as usize;
        let payload = rest.get(at..end)?.to_vec();
        self.take(end);
        Some(Frame { fin: header.fin, opcode: header.opcode, payload })
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
        debug_assert!(self.taken <= self.bytes.len());
        if self.taken == self.bytes.len() || self.taken > TAKEN_BYTES {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}
