//! A driver in its world: what the bodies of the contract do with it, and what it has
//! reported. Waits for conditions.

use std::time::Duration;

use bytes::Bytes;

use super::worlds::World;
use crate::{
    batch::{Sending, Slice},
    driver::{Driver, Event, Gone, sim::Rng},
    id::ConnId,
};

pub(super) const ID: ConnId = ConnId::new(0, 3, 1);
pub(super) const OTHER: ConnId = ConnId::new(0, 4, 1);

/// Bytes of which no two stretches are alike.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    let mut rng = Rng::new(len as u64);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

/// The most turns until something must have happened.
pub(super) const TURNS: usize = 10_000;

/// More than the buffers between a driver and a stalled peer hold.
pub(super) const STALLING_BYTES: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Data(Vec<u8>),
    Sent,
    Gone(Gone),
}

/// A driver in its world, and what it has reported.
pub(super) struct Bench<W: World> {
    pub(super) world: W,
    pub(super) driver: W::Driver,
    pub(super) seen: Vec<(ConnId, Seen)>,
    pub(super) accepted: Vec<<W::Driver as Driver>::Socket>,
}

impl<W: World> Bench<W> {
    pub(super) fn new(seed: u64) -> Self {
        let (world, driver) = W::open(seed);
        Self { world, driver, seen: Vec::new(), accepted: Vec::new() }
    }

    pub(super) fn turn(&mut self) {
        self.turn_of(Some(Duration::from_millis(1)));
    }

    pub(super) fn turn_of(&mut self, timeout: Option<Duration>) {
        self.driver.wait(timeout).unwrap();
        while let Some(event) = self.driver.next() {
            match event {
                Event::Accepted { socket, .. } => self.accepted.push(socket),
                Event::Data(id, bytes) => {
                    assert!(!bytes.is_empty());
                    self.seen.push((id, Seen::Data(bytes.to_vec())));
                }
                Event::Sent(id) => self.seen.push((id, Seen::Sent)),
                Event::Gone(id, why) => self.seen.push((id, Seen::Gone(why))),
            }
        }
    }

    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS {
            if holds(self) {
                return;
            }
            self.turn();
        }
        panic!("{what}: not after {TURNS} turns; seen {:?}", self.seen.len());
    }

    pub(super) fn connect(&mut self, id: ConnId) -> W::Peer {
        let peer = self.world.connect();
        self.until("accept", |bench| !bench.accepted.is_empty());
        self.driver.attach(id, self.accepted.remove(0)).unwrap();
        peer
    }

    /// Lets everything that is underway arrive: what a later connection has
    /// brought to its end, an earlier one will not begin.
    pub(super) fn settle(&mut self) {
        let fence = ConnId::new(0, 1000, self.seen.len() as u32);
        let mut peer = self.connect(fence);
        self.world.write(&mut peer, b"fence");
        self.until("settle", |bench| bench.data(fence) == b"fence" && bench.world.is_quiet());
        self.driver.close(fence);
    }

    /// Lets what `peer` wrote come as far as it can while data is held: what is
    /// sent to it later comes back to it, so that was there before.
    pub(super) fn settle_held(&mut self, peer: &mut W::Peer) {
        self.send(ID, &Bytes::from_static(b"echo"));
        assert_eq!(self.read_exactly(peer, 4), b"echo");
        for _ in 0..10 {
            self.turn();
        }
    }

    /// Writes all of `bytes`, however long the connection takes.
    pub(super) fn write_all(&mut self, peer: &mut W::Peer, mut bytes: &[u8]) {
        self.until("write", |bench| {
            bytes = &bytes[bench.world.write(peer, bytes)..];
            bytes.is_empty()
        });
    }

    /// Reads until `len` bytes are there.
    pub(super) fn read_exactly(&mut self, peer: &mut W::Peer, len: usize) -> Vec<u8> {
        let mut read = Vec::new();
        self.until("read", |bench| {
            read.extend(bench.world.read(peer).0);
            read.len() >= len
        });
        read
    }

    pub(super) fn data(&self, id: ConnId) -> Vec<u8> {
        let mut data = Vec::new();
        for (from, seen) in &self.seen {
            if let (true, Seen::Data(bytes)) = (*from == id, seen) {
                data.extend_from_slice(bytes);
            }
        }
        data
    }

    pub(super) fn count(&self, id: ConnId, what: &Seen) -> usize {
        self.seen.iter().filter(|(from, seen)| *from == id && seen == what).count()
    }

    pub(super) fn send(&mut self, id: ConnId, bytes: &Bytes) -> Sending {
        self.driver.send(id, &[Slice::whole(bytes)])
    }

    /// Sends more than `peer`, who does not read, can take; what was sent.
    pub(super) fn fill(&mut self, id: ConnId, peer: &mut W::Peer) -> Vec<u8> {
        let bytes = Bytes::from(pattern(STALLING_BYTES));
        self.fill_with(id, peer, &[Slice::whole(&bytes)])
    }

    /// The same with a batch that is more than the peer can take. A driver may find
    /// that out only when it is given the next.
    pub(super) fn fill_with(
        &mut self,
        id: ConnId,
        peer: &mut W::Peer,
        batch: &[Slice<'_>],
    ) -> Vec<u8> {
        self.world.stall(peer);
        let once = batch.iter().flat_map(Slice::as_slice).copied().collect::<Vec<_>>();
        if self.driver.send(id, batch) == Sending::Pending {
            return once;
        }
        assert_eq!(self.driver.send(id, batch), Sending::Pending);
        once.repeat(2)
    }

    /// How often, and why, `id` was reported gone.
    pub(super) fn gone(&self, id: ConnId) -> Vec<Gone> {
        let gone = self.seen.iter().filter(|(from, _)| *from == id);
        gone.filter_map(|(_, seen)| if let Seen::Gone(why) = seen { Some(*why) } else { None })
            .collect()
    }
}
