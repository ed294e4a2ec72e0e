//! The embedding API as a program uses it: engines in this process, with one
//! shard and with more, and real sockets; and the examples as programs.

mod addressing;
mod adoption;
mod bed;
mod cluster;
mod encoding;
mod endings;
mod examples;
mod handle;
mod handlers;
mod health;
mod hooks;
mod housekeeping;
mod limits;
mod order;
mod panics;
mod pinning;
mod query;
mod shutdown;
#[path = "../support/mod.rs"]
mod support;
