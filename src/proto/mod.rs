//! RFC 6455 as pure functions: bytes in, values out. Must not know sockets,
//! threads, time, rooms or what a message means.
//!
//! ```text
//! handshake   bytes -> Head -> Upgrade, 101 or an error response
//! session     bytes -> Received: the one type a server connection holds
//!   message     fragments -> Text, Payload; a whole frame is borrowed, not copied
//!     utf8        text in pieces, refused at its first invalid byte
//!   deframe     pieces -> headers and unmasked payload, in a valid order
//!     frame       one header, read or written
//!     mask        the masking key over a payload
//! close       close codes and the payload of a close frame
//! error       how a peer can break the protocol, and the close code or status
//! ```

#![allow(
    clippy::mut_mut,
    reason = "a reader moves the front of its caller's `&mut [u8]`, as `io::Read` for `&[u8]` does"
)]

pub mod close;
pub mod deframe;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod message;
pub mod session;
pub mod utf8;
