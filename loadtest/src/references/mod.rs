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
mod speech;
mod tokio_tungstenite;
mod tokio_uring;
mod upgrade;

use anyhow::{Context, Result, bail};
use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};

/// The hidden first argument by which this program becomes a reference server.
pub(crate) const REFERENCE: &str = "__reference";

/// The name of the one that does the least.
pub(crate) const LIMIT: &str = "limit";

/// All of them.
pub(crate) const NAMES: [&str; 4] = [LIMIT, "tokio-tungstenite", "fastwebsockets", "tokio-uring"];

/// The name of the loop that only accepts, reads, writes and closes. It takes part
/// in no comparison: it can do nothing else.
pub(crate) const BARE: &str = "bare";

/// Connections that wait to be accepted: more than are dialled at a time.
const BACKLOG: i32 = 4096;

/// Whether there is a reference server called `name`.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

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
    let listener = listen(options.listen)?;
    match options.name.as_str() {
        LIMIT => limit::serve(listener, options.size, options.broadcast_only),
        BARE => bare::serve(listener, options.subscribe),
        "tokio-tungstenite" => tokio_tungstenite::serve(listener, options.size),
        "fastwebsockets" => fastwebsockets::serve(listener),
        "tokio-uring" => tokio_uring::serve(listener),
        other => bail!("{other}: no such reference server"),
    }
}

/// Says where it listens, everything else being ready.
fn announce(listener: &TcpListener) -> Result<()> {
    println!("listening on {}", listener.local_addr()?);
    Ok(())
}

/// A listening socket that does not block.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into()).with_context(|| format!("cannot listen on {address}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
