//! Close codes (RFC 6455 section 7.4). Must not know frames, nor what each error
//! is answered with.

use std::fmt;

/// The number that says why a connection is closed (RFC 6455 section 7.4).
///
/// Any `u16` can be held; [`CloseCode::is_valid_on_wire`] tells which may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the endpoint goes away: a server shuts down, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: a kind of data that this endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: data that does not match its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a policy.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: an extension that the client needs was not negotiated.
    pub const EXTENSION_REQUIRED: Self = Self(1010);
    /// 1011: the server met a condition that it did not expect.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the server restarts (IANA registry).
    pub const RESTART: Self = Self(1012);
    /// 1013: the server is overloaded, try later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The code of that number.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// Its number.
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// Whether it may stand in a close frame: 1000 to 1014 but for 1004, 1005
    /// and 1006, and 3000 to 4999 (RFC 6455 section 7.4; 1012 to 1014 by the
    /// IANA registry).
    pub const fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
