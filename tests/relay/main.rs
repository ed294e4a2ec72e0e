//! The relay by Redis, with servers that the tests start themselves.

mod bad;
mod faults;
mod peer;
mod server;
mod single;
mod tls;
