//! Where the load goes: a loopback address, a path, and the source addresses to
//! come from.

use super::handshake::Handshake;
use crate::limits::CONNECTIONS_PER_SOURCE;
use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// The server's address and the path at which its WebSocket is served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    address: SocketAddr,
    path: String,
}

impl Target {
    /// Reads `ws://host:port/path`.
    ///
    /// # Errors
    /// For any other form, and for hosts beyond loopback: this tool must not be
    /// able to load another machine.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("ws://")
            .with_context(|| format!("{url}: only ws:// is spoken here"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let addresses = host.to_socket_addrs().with_context(|| format!("{host}: not HOST:PORT"))?;
        let Some(address) = addresses.into_iter().find(|at| at.ip().is_loopback()) else {
            bail!("{host}: the load goes only to loopback addresses");
        };
        let path = if path.is_empty() { "/" } else { path };
        ensure!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}: not a path");
        Ok(Self { address, path: path.to_owned() })
    }

    /// The target for messages without an envelope: `/ws` becomes `/ws/raw`,
    /// any other path is taken for an echo as it is.
    pub(crate) fn raw(&self) -> Self {
        let mut raw = self.clone();
        if raw.path == "/ws" {
            raw.path.push_str("/raw");
        }
        raw
    }

    /// The handshake for it.
    pub(super) fn handshake(&self) -> Handshake {
        Handshake::new(&self.address.to_string(), &self.path)
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts connection number `index`, without waiting for it, with a receive
    /// buffer of `socket_bytes` if that is given.
    pub(super) fn dial(
        &self,
        index: usize,
        socket_bytes: Option<usize>,
    ) -> std::io::Result<TcpStream> {
        let domain = Domain::for_address(self.address);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = socket_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if self.address.is_ipv4() {
            socket.bind(&SocketAddr::from((source(index), 0)).into())?;
        }
        match socket.connect(&self.address.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(error);
            }
            _ => {}
        }
        Ok(TcpStream::from_std(socket.into()))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ws://{}{}", self.address, self.path)
    }
}

/// The source address of connection `index`: 127.x.y.z, with x and y from the
/// process so that runs in a row do not meet each other's TIME-WAIT ports.
fn source(index: usize) -> IpAddr {
    let [low, middle, ..] = std::process::id().to_le_bytes();
    let block = index / CONNECTIONS_PER_SOURCE;
    Ipv4Addr::new(127, middle, low, 1 + (block % 254) as u8).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_a_target() {
        assert!(Target::parse("ws://127.0.0.1:8080/ws").is_ok());
        assert!(Target::parse("ws://[::1]:8080").is_ok());
        assert!(Target::parse("ws://192.0.2.1:8080/ws").is_err());
        assert!(Target::parse("wss://127.0.0.1:8080/ws").is_err());
        assert!(Target::parse("ws://127.0.0.1").is_err());
    }

    #[test]
    fn only_the_default_path_is_changed_for_raw_messages() {
        let target = |path: &str| Target::parse(&format!("ws://127.0.0.1:1{path}")).unwrap();
        assert_eq!(target("/ws").raw().path, "/ws/raw");
        assert_eq!(target("/echo").raw().path, "/echo");
    }
}
