//! The embedding API as a program uses it: engines in this process, with one
//! shard and with more, and real sockets.

mod addressing;
mod adoption;
mod bed;
mod encoding;
mod handle;
mod handlers;
mod health;
mod hooks;
mod limits;
mod order;
mod panics;
mod query;
mod shutdown;
#[path = "../support/ws.rs"]
mod ws;
