//! Opening a port for several shards at once. Knows socket options; not who
//! accepts.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel may hold ready for one listener, by default. The
/// kernel lowers it to `net.core.somaxconn`.
pub const DEFAULT_BACKLOG: u32 = 4096;

/// Opens `shards` listeners on the same address, over which the kernel spreads
/// the connections (`SO_REUSEPORT`).
///
/// They are non-blocking, and `TCP_NODELAY` is set on them, which the accepted
/// sockets inherit. For port 0 the kernel chooses one free port for all.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if anyone listens there already, even one who
/// would share the port: two servers on one port by mistake would each get half
/// of the clients. [`io::ErrorKind::InvalidInput`] for no shards at all.
/// Otherwise those of the kernel.
///
/// ```
/// use shardcast::driver::listen::{DEFAULT_BACKLOG, listen};
/// let listeners = listen("127.0.0.1:0".parse().unwrap(), 2, DEFAULT_BACKLOG)?;
/// let ports = listeners.iter().map(|one| one.local_addr().unwrap().port());
/// assert_eq!(ports.clone().min(), ports.max());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn listen(addr: SocketAddr, shards: usize, backlog: u32) -> io::Result<Vec<TcpListener>> {
    if shards == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "at least one shard must listen"));
    }
    if addr.port() != 0 {
        // Without SO_REUSEPORT this bind meets every listener.
        socket(addr)?.bind(&addr.into())?;
    }
    let first = open(addr, backlog)?;
    let addr = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(open(addr, backlog)?);
    }
    Ok(listeners)
}

fn open(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last run's connections to fade away.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use socket2::SockRef;

    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_it_would_be_shared() {
        let others = listen(any_port(), 1, 16).unwrap();
        let error = listen(others[0].local_addr().unwrap(), 2, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn accepted_sockets_inherit_no_delay() {
        let listener = listen(any_port(), 1, 16).unwrap().remove(0);
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(SockRef::from(&accepted).tcp_nodelay().unwrap());
    }

    #[test]
    fn no_shards_is_an_error() {
        assert_eq!(listen(any_port(), 0, 16).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
