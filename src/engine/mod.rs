//! The engine of one shard: connections, rooms, logs, queues, timers and the
//! calls into the embedding program. Pure: no I/O, no threads, no clock.
//!
//! ```text
//! on_data ─► opening ─► frames ─► commands ─► handlers (conn) ─► publish ─► room_log ┐
//! on_mail ────────────────────────────────────────────────────► deliver ─►          ├─► flush ─► Outlet
//! on_timers ─► deadlines ─► closing ───────────────────────────► direct sends ──────┘     │
//!                                                                       lag ◄── gather ◄──┘
//! ```
//!
//! `core` is the state that all of these work on; `shard_engine` is the one type
//! that a shard drives.

mod admission;
mod backlog;
mod closing;
mod commands;
mod conn;
mod connection;
mod core;
mod deadlines;
mod directory;
mod disconnect;
mod entries;
mod flow;
mod flush;
mod gather;
mod handler;
mod heads;
mod hearing;
mod info;
mod kept;
mod lag;
mod latest;
mod limits;
mod mail;
mod members;
mod message;
mod opening;
mod publish;
mod pulse;
mod queue;
mod refusals;
mod room_log;
mod rooms;
mod shard_engine;
mod shed;
mod stats;
#[cfg(test)]
mod tests;
mod timers;
mod waiting;
mod windows;

pub use conn::{Conn, To};
pub use core::{Now, Order};
pub use disconnect::Disconnect;
pub use flush::Outlet;
pub use handler::{Fault, HandlerError, HandlerResult};
pub use info::ConnInfo;
pub use kept::Kept;
pub use limits::{Limits, SlowPolicy};
pub use message::Message;
pub use shard_engine::ShardEngine;
pub use stats::Stats;

pub(crate) use admission::subnet;
pub(crate) use core::Process;
pub(crate) use directory::Space;
pub(crate) use handler::App;
pub(crate) use info::Page;
pub(crate) use mail::{Adopted, JoinRequest, Joined, LeaveRequest, Letter, Mail, Origin, Parcel};
pub(crate) use opening::is_handshake;
pub(crate) use pulse::Pulse;
