//! The opening handshake, server side (RFC 6455 section 4.2), for references
//! whose library does not bring one. Pure.

use anyhow::{Result, bail, ensure};
use tungstenite::handshake::derive_accept_key;

/// The longest request head.
const HEAD_BYTES: usize = 8 * 1024;

/// A request that was accepted.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// Whether raw messages are echoed on it.
    pub(super) is_raw: bool,
    /// What to answer.
    pub(super) response: Vec<u8>,
}

/// The upgrade that `bytes` ask for, or `None` if they are not yet complete.
/// A client says nothing more until it has the answer.
pub(super) fn accept(bytes: &[u8]) -> Result<Option<Upgrade>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(bytes)?.is_partial() {
        ensure!(bytes.len() < HEAD_BYTES, "the request is too long");
        return Ok(None);
    }
    let mut headers = request.headers.iter();
    let key = headers.find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
    let (Some(key), Some(path)) = (key, request.path) else {
        bail!("not an upgrade");
    };
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.value)
    );
    Ok(Some(Upgrade { is_raw: is_raw(path), response: response.into_bytes() }))
}

/// Whether raw messages are echoed on `path`.
pub(super) fn is_raw(path: &str) -> bool {
    path.ends_with("/raw")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_request_is_answered_with_its_key() {
        // Key and answer are the example of RFC 6455 section 1.3.
        let request = b"GET /ws/raw HTTP/1.1\r\nHost: x\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        for cut in 0..request.len() {
            assert!(accept(&request[..cut]).unwrap().is_none());
        }
        let upgrade = accept(request).unwrap().unwrap();
        assert!(upgrade.is_raw);
        let response = String::from_utf8(upgrade.response).unwrap();
        assert!(response.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{response}");
        assert!(accept(b"GET / HTTP/1.1\r\n\r\n").is_err());
    }
}
