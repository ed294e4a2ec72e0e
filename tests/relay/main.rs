//! The relay by Redis, with servers that the tests start themselves.

mod bad;
mod cluster;
mod faults;
mod load;
mod node;
mod nodes;
mod peer;
mod programs;
mod proxy;
mod sentinel;
mod server;
mod single;
#[path = "../support/mod.rs"]
mod support;
mod tls;
