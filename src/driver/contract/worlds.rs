//! The worlds in which the contract is tried: how a peer acts on each driver.

use std::{
    fmt::Debug,
    io::{ErrorKind, Read, Write},
    marker::PhantomData,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::driver::{
    Driver,
    epoll::{EpollDriver, EpollSettings},
    listen::listen,
    sim::{Faults, PeerId, ServerEnd, SimDriver, SimNet},
    uring::{UringDriver, UringSettings},
};

/// Small, so that a batch of the tests fills a connection whose peer stalls.
const SOCKET_BUFFER_BYTES: usize = 16 << 10;

/// What is outside a driver. Nothing here waits: an act is begun, a look taken.
pub(super) trait World: Sized {
    type Driver: Driver;
    type Peer;
    /// Whether the driver says that it is done with a batch before it has offered
    /// it to the socket.
    const FINDS_OUT_LATE: bool;
    /// The most bytes of one connection that the driver has received and not lent.
    const UNLENT_BYTES: usize;

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
    const FINDS_OUT_LATE: bool = false;
    const UNLENT_BYTES: usize = 0;

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

/// Real sockets over the loopback, with a driver of the kernel behind them.
pub(super) struct Loopback<K>(SocketAddr, PhantomData<K>);

/// A driver of the kernel with some settings. All have small buffers.
pub(super) trait OfKernel {
    type Driver: Driver<Socket: Debug>;
    const FINDS_OUT_LATE: bool;
    const UNLENT_BYTES: usize;

    fn open(listener: TcpListener, accept_batch: usize) -> Self::Driver;
    /// How long a wait without limit would take now.
    fn longest_wait(driver: &Self::Driver) -> Option<Duration>;
}

pub(super) struct Epoll;

impl OfKernel for Epoll {
    type Driver = EpollDriver;
    const FINDS_OUT_LATE: bool = false;
    const UNLENT_BYTES: usize = 0;

    fn open(listener: TcpListener, accept_batch: usize) -> EpollDriver {
        let settings =
            EpollSettings { receive_buffer_bytes: 4096, accept_batch, ..EpollSettings::default() };
        EpollDriver::new(Some(listener), &settings).unwrap()
    }

    fn longest_wait(driver: &EpollDriver) -> Option<Duration> {
        driver.allowed_wait(None)
    }
}

/// Which `io_uring`: with how many entries and buffers, of how many bytes, whether
/// sends are silent, and whether the kernel is one that fills buffers incrementally
/// and limits receives.
pub(super) struct Of<
    const ENTRIES: u32,
    const BUFFERS: u16,
    const BYTES: u32,
    const SILENT: bool,
    const RECENT: bool,
>;

pub(super) type Uring = Of<1024, 4, 4096, true, true>;
/// Every send posts a completion.
pub(super) type UringAnswered = Of<1024, 4, 4096, false, true>;
/// Every receive takes a buffer of its own, and goes on until there is none.
pub(super) type UringWholeBuffers = Of<1024, 4, 4096, true, false>;
/// What an older kernel makes of it.
pub(super) type UringPlain = Of<1024, 4, 4096, false, false>;
/// Everything is always full.
pub(super) type UringTiny = Of<2, 1, 64, true, true>;
/// With the buffers that it has unless it is told otherwise.
pub(super) type UringAsShipped = Of<1024, 16, { 256 << 10 }, true, true>;

impl<const E: u32, const N: u16, const B: u32, const S: bool, const R: bool> OfKernel
    for Of<E, N, B, S, R>
{
    type Driver = UringDriver;
    const FINDS_OUT_LATE: bool = true;
    const UNLENT_BYTES: usize = if R {
        2 * if B < 64 << 10 { B as usize } else { 64 << 10 }
    } else {
        // What the kernel receives at once into buffers of a sixteenth of the size.
        32 * B as usize / 16
    };

    fn open(listener: TcpListener, accept_batch: usize) -> UringDriver {
        let settings = UringSettings {
            submission_entries: E,
            receive_buffers: N,
            receive_buffer_bytes: B,
            accept_batch,
            silent_sends: S,
            incremental_buffers: R,
            ..UringSettings::default()
        };
        UringDriver::new(Some(listener), &settings).unwrap()
    }

    fn longest_wait(driver: &UringDriver) -> Option<Duration> {
        driver.allowed_wait(None)
    }
}

/// A listener whose connections have small send buffers.
fn narrow_listener() -> (TcpListener, SocketAddr) {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 64).unwrap().remove(0);
    SockRef::from(&listener).set_send_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A driver whose connections have small send buffers, and its address.
pub(super) fn opened<K: OfKernel>(accept_batch: usize) -> (K::Driver, SocketAddr) {
    let (listener, address) = narrow_listener();
    (K::open(listener, accept_batch), address)
}

impl<K: OfKernel> World for Loopback<K> {
    type Driver = K::Driver;
    type Peer = TcpStream;
    const FINDS_OUT_LATE: bool = K::FINDS_OUT_LATE;
    const UNLENT_BYTES: usize = K::UNLENT_BYTES;

    fn open(_: u64) -> (Self, K::Driver) {
        let (listener, address) = narrow_listener();
        (Self(address, PhantomData), K::open(listener, 128))
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
