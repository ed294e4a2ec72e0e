//! The opening handshake, client side (RFC 6455 section 4.1): one request that
//! serves every connection of a run, and the check of the answers. Pure.

use crate::limits::RESPONSE_HEAD_BYTES;
use std::fmt;
use tungstenite::handshake::derive_accept_key;

/// The `Sec-WebSocket-Key` of every connection. It guards against caches, which
/// loopback has none of; one key makes one request and one expected answer.
const KEY: &str = "c2hhcmRjYXN0LWxvYWR0ZQ==";

/// The request for one path, and the answer that accepts it.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    request: Vec<u8>,
    accept: String,
}

/// Why an answer opened no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An HTTP status other than 101.
    Status(u16),
    /// Not an HTTP response, or too long a head.
    Malformed,
    /// `Sec-WebSocket-Accept` is missing or wrong.
    Accept,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "upgrade refused with HTTP status {status}"),
            Self::Malformed => f.write_str("the answer to the upgrade is not HTTP"),
            Self::Accept => f.write_str("the answer's Sec-WebSocket-Accept is wrong"),
        }
    }
}

impl Handshake {
    /// The handshake for `path` at `host`.
    pub(crate) fn new(host: &str, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        Self { request: request.into_bytes(), accept: derive_accept_key(KEY.as_bytes()) }
    }

    /// The bytes to send when the connection stands.
    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// The length of the accepting head at the start of `bytes`, or `None` if it
    /// is not yet complete.
    pub(crate) fn accepted(&self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < RESPONSE_HEAD_BYTES => return Ok(None),
            _ => return Err(Refusal::Malformed),
        };
        match response.code {
            Some(101) => {}
            Some(status) => return Err(Refusal::Status(status)),
            None => return Err(Refusal::Malformed),
        }
        let accepted = response.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("sec-websocket-accept")
                && header.value == self.accept.as_bytes()
        });
        if accepted { Ok(Some(length)) } else { Err(Refusal::Accept) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(handshake: &Handshake) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nsec-websocket-accept: {}\r\n\r\n",
            handshake.accept
        )
    }

    #[test]
    fn the_accepting_head_is_measured_and_what_follows_is_left() {
        let handshake = Handshake::new("127.0.0.1:1", "/ws");
        let head = answer(&handshake);
        let with_frame = format!("{head}\u{1}rest");
        assert_eq!(handshake.accepted(with_frame.as_bytes()), Ok(Some(head.len())));
        for cut in 0..head.len() {
            assert_eq!(handshake.accepted(&head.as_bytes()[..cut]), Ok(None));
        }
    }

    #[test]
    fn refusals_say_why() {
        let handshake = Handshake::new("127.0.0.1:1", "/ws");
        let busy = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
        assert_eq!(handshake.accepted(busy), Err(Refusal::Status(503)));
        let wrong = answer(&handshake).replace(&handshake.accept, "x");
        assert_eq!(handshake.accepted(wrong.as_bytes()), Err(Refusal::Accept));
        assert_eq!(handshake.accepted(b"SSH-2.0-x\r\n"), Err(Refusal::Malformed));
    }
}
