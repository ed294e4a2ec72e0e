//! The opening handshake, server side (RFC 6455 section 4.2): a request's head
//! read and checked, and the response written. Must not know paths, origins,
//! tokens or which subprotocols there are: those are the caller's to check.

use super::error::HandshakeError;

mod head;
mod list;
mod upgrade;

pub use head::{Head, HeadLimits, head_end, parse};
pub use upgrade::Upgrade;

use list::is_token;

/// Appends the response that accepts a handshake with [`Upgrade::key`] (RFC 6455
/// section 4.2.2): status 101.
///
/// `protocol` is the one chosen of [`Upgrade::protocols`], if any; one that is
/// not a token is left out.
pub fn write_accept(dst: &mut Vec<u8>, key: &str, protocol: Option<&str>) {
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    dst.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    dst.extend_from_slice(accept.as_bytes());
    if let Some(protocol) = protocol.filter(|protocol| is_token(protocol.as_bytes())) {
        dst.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        dst.extend_from_slice(protocol.as_bytes());
    }
    dst.extend_from_slice(b"\r\n\r\n");
}

/// Appends the response that refuses a request, after which the connection is to
/// be closed. Its body is [`HandshakeError::text`]; it holds none of the peer's
/// bytes.
pub fn write_error(dst: &mut Vec<u8>, error: &HandshakeError) {
    let (reason, extra) = match error.status() {
        405 => ("Method Not Allowed", "Allow: GET\r\n"),
        // RFC 6455 section 4.4 and RFC 9110 section 15.5.22.
        426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        431 => ("Request Header Fields Too Large", ""),
        _ => ("Bad Request", ""),
    };
    let status = error.status();
    let text = error.text();
    let length = text.len() + 1;
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\n\
         {extra}\
         Connection: close\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n\
         \r\n\
         {text}\n"
    );
    dst.extend_from_slice(response.as_bytes());
}

#[cfg(test)]
mod tests;
