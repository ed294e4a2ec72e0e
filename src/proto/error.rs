//! How a peer can break the protocol, and how each error is answered: a close
//! code once the connection is upgraded, an HTTP status before that. Must not
//! know how an error was found, nor how the answer is sent.

use std::fmt;

use super::close::CloseCode;

/// A rule of RFC 6455, or a limit of ours, that the peer's bytes broke.
///
/// Always the peer's fault, and not recoverable: answer with a close frame of
/// [`ProtocolError::close_code`] and read no more of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolError {
    /// A reserved bit is set and no extension that gives it a meaning was
    /// negotiated (RFC 6455 section 5.2).
    ReservedBits,
    /// The opcode, given here, is none of the six in use (section 5.2).
    ReservedOpcode(u8),
    /// A control frame without FIN: they cannot be fragmented (section 5.5).
    ControlFragmented,
    /// A control frame with more than 125 bytes of payload (section 5.5).
    ControlTooLong,
    /// A client sent a frame without a masking key (section 5.1).
    MaskMissing,
    /// A server sent a frame with a masking key (section 5.1).
    MaskForbidden,
    /// The payload length is not written in the fewest bytes (section 5.2).
    LengthNotMinimal,
    /// A 64-bit payload length has its most significant bit set (section 5.2).
    LengthTooLarge,
    /// A continuation frame while no message is open (section 5.4).
    ContinuationUnexpected,
    /// A text or binary frame while a fragmented message is open (section 5.4).
    ContinuationExpected,
    /// The message is larger than this side takes (section 10.4).
    MessageTooBig,
    /// The message comes in more frames than this side takes (section 10.4).
    TooManyFrames,
    /// A text message is not UTF-8 (section 8.1).
    InvalidUtf8,
    /// A close frame whose payload is one byte, too short for a code (section
    /// 5.5.1).
    CloseTooShort,
    /// A close frame with a code, given here, that must not be on the wire
    /// (section 7.4).
    CloseCodeInvalid(u16),
    /// The reason in a close frame is not UTF-8 (section 5.5.1).
    CloseReasonInvalid,
}

impl ProtocolError {
    /// The code to close the connection with (RFC 6455 section 7.4.1): 1007 for
    /// text that is not UTF-8, 1008 and 1009 for our limits, 1002 for the rest.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::CloseReasonInvalid => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFrames => CloseCode::POLICY,
            _ => CloseCode::PROTOCOL,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::ReservedBits => "a reserved bit is set",
            Self::ReservedOpcode(opcode) => return write!(f, "reserved opcode {opcode:#x}"),
            Self::ControlFragmented => "a control frame is fragmented",
            Self::ControlTooLong => "a control frame is longer than 125 bytes",
            Self::MaskMissing => "a frame from a client is not masked",
            Self::MaskForbidden => "a frame from a server is masked",
            Self::LengthNotMinimal => "a payload length is not in its shortest form",
            Self::LengthTooLarge => "a payload length has its top bit set",
            Self::ContinuationUnexpected => "a continuation frame without a message to continue",
            Self::ContinuationExpected => "a new message inside a fragmented one",
            Self::MessageTooBig => "the message is too big",
            Self::TooManyFrames => "the message has too many fragments",
            Self::InvalidUtf8 => "a text message is not UTF-8",
            Self::CloseTooShort => "a close frame has a payload of one byte",
            Self::CloseCodeInvalid(code) => return write!(f, "close code {code} is not allowed"),
            Self::CloseReasonInvalid => "a close reason is not UTF-8",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// Why a request was not, or could not be, upgraded to WebSocket.
///
/// Always the peer's fault. Answer with
/// [`write_error`](super::handshake::write_error) and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeError {
    /// The request's head has more bytes than this side takes (RFC 6585 section
    /// 5).
    HeadTooLong,
    /// The request has more header fields than this side takes (RFC 6585
    /// section 5).
    TooManyHeaders,
    /// The request line is not HTTP/1 (RFC 9112 section 3).
    RequestLineInvalid,
    /// A header field is not HTTP/1 (RFC 9112 section 5).
    HeaderInvalid,
    /// Neither HTTP/1.0 nor HTTP/1.1 to read (RFC 9112 section 2.3), or HTTP/1.0
    /// where an upgrade takes 1.1 (RFC 6455 section 4.2.1, item 1).
    HttpVersion,
    /// The method is not GET (RFC 6455 section 4.2.1, item 1).
    MethodNotAllowed,
    /// There is no `Host` (RFC 6455 section 4.2.1, item 2).
    HostMissing,
    /// There is more than one `Host` (RFC 9112 section 3.2).
    HostRepeated,
    /// `Upgrade` does not list `websocket` (RFC 6455 section 4.2.1, item 3).
    UpgradeMissing,
    /// `Connection` does not list `upgrade` (RFC 6455 section 4.2.1, item 4).
    ConnectionMissing,
    /// The request has a body, which a GET that upgrades has no use for (RFC 9110
    /// section 9.3.1): what follows the head are frames.
    BodyPresent,
    /// `Sec-WebSocket-Version` is not, once and exactly, 13 (RFC 6455 section
    /// 4.4).
    VersionUnsupported,
    /// There is no `Sec-WebSocket-Key` (RFC 6455 section 4.2.1, item 5).
    KeyMissing,
    /// There is more than one `Sec-WebSocket-Key` (RFC 6455 section 11.3.1).
    KeyRepeated,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64 (RFC 6455 section 4.2.1,
    /// item 5).
    KeyInvalid,
    /// `Sec-WebSocket-Protocol` holds something that is no token (RFC 6455
    /// section 11.3.4).
    ProtocolInvalid,
}

impl HandshakeError {
    /// The HTTP status of the response: 400, 405, 426 or 431.
    pub const fn status(self) -> u16 {
        match self {
            Self::MethodNotAllowed => 405,
            Self::VersionUnsupported => 426,
            Self::HeadTooLong | Self::TooManyHeaders => 431,
            _ => 400,
        }
    }

    /// What is wrong, in one line of ASCII without any byte of the peer's.
    pub const fn text(self) -> &'static str {
        match self {
            Self::HeadTooLong => "the request head is too long",
            Self::TooManyHeaders => "the request has too many header fields",
            Self::RequestLineInvalid => "the request line is not valid HTTP/1.1",
            Self::HeaderInvalid => "a header field is not valid HTTP/1.1",
            Self::HttpVersion => "the request must be HTTP/1.1",
            Self::MethodNotAllowed => "a WebSocket handshake must be a GET request",
            Self::HostMissing => "the Host header is missing",
            Self::HostRepeated => "there is more than one Host header",
            Self::UpgradeMissing => "the Upgrade header must contain websocket",
            Self::ConnectionMissing => "the Connection header must contain Upgrade",
            Self::BodyPresent => "a WebSocket handshake must have no body",
            Self::VersionUnsupported => "Sec-WebSocket-Version must be 13",
            Self::KeyMissing => "the Sec-WebSocket-Key header is missing",
            Self::KeyRepeated => "there is more than one Sec-WebSocket-Key header",
            Self::KeyInvalid => "Sec-WebSocket-Key must be 16 bytes in base64",
            Self::ProtocolInvalid => "Sec-WebSocket-Protocol must be a list of tokens",
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for HandshakeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_small() {
        assert!(size_of::<ProtocolError>() <= 16);
        assert_eq!(size_of::<HandshakeError>(), 1);
    }

    #[test]
    fn each_kind_of_fault_has_its_close_code() {
        let code = |error: ProtocolError| error.close_code().to_u16();
        assert_eq!(code(ProtocolError::ReservedBits), 1002);
        assert_eq!(code(ProtocolError::CloseCodeInvalid(1005)), 1002);
        assert_eq!(code(ProtocolError::InvalidUtf8), 1007);
        assert_eq!(code(ProtocolError::CloseReasonInvalid), 1007);
        assert_eq!(code(ProtocolError::TooManyFrames), 1008);
        assert_eq!(code(ProtocolError::MessageTooBig), 1009);
    }

    #[test]
    fn the_offending_value_is_told() {
        let text = ProtocolError::ReservedOpcode(0xB).to_string();
        assert_eq!(text, "reserved opcode 0xb");
        let text = ProtocolError::CloseCodeInvalid(1005).to_string();
        assert_eq!(text, "close code 1005 is not allowed");
    }
}
