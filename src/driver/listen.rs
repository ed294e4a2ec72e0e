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

/// Bytes that a connection's socket may hold that are not underway yet
/// (`TCP_NOTSENT_LOWAT`), by default: 128 KiB.
///
/// Without it the kernel keeps 2.9 MiB for a peer that does not read, in its own
/// memory, which all sockets share; with it 150 KiB. What is underway is not
/// counted, so that a long way costs little: over a delay of 20 ms one reader gets
/// 0.97 of the throughput, and with a send buffer of 256 KiB instead a tenth. A
/// smaller bound saves little and wakes the sender more often.
pub const DEFAULT_UNSENT_LOW_WATER_BYTES: u32 = 128 << 10;

/// What listeners, and the sockets that they accept, are set to.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Connections that the kernel may hold ready for one listener. Default
    /// [`DEFAULT_BACKLOG`].
    pub backlog: u32,
    /// Bytes that a socket may hold that are not underway yet, at least 1. The
    /// kernel asks for more when half of them have gone, and may exceed it by one
    /// segment of 64 KiB. Default [`DEFAULT_UNSENT_LOW_WATER_BYTES`].
    pub unsent_low_water_bytes: u32,
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self { backlog: DEFAULT_BACKLOG, unsent_low_water_bytes: DEFAULT_UNSENT_LOW_WATER_BYTES }
    }
}

/// [`listen_with`] a backlog, and defaults for the rest.
///
/// # Errors
/// Those of [`listen_with`].
pub fn listen(addr: SocketAddr, shards: usize, backlog: u32) -> io::Result<Vec<TcpListener>> {
    listen_with(addr, shards, &ListenSettings { backlog, ..ListenSettings::default() })
}

/// Opens `shards` listeners on the same address, over which the kernel spreads
/// the connections (`SO_REUSEPORT`).
///
/// They are non-blocking, and `TCP_NODELAY` and `TCP_NOTSENT_LOWAT` are set on them,
/// which the accepted sockets inherit. For port 0 the kernel chooses one free port for all.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if anyone listens there already, even one who
/// would share the port: two servers on one port by mistake would each get half
/// of the clients. [`io::ErrorKind::InvalidInput`] for no shards at all.
/// Otherwise those of the kernel.
///
/// ```
/// use shardcast::driver::listen::{ListenSettings, listen_with};
/// let settings = ListenSettings::default();
/// let listeners = listen_with("127.0.0.1:0".parse().unwrap(), 2, &settings)?;
/// let ports = listeners.iter().map(|one| one.local_addr().unwrap().port());
/// assert_eq!(ports.clone().min(), ports.max());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn listen_with(
    addr: SocketAddr,
    shards: usize,
    settings: &ListenSettings,
) -> io::Result<Vec<TcpListener>> {
    if shards == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "at least one shard must listen"));
    }
    if addr.port() != 0 {
        // Without SO_REUSEPORT this bind meets every listener.
        socket(addr)?.bind(&addr.into())?;
    }
    let first = open(addr, settings)?;
    let addr = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(open(addr, settings)?);
    }
    Ok(listeners)
}

fn open(addr: SocketAddr, settings: &ListenSettings) -> io::Result<TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    // 0 would stand for the system's default, which is no bound.
    socket.set_tcp_notsent_lowat(settings.unsent_low_water_bytes.max(1))?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(settings.backlog).unwrap_or(i32::MAX))?;
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
    use std::{
        io::Write,
        net::{Ipv4Addr, TcpStream},
        os::fd::AsFd,
    };

    use socket2::SockRef;

    use super::*;
    use crate::driver::unsent::bytes_in_socket;

    fn any_port() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_it_would_be_shared() {
        let others = listen(any_port(), 1, 16).unwrap();
        let error = listen(others[0].local_addr().unwrap(), 2, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// Both ends of a connection.
    fn connection(settings: &ListenSettings) -> (TcpStream, TcpStream) {
        let listener = listen_with(any_port(), 1, settings).unwrap().remove(0);
        listener.set_nonblocking(false).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    #[test]
    fn accepted_sockets_inherit_what_is_set() {
        let settings = ListenSettings { unsent_low_water_bytes: 98_765, ..Default::default() };
        let (accepted, _client) = connection(&settings);
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), 98_765);
    }

    #[test]
    fn the_kernel_keeps_little_for_a_peer_that_does_not_read() {
        let (mut accepted, mut client) = connection(&ListenSettings::default());
        accepted.set_nonblocking(true).unwrap();
        let bytes = vec![7; 64 << 10];
        let (mut sent, mut refused) = (0, 0);
        // What the peer's window takes leaves in the course of time.
        while refused < 1000 {
            match accepted.write(&bytes) {
                Ok(taken) => sent += taken,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    refused += 1;
                }
            }
        }
        let kept = bytes_in_socket(accepted.as_fd());
        assert!((1..=2 * DEFAULT_UNSENT_LOW_WATER_BYTES as usize).contains(&kept), "{kept}");
        drop(accepted);
        assert_eq!(io::copy(&mut client, &mut io::sink()).unwrap(), sent as u64);
    }

    #[test]
    fn no_shards_is_an_error() {
        assert_eq!(listen(any_port(), 0, 16).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
