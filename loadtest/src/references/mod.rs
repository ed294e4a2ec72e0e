//! The servers that shardcast is compared to, each in one thread of a process
//! of its own: what well-known libraries do with their documented settings, and
//! `limit`, below which no server can go that makes the same system calls.
//!
//! Each echoes raw messages on paths that end in `/raw` and speaks as much of
//! the `pubsub` dialect on others as the scenarios need: one room per
//! connection, no errors. They are built and run as hidden roles of this
//! program, so that a comparison needs no other.

mod bare;
mod fastwebsockets;
mod frames;
mod hub;
mod limit;
mod listener;
mod names;
mod speech;
mod tokio_tungstenite;
mod tokio_uring;
mod upgrade;

pub(crate) use names::{BARE, LIMIT, NAMES, REFERENCE, is_known};

use anyhow::{Result, bail};
use clap::Parser;
use std::ffi::OsString;
use std::net::SocketAddr;

/// What a reference server is told.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadtest __reference")]
struct Options {
    /// Which one
    name: String,

    #[arg(long)]
    listen: SocketAddr,

    /// Bytes of each message: what `limit` goes by instead of parsing, and what
    /// decides on a library's buffers
    #[arg(long, default_value_t = 0)]
    size: usize,

    /// All messages but raw ones are broadcasts: `limit` need not look
    #[arg(long)]
    broadcast_only: bool,

    /// Each client is greeted and subscribes to one room (bare)
    #[arg(long)]
    subscribe: bool,
}

/// Is the reference server that `arguments` name, for ever.
pub(crate) fn serve(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let options = Options::parse_from([OsString::from(REFERENCE)].into_iter().chain(arguments));
    let listener = listener::listen(options.listen)?;
    match options.name.as_str() {
        LIMIT => limit::serve(listener, options.size, options.broadcast_only),
        BARE => bare::serve(listener, options.subscribe),
        "tokio-tungstenite" => tokio_tungstenite::serve(listener, options.size),
        "fastwebsockets" => fastwebsockets::serve(listener),
        "tokio-uring" => tokio_uring::serve(listener),
        other => bail!("{other}: no such reference server"),
    }
}
