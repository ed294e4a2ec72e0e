//! The client: thousands of connections on one thread and one epoll.
//!
//! ```text
//! scenario ── Opening ──► Swarm ──► Link (socket, partial frame, unsent bytes)
//!     ▲                     │
//!     └────── Traffic ◄─────┘  messages in, replies out
//! ```
//!
//! `deframe`, `frame`, `handshake` and `pubsub` are pure. `Swarm` knows sockets
//! but no dialect; what messages mean is for the [`Traffic`] of the scenario.
//! A swarm belongs to one thread and shares nothing, so that several processes
//! can each drive their own share of the connections.

mod deframe;
pub(crate) mod frame;
mod handshake;
mod link;
pub(crate) mod opening;
pub(crate) mod pubsub;
mod swarm;
mod target;
mod wire;

pub(crate) use swarm::Swarm;
pub(crate) use target::Target;
pub(crate) use wire::{LATE, Wire};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// A message as it arrived on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Its payload, in the shared receive buffer.
    pub(crate) payload: &'a [u8],
    /// When the read that brought it returned, on the clock of
    /// [`crate::clock::now_ns`].
    pub(crate) arrived_ns: u64,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Loss {
    /// The server closed it with this code (1005: none given).
    Closed(u16),
    /// The server ended the stream without a close frame.
    Ended,
    /// The operating system reported an error.
    Failed(String),
    /// The upgrade was refused.
    Refused(String),
    /// The server broke the protocol.
    Broken(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code) => write!(f, "closed by the server with code {code}"),
            Self::Ended => f.write_str("ended by the server without a close frame"),
            Self::Failed(why) | Self::Refused(why) | Self::Broken(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a scenario does with what the server sends. Connections are named by
/// their index in the swarm. Frames appended to `reply` go back on the same
/// connection in one send after all that has arrived there was handed over.
pub(crate) trait Traffic {
    /// The connection has been upgraded.
    fn on_open(&mut self, _link: usize, _reply: &mut Vec<u8>) {}

    /// A text or binary message arrived.
    fn on_message(&mut self, link: usize, message: Message<'_>, reply: &mut Vec<u8>);

    /// A pong arrived, with the payload of the ping that it answers.
    fn on_pong(&mut self, _link: usize, _pong: Message<'_>) {}

    /// The connection is lost; it is told once per connection.
    fn on_loss(&mut self, link: usize, loss: Loss);
}
