//! The socket on which a reference server listens.

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, TcpListener};

/// Connections that wait to be accepted: more than are dialled at a time.
const BACKLOG: i32 = 4096;

/// Says where it listens, everything else being ready.
pub(super) fn announce(listener: &TcpListener) -> Result<()> {
    println!("listening on {}", listener.local_addr()?);
    Ok(())
}

/// A listening socket that does not block.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into()).with_context(|| format!("cannot listen on {address}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
