//! What a client meets on the wire, broken and foreign clients included: the program
//! is started with flags and spoken to over TCP, on every driver.

#[path = "../support/mod.rs"]
mod support;

mod closing;
mod command_line;
mod conversation;
mod drain;
mod frames;
mod full;
mod golden;
mod golden_format;
mod handshake;
mod health;
mod history;
mod hostile;
mod http;
mod interop;
mod keep_alive;
mod limits;
mod memory;
mod messages;
mod mistakes;
mod process;
mod pubsub;
mod refusal;
mod slow_readers;
mod timeouts;
