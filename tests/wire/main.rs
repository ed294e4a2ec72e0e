//! What a client meets on the wire, broken clients included: the program is
//! started with flags and spoken to over TCP, on every driver.

#[path = "../support/mod.rs"]
mod support;

mod closing;
mod command_line;
mod drain;
mod frames;
mod full;
mod handshake;
mod health;
mod hostile;
mod keep_alive;
mod limits;
mod messages;
mod pubsub;
mod refusal;
mod slow_readers;
mod timeouts;
