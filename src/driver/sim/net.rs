//! The simulated network as a test holds it: peers that connect, write, read,
//! stall and vanish. Knows of drivers only their number and what waits for each.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    faults::Faults,
    link::{INBOUND_BYTES, Link, ServerEnd},
    rng::Rng,
};
use crate::driver::Gone;

/// Names a peer of one [`SimNet`]. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u32);

/// The world outside the drivers: makes [drivers](super::SimDriver) and plays their peers.
///
/// Clones are handles to the same world. All of its chance comes from one seed:
/// the same calls in the same order have the same effect. Nothing happens by
/// itself; bytes reach the server when a driver's `wait` and `next` are called.
///
/// # Panics
/// Methods that name a driver panic if this world has made no driver of that
/// number, methods that name a peer if the peer is another world's.
#[derive(Clone, Debug)]
pub struct SimNet(Arc<Mutex<World>>);

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) stations: Vec<Station>,
    links: Vec<Link>,
}

/// What the world keeps for one driver.
#[derive(Debug, Default)]
pub(super) struct Station {
    /// Connected, not yet accepted; `None` once the driver stopped accepting.
    pub(super) backlog: Option<VecDeque<PeerId>>,
    /// Those that the driver watches.
    pub(super) attached: Vec<PeerId>,
    /// Events of the present turn wait to be taken.
    pub(super) untaken: bool,
    pub(super) woken: Arc<AtomicBool>,
    pub(super) asked: Option<Duration>,
}

impl SimNet {
    /// A world without drivers or peers, whose chance starts from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let rng = Rng::new(seed);
        Self(Arc::new(Mutex::new(World { rng, faults, stations: Vec::new(), links: Vec::new() })))
    }

    /// A place for one more driver: its number, and whether it was woken.
    pub(super) fn add_station(&self) -> (usize, Arc<AtomicBool>) {
        let mut world = self.lock();
        let number = world.stations.len();
        let backlog = Some(VecDeque::new());
        world.stations.push(Station { backlog, ..Station::default() });
        (number, Arc::clone(&world.stations[number].woken))
    }

    /// Changes the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// A new peer connects to driver `driver`, from an address that no other
    /// peer has. If that driver no longer accepts, the peer sees
    /// [`ServerEnd::Closed`].
    pub fn connect(&self, driver: usize) -> PeerId {
        let number = self.lock().links.len() as u32;
        let host = Ipv4Addr::from(0x0A00_0001 + (number & 0x00FF_FFFF));
        self.connect_from(driver, SocketAddr::from((host, 49_152)))
    }

    /// A new peer connects to driver `driver` from `address`.
    pub fn connect_from(&self, driver: usize, address: SocketAddr) -> PeerId {
        let mut world = self.lock();
        let peer = PeerId(world.links.len() as u32);
        let mut link = Link::new(address);
        match &mut world.stations[driver].backlog {
            Some(backlog) => backlog.push_back(peer),
            None => link.close(),
        }
        world.links.push(link);
        peer
    }

    /// The peer writes all of `bytes`. Lost if either end has already left.
    ///
    /// # Panics
    /// If more than 16 MiB would wait for the server; see [`SimNet::try_write`].
    pub fn write(&self, peer: PeerId, bytes: &[u8]) {
        let taken = self.try_write(peer, bytes);
        assert!(taken == bytes.len(), "more than {INBOUND_BYTES} bytes underway to the server");
    }

    /// The peer writes as many of `bytes` as its window allows (16 MiB underway)
    /// and learns how many those were.
    pub fn try_write(&self, peer: PeerId, bytes: &[u8]) -> usize {
        self.lock().link(peer).write(bytes)
    }

    /// Everything that has reached the peer since the last call, in order. A
    /// stalled peer's few bytes are among it.
    pub fn take(&self, peer: PeerId) -> Vec<u8> {
        self.lock().link(peer).take_received()
    }

    /// The peer closes its sending direction (FIN) behind what it has written.
    pub fn finish(&self, peer: PeerId) {
        self.lock().link(peer).finish();
    }

    /// The peer resets the connection (RST). What it wrote before arrives first,
    /// unless [`Faults::racing_resets_percent`] lets the reset overtake some.
    pub fn reset(&self, peer: PeerId) {
        let mut guard = self.lock();
        let world = &mut *guard;
        let link = &mut world.links[peer.0 as usize];
        let mut keep = link.inbound.len();
        if world.rng.chance(world.faults.racing_resets_percent) {
            keep = world.rng.below(keep + 1);
        }
        link.fail(Gone::Reset, keep);
    }

    /// The peer stops reading: from now on its window takes only a small number
    /// of bytes, drawn from 1 to 4096, before the driver's sends stay pending.
    pub fn stall(&self, peer: PeerId) {
        let mut guard = self.lock();
        let world = &mut *guard;
        world.links[peer.0 as usize].stall_anywhere(&mut world.rng);
    }

    /// As [`SimNet::stall`], with a window of exactly `window_bytes`.
    pub fn stall_after(&self, peer: PeerId, window_bytes: usize) {
        self.lock().link(peer).stall(window_bytes);
    }

    /// The peer reads again.
    pub fn resume(&self, peer: PeerId) {
        self.lock().link(peer).resume();
    }

    /// What the peer sees of the server's end.
    pub fn server_end(&self, peer: PeerId) -> ServerEnd {
        self.lock().link(peer).server
    }

    /// The peer's address.
    pub fn address(&self, peer: PeerId) -> SocketAddr {
        self.lock().link(peer).address
    }

    /// The timeout that driver `driver` was last asked to wait for: `None` for no
    /// limit, and before the first wait. A test moves its clock on by this.
    pub fn asked_timeout(&self, driver: usize) -> Option<Duration> {
        self.lock().stations[driver].asked
    }

    /// Whether no driver has anything to report or to move: further turns would
    /// change nothing until a peer acts or time passes. Sends that wait for a
    /// stalled peer and sockets that were accepted and not attached do not count.
    pub fn is_quiet(&self) -> bool {
        let world = self.lock();
        world.stations.iter().all(|station| {
            !station.untaken
                && !station.woken.load(Ordering::Acquire)
                && station.backlog.as_ref().is_none_or(VecDeque::is_empty)
                && station.attached.iter().all(|&peer| {
                    let link = &world.links[peer.0 as usize];
                    !link.has_news() && !link.can_move()
                })
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        // A panic elsewhere must not hide behind a second one here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    pub(super) fn link(&mut self, peer: PeerId) -> &mut Link {
        &mut self.links[peer.0 as usize]
    }

    /// The link of `peer` and what decides its fortunes.
    pub(super) fn link_and_luck(&mut self, peer: PeerId) -> (&mut Link, Faults, &mut Rng) {
        (&mut self.links[peer.0 as usize], self.faults, &mut self.rng)
    }
}

/// The server's end of a simulated connection. Dropping it closes it.
#[derive(Debug)]
pub struct SimSocket {
    net: SimNet,
    peer: PeerId,
}

impl SimSocket {
    pub(super) fn new(net: SimNet, peer: PeerId) -> Self {
        Self { net, peer }
    }

    /// The peer at the other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.net.lock().link(self.peer).close();
    }
}
