//! What makes a request a handshake, rule by rule (RFC 6455 section 4.2.1). Must
//! not know how the head was read or what is answered.

use super::{
    head::Head,
    list::{elements, is_token, list_has},
};
use crate::proto::error::HandshakeError;

/// A request that keeps all rules of a handshake, so that it can be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade<'h> {
    /// `Sec-WebSocket-Key`: 16 bytes in base64, for
    /// [`write_accept`](super::write_accept).
    pub key: &'h str,
    protocols: Vec<&'h str>,
}

impl<'h> Upgrade<'h> {
    /// The subprotocols that the client offers, the preferred one first (RFC 6455
    /// section 11.3.4). Each is a token.
    pub fn protocols(&self) -> impl Iterator<Item = &'h str> {
        self.protocols.iter().copied()
    }

    fn check(head: &Head<'h>) -> Result<Self, HandshakeError> {
        if head.method != "GET" {
            return Err(HandshakeError::MethodNotAllowed);
        }
        if head.minor < 1 {
            return Err(HandshakeError::HttpVersion);
        }
        only(head.values("host"), HandshakeError::HostMissing, HandshakeError::HostRepeated)?;
        if !head.wants_websocket() {
            return Err(HandshakeError::UpgradeMissing);
        }
        if !list_has(head.values("connection"), "upgrade") {
            return Err(HandshakeError::ConnectionMissing);
        }
        // What would be a body is where the first frame must be.
        let empty = head.values("content-length").all(|length| length == b"0");
        if !empty || head.values("transfer-encoding").next().is_some() {
            return Err(HandshakeError::BodyPresent);
        }
        let unsupported = HandshakeError::VersionUnsupported;
        let version = head.values("sec-websocket-version");
        if only(version, unsupported, unsupported)? != b"13" {
            return Err(unsupported);
        }
        let key = only(
            head.values("sec-websocket-key"),
            HandshakeError::KeyMissing,
            HandshakeError::KeyRepeated,
        )?;
        let key = str::from_utf8(key).map_err(|_| HandshakeError::KeyInvalid)?;
        if !is_base64_of_16_bytes(key.as_bytes()) {
            return Err(HandshakeError::KeyInvalid);
        }
        let protocols = head.values("sec-websocket-protocol");
        let protocols = elements(protocols).map(token).collect::<Result<_, _>>()?;
        Ok(Self { key, protocols })
    }
}

impl<'h> Head<'h> {
    /// Checks the request against the rules of a handshake.
    ///
    /// # Errors
    /// The first rule of RFC 6455 section 4.2.1 that it breaks.
    pub fn upgrade(&self) -> Result<Upgrade<'h>, HandshakeError> {
        Upgrade::check(self)
    }
}

/// The value of a header field that must be there once.
fn only<'h>(
    mut values: impl Iterator<Item = &'h [u8]>,
    missing: HandshakeError,
    repeated: HandshakeError,
) -> Result<&'h [u8], HandshakeError> {
    let value = values.next().ok_or(missing)?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(repeated),
    }
}

fn token(element: &[u8]) -> Result<&str, HandshakeError> {
    if !is_token(element) {
        return Err(HandshakeError::ProtocolInvalid);
    }
    str::from_utf8(element).map_err(|_| HandshakeError::ProtocolInvalid)
}

/// Whether `key` has the form of 16 bytes in base64: 22 digits and two pads. The
/// four bits that no byte uses may be anything (RFC 4648 section 3.5): the key is
/// hashed as text, never decoded.
fn is_base64_of_16_bytes(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match key.strip_suffix(b"==") {
        Some(digits) => digits.len() == 22 && digits.iter().all(is_digit),
        None => false,
    }
}
