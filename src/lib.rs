//! shardcast: a thread-per-core WebSocket engine for Linux.

pub mod batch;
pub mod dialect;
pub mod driver;
pub mod engine;
pub mod id;
pub mod proto;
pub mod publication;
pub mod server;
pub mod shard;

pub use dialect::{Dialect, MESSAGE_EVENT, Payload};
pub use engine::{
    Conn, ConnInfo, Disconnect, Fault, HandlerError, HandlerResult, Limits, Message, SlowPolicy,
    Stats, To,
};
pub use id::{ClientId, ConnId};
pub use publication::{Data, Publication};
pub use shard::{
    BuildError, Builder, DriverKind, Engine, Handle, Query, QueryError, RoomInfo, RunError,
    Running, SendError,
};
