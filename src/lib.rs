//! shardcast: a thread-per-core WebSocket engine for Linux.

pub mod batch;
pub mod dialect;
pub mod driver;
pub mod engine;
pub mod id;
pub mod proto;
pub mod publication;
