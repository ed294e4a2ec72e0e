//! The worlds in which the contract is tried: how a peer acts on each driver.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::driver::{
    Driver,
    epoll::{EpollDriver, EpollSettings},
    listen::listen,
    sim::{Faults, PeerId, ServerEnd, SimDriver, SimNet},
};

/// Small, so that a batch of the tests fills a connection whose peer stalls.
const SOCKET_BUFFER_BYTES: usize = 16 << 10;

/// What is outside a driver. Nothing here waits: an act is begun, a look taken.
pub(super) trait World: Sized {
    type Driver: Driver;
    type Peer;

    fn open(seed: u64) -> (Self, Self::Driver);
    fn connect(&self) -> Self::Peer;
    /// Writes what the connection takes now.
    fn write(&self, peer: &mut Self::Peer, bytes: &[u8]) -> usize;
    /// What has arrived, and whether the server's end of the stream was seen
    /// behind it.
    fn read(&self, peer: &mut Self::Peer) -> (Vec<u8>, bool);
    fn finish(&self, peer: &mut Self::Peer);
    fn reset(&self, peer: Self::Peer);
    fn stall(&self, peer: &mut Self::Peer);
    fn resume(&self, peer: &mut Self::Peer);
    /// Whether the world has nothing more to tell the driver, as far as it knows.
    fn is_quiet(&self) -> bool;
}

pub(super) struct Sim(SimNet);

impl World for Sim {
    type Driver = SimDriver;
    type Peer = PeerId;

    fn open(seed: u64) -> (Self, SimDriver) {
        let net = SimNet::new(seed, if seed == 0 { Faults::none() } else { Faults::all() });
        let driver = net.driver();
        (Self(net), driver)
    }

    fn connect(&self) -> PeerId {
        self.0.connect(0)
    }

    fn write(&self, peer: &mut PeerId, bytes: &[u8]) -> usize {
        self.0.try_write(*peer, bytes)
    }

    fn read(&self, peer: &mut PeerId) -> (Vec<u8>, bool) {
        let end = self.0.server_end(*peer);
        (self.0.take(*peer), matches!(end, ServerEnd::ShutDown | ServerEnd::Closed))
    }

    fn finish(&self, peer: &mut PeerId) {
        self.0.finish(*peer);
    }

    fn reset(&self, peer: PeerId) {
        self.0.reset(peer);
    }

    fn stall(&self, peer: &mut PeerId) {
        self.0.stall(*peer);
    }

    fn resume(&self, peer: &mut PeerId) {
        self.0.resume(*peer);
    }

    fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }
}

/// Real sockets over the loopback.
pub(super) struct Epoll(SocketAddr);

impl World for Epoll {
    type Driver = EpollDriver;
    type Peer = TcpStream;

    fn open(_: u64) -> (Self, EpollDriver) {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 64).unwrap().remove(0);
        SockRef::from(&listener).set_send_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
        let address = listener.local_addr().unwrap();
        let settings = EpollSettings { receive_buffer_bytes: 4096, ..EpollSettings::default() };
        (Self(address), EpollDriver::new(Some(listener), &settings).unwrap())
    }

    fn connect(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
        // Refused is as good as closed; a test sees it when it reads.
        let _ = socket.connect(&self.0.into());
        socket.set_nonblocking(true).unwrap();
        socket.into()
    }

    fn write(&self, peer: &mut TcpStream, bytes: &[u8]) -> usize {
        peer.write(bytes).unwrap_or(0)
    }

    fn read(&self, peer: &mut TcpStream) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let ended = match peer.read_to_end(&mut bytes) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        (bytes, ended)
    }

    fn finish(&self, peer: &mut TcpStream) {
        peer.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn reset(&self, peer: TcpStream) {
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    }

    // A peer of this world stalls by not reading.
    fn stall(&self, _: &mut TcpStream) {}

    fn resume(&self, _: &mut TcpStream) {}

    fn is_quiet(&self) -> bool {
        true
    }
}
