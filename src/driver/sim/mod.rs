//! A driver without a kernel: in memory, seeded, and the same on every run. For
//! the tests of everything above the seam, here and in programs that embed the
//! engine. It never sleeps and knows no clock.
//!
//! ```
//! use shardcast::{
//!     batch::Slice,
//!     driver::{Driver, Event, sim::{Faults, SimNet}},
//!     id::ConnId,
//! };
//!
//! let net = SimNet::new(42, Faults::none());
//! let mut driver = net.driver();
//! let peer = net.connect(0);
//! net.write(peer, b"hello");
//!
//! let id = ConnId::new(0, 0, 1);
//! driver.wait(None).unwrap();
//! let Some(Event::Accepted { socket, .. }) = driver.next() else { panic!() };
//! driver.attach(id, socket).unwrap();
//! driver.wait(None).unwrap();
//! let Some(Event::Data(from, bytes)) = driver.next() else { panic!() };
//! assert_eq!((from, &*bytes), (id, &b"hello"[..]));
//!
//! let answer = bytes::Bytes::from_static(b"welcome");
//! driver.send(id, &[Slice::whole(&answer)]);
//! assert_eq!(net.take(peer), b"welcome");
//! ```

mod faults;
mod link;
mod net;
mod rng;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub use self::{
    faults::Faults,
    link::ServerEnd,
    net::{PeerId, SimNet, SimSocket},
    rng::Rng,
};
use super::{Detached, Driver, Event, Gone, Waker};
use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

/// The most bytes lent by one event.
const RECEIVE_BYTES: usize = 64 << 10;

/// The most events of one connection in one turn.
const EVENTS_PER_CONNECTION: u8 = 4;

/// The most accepts in one turn.
const ACCEPT_BATCH: usize = 64;

/// A [`Driver`] whose sockets are a [`SimNet`]'s. Made by [`SimNet::driver`].
#[derive(Debug)]
pub struct SimDriver {
    net: SimNet,
    number: usize,
    /// By slot.
    tenants: Vec<Option<Connection>>,
    /// Who has something to report in this turn.
    turn: VecDeque<Ready>,
    spurious_in_a_row: u8,
    woken: Arc<AtomicBool>,
    /// No data is lent.
    held: bool,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    id: ConnId,
    socket: SimSocket,
}

#[derive(Clone, Copy, Debug)]
enum Ready {
    Accept,
    Connection { id: ConnId, events_left: u8 },
}

/// An [`Event`] before it borrows the scratch buffer.
enum Step {
    Accepted(SimSocket, SocketAddr),
    Data(ConnId, usize),
    Sent(ConnId),
    Gone(ConnId, Gone),
}

impl SimNet {
    /// One more driver. The first is number 0; a shard's number and its driver's
    /// agree if they are made in the same order.
    pub fn driver(&self) -> SimDriver {
        let (number, woken) = self.add_station();
        SimDriver::new(self.clone(), number, woken)
    }
}

impl SimDriver {
    fn new(net: SimNet, number: usize, woken: Arc<AtomicBool>) -> Self {
        Self {
            net,
            number,
            tenants: Vec::new(),
            turn: VecDeque::new(),
            spurious_in_a_row: 0,
            woken,
            held: false,
            scratch: vec![0; RECEIVE_BYTES],
        }
    }

    /// Which of its world's drivers this is, counted from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    fn peer(&self, id: ConnId) -> Option<PeerId> {
        let connection = self.tenants.get(id.slot() as usize)?.as_ref()?;
        (connection.id == id).then(|| connection.socket.peer())
    }

    /// Whether this turn's wait pretends that nothing has happened.
    fn is_spurious(&mut self) -> bool {
        let mut world = self.net.lock();
        let percent = world.faults.spurious_wakes_percent;
        let spurious =
            self.spurious_in_a_row < Faults::SPURIOUS_IN_A_ROW && world.rng.chance(percent);
        self.spurious_in_a_row = if spurious { self.spurious_in_a_row + 1 } else { 0 };
        spurious
    }

    fn gather_accepts(&mut self) {
        let mut guard = self.net.lock();
        let world = &mut *guard;
        let waiting = world.stations[self.number].backlog.as_ref().map_or(0, VecDeque::len);
        let queued = self.turn.iter().filter(|ready| matches!(ready, Ready::Accept)).count();
        for _ in queued..waiting.min(ACCEPT_BATCH) {
            if world.rng.chance(world.faults.late_accepts_percent) {
                return;
            }
            self.turn.push_back(Ready::Accept);
        }
    }

    fn gather_connections(&mut self) {
        let mut world = self.net.lock();
        // Leftovers of the last turn are still in the list.
        self.turn.retain(|ready| matches!(ready, Ready::Accept));
        for connection in self.tenants.iter().flatten() {
            let (link, faults, rng) = world.link_and_luck(connection.socket.peer());
            link.pump(faults, rng);
            if link.has_news() {
                let events_left = EVENTS_PER_CONNECTION;
                self.turn.push_back(Ready::Connection { id: connection.id, events_left });
            }
        }
    }

    /// Takes the next in line, or under shuffling anyone.
    fn pick(&mut self) -> Option<Ready> {
        let mut world = self.net.lock();
        let percent = world.faults.shuffle_percent;
        if world.rng.chance(percent) {
            let index = world.rng.below(self.turn.len());
            return self.turn.swap_remove_front(index);
        }
        self.turn.pop_front()
    }

    fn step(&mut self) -> Option<Step> {
        while let Some(ready) = self.pick() {
            let step = match ready {
                Ready::Accept => self.accept(),
                Ready::Connection { id, events_left } => self.report(id, events_left),
            };
            if step.is_some() {
                return step;
            }
        }
        None
    }

    fn accept(&mut self) -> Option<Step> {
        let mut world = self.net.lock();
        let peer = world.stations[self.number].backlog.as_mut()?.pop_front()?;
        let link = world.link(peer);
        link.server = ServerEnd::Open;
        let address = link.address;
        Some(Step::Accepted(SimSocket::new(self.net.clone(), peer), address))
    }

    /// The next event of `id`; puts it back in line if there is another.
    fn report(&mut self, id: ConnId, events_left: u8) -> Option<Step> {
        let peer = self.peer(id)?;
        let mut world = self.net.lock();
        let (link, faults, rng) = world.link_and_luck(peer);
        if link.held && link.failed() {
            // What it had sent is not waited for.
            link.inbound.clear();
        }
        let step = if std::mem::take(&mut link.sent_due) {
            Step::Sent(id)
        } else if !link.has_news() || (self.held && !link.inbound.is_empty()) {
            return None;
        } else if !link.inbound.is_empty() {
            Step::Data(id, link.lend(&mut self.scratch, faults, rng))
        } else {
            let why = link.end?;
            link.gone_told = true;
            Step::Gone(id, why)
        };
        let events_left = events_left - 1;
        let later = rng.chance(faults.pieces_percent / 2);
        if link.has_news() && events_left > 0 && !later {
            self.turn.push_front(Ready::Connection { id, events_left });
        }
        Some(step)
    }

    /// Takes `id` out of the table; its events are stale from now on.
    fn evict(&mut self, id: ConnId) -> Option<SimSocket> {
        let connection =
            self.tenants.get_mut(id.slot() as usize)?.take_if(|connection| connection.id == id)?;
        let mut world = self.net.lock();
        world.stations[self.number].attached.retain(|&peer| peer != connection.socket.peer());
        world.link(connection.socket.peer()).change_hands();
        drop(world);
        Some(connection.socket)
    }
}

impl Driver for SimDriver {
    type Socket = SimSocket;

    fn attach(&mut self, id: ConnId, socket: SimSocket) -> io::Result<()> {
        let slot = id.slot() as usize;
        if self.tenants.len() <= slot {
            self.tenants.resize_with(slot + 1, || None);
        }
        debug_assert!(self.tenants[slot].is_none(), "the slot of {id:?} is in use");
        let mut world = self.net.lock();
        world.link(socket.peer()).change_hands();
        world.stations[self.number].attached.push(socket.peer());
        drop(world);
        self.tenants[slot] = Some(Connection { id, socket });
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.woken.store(false, Ordering::Release);
        self.net.lock().stations[self.number].asked = timeout;
        if !self.is_spurious() {
            self.gather_accepts();
            self.gather_connections();
        }
        self.net.lock().stations[self.number].untaken = !self.turn.is_empty();
        Ok(())
    }

    fn next(&mut self) -> Option<Event<'_, SimSocket>> {
        let step = self.step();
        self.net.lock().stations[self.number].untaken = !self.turn.is_empty();
        Some(match step? {
            Step::Accepted(socket, peer) => Event::Accepted { socket, peer },
            Step::Data(id, len) => Event::Data(id, &mut self.scratch[..len]),
            Step::Sent(id) => Event::Sent(id),
            Step::Gone(id, why) => Event::Gone(id, why),
        })
    }

    fn hold_data(&mut self, hold: bool) {
        self.held = hold;
    }

    fn hold(&mut self, id: ConnId, hold: bool) {
        let Some(peer) = self.peer(id) else { return };
        self.net.lock().link(peer).held = hold;
    }

    fn unsent_bytes(&mut self, id: ConnId) -> usize {
        self.peer(id).map_or(0, |peer| self.net.lock().link(peer).unsent_bytes())
    }

    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        let Some(peer) = self.peer(id) else { return Sending::Done };
        let mut world = self.net.lock();
        let (link, faults, rng) = world.link_and_luck(peer);
        link.send(batch, faults, rng)
    }

    fn shutdown(&mut self, id: ConnId) {
        let Some(peer) = self.peer(id) else { return };
        self.net.lock().link(peer).shut_down();
    }

    fn close(&mut self, id: ConnId) {
        drop(self.evict(id));
    }

    fn detach(&mut self, id: ConnId) -> Option<Detached<SimSocket>> {
        self.evict(id).map(|socket| Detached { socket, unread: Vec::new() })
    }

    fn has_unread(&mut self, id: ConnId) -> bool {
        let Some(peer) = self.peer(id) else { return false };
        !self.net.lock().link(peer).inbound.is_empty()
    }

    fn has_sent_all(&mut self) -> bool {
        true
    }

    fn stop_accepting(&mut self) {
        let mut world = self.net.lock();
        for peer in world.stations[self.number].backlog.take().into_iter().flatten() {
            world.link(peer).close();
        }
    }

    fn waker(&self) -> Waker {
        let woken = Arc::clone(&self.woken);
        Waker::new(move || woken.store(true, Ordering::Release))
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        self.stop_accepting();
        let ids = self.tenants.iter().flatten().map(|connection| connection.id).collect::<Vec<_>>();
        for id in ids {
            self.close(id);
        }
    }
}
