//! The engine of one shard: connections, rooms, logs, queues, timers and the
//! calls into the embedding program. Pure: no I/O, no threads, no clock.
//!
//! ```text
//! shard_engine          what a shard drives: on_data, on_mail, on_timers, flush
//!   │
//! dispatch              bytes and mail → messages → commands, hooks, handlers (Conn)
//!   │
//! fanout                a publication → rooms' logs; at the end of the turn, logs → batches
//!   │
//! lifecycle             opening and ending: memberships, close handshake, deadlines, drain
//!   │
//! backpressure          who is not read for now; what waits for slow readers, and what is dropped
//!   │
//! state                 connections, rooms, logs, queues, windows, timers of this shard
//!   │
//! process               what shards share and send each other: directory, admission, mail
//!   │
//! types                 limits, time, errors, what embedders see
//! ```
//!
//! Imports go downwards only: a room knows nothing of those above it
//! (`tests/layers.rs` holds this).

mod backpressure;
mod dispatch;
mod fanout;
mod lifecycle;
mod process;
mod shard_engine;
mod state;
#[cfg(test)]
mod tests;
mod types;

pub use dispatch::conn::{Conn, To};
pub use dispatch::hooks::Fault;
pub use shard_engine::ShardEngine;
pub use types::{
    disconnect::Disconnect,
    errors::{HandlerError, HandlerResult},
    info::ConnInfo,
    kept::Kept,
    limits::Limits,
    message::Message,
    outlet::{Outlet, SocketAction},
    slow_policy::SlowPolicy,
    stats::Stats,
    time::Now,
};

pub(crate) use dispatch::hooks::App;
#[cfg(feature = "server")]
pub(crate) use dispatch::opening::is_handshake;
#[cfg(feature = "server")]
pub(crate) use process::admission::subnet;
pub(crate) use process::{
    mail::{
        Adopted, Answer, DirectMessage, JoinRequest, Joined, LeaveRequest, Mail, Origin, Page,
        Parcel, Query,
    },
    pulse::Pulse,
    shared::Process,
};
pub(crate) use types::{audience::Space, relaying::RelayPort};
