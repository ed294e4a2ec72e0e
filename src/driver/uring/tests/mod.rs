//! What is the ring's own; what every driver promises is tested in
//! `driver::contract`.

mod receiving;
mod sending;
mod slots;

use std::{
    collections::{HashMap, VecDeque},
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream as Peer},
    time::Instant,
};

use bytes::Bytes;
use socket2::SockRef;

use super::*;
use crate::driver::{Gone, listen::listen, sim::Rng};

/// The longest until something must have happened. Not a number of turns: those of a
/// driver that has something to do are over before the kernel has done its part.
const GUARD: Duration = Duration::from_secs(60);

/// Small, so that little fills a connection whose peer does not read.
const SOCKET_BUFFER_BYTES: usize = 16 << 10;

/// More than the buffers between the driver and a peer that does not read hold.
const STALLING_BYTES: usize = 1 << 20;

/// A driver, and what it has reported.
struct Bed {
    driver: UringDriver,
    address: SocketAddr,
    accepted: VecDeque<TcpStream>,
    data: HashMap<ConnId, Vec<u8>>,
    sent: HashMap<ConnId, usize>,
    gone: Vec<(ConnId, Gone)>,
}

impl Bed {
    fn new(settings: &UringSettings) -> Self {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 4096).unwrap().remove(0);
        SockRef::from(&listener).set_send_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            driver: UringDriver::new(Some(listener), settings).unwrap(),
            address,
            accepted: VecDeque::new(),
            data: HashMap::new(),
            sent: HashMap::new(),
            gone: Vec::new(),
        }
    }

    fn turn(&mut self) {
        self.driver.wait(Some(Duration::from_millis(1))).unwrap();
        while let Some(event) = self.driver.next() {
            match event {
                Event::Accepted { socket, .. } => self.accepted.push_back(socket),
                Event::Data(id, bytes) => self.data.entry(id).or_default().extend(&*bytes),
                Event::Sent(id) => *self.sent.entry(id).or_default() += 1,
                Event::Gone(id, why) => self.gone.push((id, why)),
            }
        }
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + GUARD;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: not after {GUARD:?}");
            self.turn();
        }
    }

    /// A connection that the driver knows as `id`. Its peer's end waits for nothing.
    fn connect(&mut self, id: ConnId) -> Peer {
        let peer = Peer::connect(self.address).unwrap();
        peer.set_nonblocking(true).unwrap();
        self.until("accept", |bed| !bed.accepted.is_empty());
        self.driver.attach(id, self.accepted.pop_front().unwrap()).unwrap();
        peer
    }

    fn connect_many(&mut self, count: u32) -> Vec<Peer> {
        (0..count).map(|slot| self.connect(id(slot))).collect()
    }

    fn data(&self, id: ConnId) -> &[u8] {
        self.data.get(&id).map_or(&[], Vec::as_slice)
    }

    fn send(&mut self, id: ConnId, bytes: &Bytes) -> Sending {
        self.driver.send(id, &[Slice::whole(bytes)])
    }

    /// Sends more than a peer that does not read takes, so that the rest is known
    /// to wait, but nobody for it. What was sent.
    fn fill(&mut self, id: ConnId) -> Bytes {
        let bytes = Bytes::from(pattern(STALLING_BYTES, id.slot()));
        assert_eq!(self.send(id, &bytes), Sending::Done);
        self.driver.submit_sends_of(id);
        bytes
    }
}

fn id(slot: u32) -> ConnId {
    ConnId::new(0, slot, 1)
}

/// Few buffers, all of them small.
fn scarce_buffers() -> UringSettings {
    UringSettings { receive_buffers: 2, receive_buffer_bytes: 64, ..UringSettings::default() }
}

/// A ring in which almost nothing has room.
fn scarce_entries() -> UringSettings {
    UringSettings { submission_entries: 2, ..UringSettings::default() }
}

/// Bytes of which no two stretches are alike, others for each `of`.
fn pattern(len: usize, of: u32) -> Vec<u8> {
    let mut rng = Rng::new(u64::from(of) << 32 | len as u64);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

/// Writes what the connection takes now.
fn write(peer: &mut Peer, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Ok(some @ 1..) = peer.write(&bytes[written..]) {
        written += some;
    }
    written
}

/// Reads what is there; whether the end was seen behind it.
fn read(peer: &mut Peer, into: &mut Vec<u8>) -> bool {
    match peer.read_to_end(into) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}
