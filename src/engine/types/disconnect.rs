//! Why a connection ends, in one table: the code and text that the peer gets,
//! and whether it should come back.

use std::borrow::Cow;

/// A reason to end a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnect {
    /// The server is shutting down: 1001. Come back, to another node.
    Shutdown,
    /// The peer takes its messages too slowly: 1013. Come back, slower.
    Slow,
    /// Nothing came from the peer, not even a pong: 1008.
    NoPong,
    /// The server has as many connections as it may have: 1013.
    ServerFull,
    /// The handler or a hook of the embedding program panicked: 1011.
    HandlerPanic,
    /// The connect hook refused the connection: 1008, with its text.
    Refused(Cow<'static, str>),
    /// The embedding program asked for it.
    Requested {
        /// A code that may be sent (RFC 6455 section 7.4).
        code: u16,
        /// At most 123 bytes are sent.
        reason: Cow<'static, str>,
    },
    /// The peer broke the protocol: the code that the rule demands.
    Protocol {
        /// 1002, 1007, 1008 or 1009.
        code: u16,
        /// Which rule.
        reason: Cow<'static, str>,
    },
    /// The peer closed; its code is answered with the same.
    ByPeer {
        /// The code of its Close frame, if it gave one.
        code: Option<u16>,
    },
    /// The connection broke without a Close frame; nothing can be sent.
    Lost,
}

impl Disconnect {
    /// The code of the Close frame, `None` for an empty one or none at all.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Shutdown => Some(1001),
            Self::Slow | Self::ServerFull => Some(1013),
            Self::NoPong | Self::Refused(_) => Some(1008),
            Self::HandlerPanic => Some(1011),
            Self::Requested { code, .. } | Self::Protocol { code, .. } => Some(*code),
            Self::ByPeer { code } => *code,
            Self::Lost => None,
        }
    }

    /// The reason in the Close frame.
    pub fn reason(&self) -> &str {
        match self {
            Self::Shutdown => "server is shutting down",
            Self::Slow => "too slow to receive",
            Self::NoPong => "no pong received",
            Self::ServerFull => "server is at maximum capacity",
            Self::HandlerPanic => "internal error",
            Self::Refused(reason)
            | Self::Requested { reason, .. }
            | Self::Protocol { reason, .. } => reason,
            Self::ByPeer { .. } | Self::Lost => "",
        }
    }

    /// Whether waiting data is thrown away so that the Close frame leaves next.
    pub(crate) fn is_abrupt(&self) -> bool {
        matches!(self, Self::Slow | Self::NoPong | Self::Protocol { .. } | Self::Lost)
    }
}
