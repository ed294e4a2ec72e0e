//! The way from the shards to where HTTP is served. A shard never waits here, and one
//! address cannot fill it.

use std::{
    collections::HashMap,
    io::Write,
    net::{IpAddr, TcpStream},
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::places::{lock, share_of};
use crate::{engine::subnet, shard::PlainRequest};

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\n\
    too many HTTP connections\n";

/// How many HTTP connections there may be, and of whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Served at once.
    pub(super) connections: usize,
    /// On their way from the shards.
    pub(super) hand_offs: usize,
    /// Of one address; see [`Limits::connections_per_address`].
    pub(super) per_address: usize,
    /// See [`Limits::ipv6_prefix_bits`].
    pub(super) ipv6_prefix_bits: u8,
}

impl Bounds {
    /// Of so many places, those that one address may have.
    pub(super) fn share_of(&self, most: usize) -> usize {
        share_of(most).min(self.per_address)
    }
}

/// A socket that a shard handed over, what was read of it, and whose it is.
pub(super) struct HandedOff {
    pub(super) socket: TcpStream,
    pub(super) read: Vec<u8>,
    pub(super) address: IpAddr,
}

/// The way from the shards to the plane: one address cannot fill it.
#[derive(Clone)]
pub(super) struct HandOffs(Arc<Way>);

/// Its end at the plane.
pub(super) struct Arrivals(Arc<Way>);

struct Way {
    bounds: Bounds,
    underway: Mutex<Underway>,
    arrived: Notify,
}

#[derive(Default)]
struct Underway {
    sockets: Vec<HandedOff>,
    by_address: HashMap<IpAddr, usize>,
}

pub(super) fn hand_offs(bounds: Bounds) -> (HandOffs, Arrivals) {
    let (underway, arrived) = (Mutex::default(), Notify::new());
    let way = Arc::new(Way { bounds, underway, arrived });
    (HandOffs(Arc::clone(&way)), Arrivals(way))
}

impl HandOffs {
    /// Hands the sockets of one turn over, or refuses them: a shard cannot wait. The
    /// plane is woken once.
    pub(super) fn push(&self, requests: Vec<PlainRequest>) {
        let Bounds { hand_offs, ipv6_prefix_bits, .. } = self.0.bounds;
        let share = self.0.bounds.share_of(hand_offs);
        let with_addresses = requests
            .into_iter()
            .filter_map(|request| HandedOff::new(request.socket, request.read, ipv6_prefix_bits));
        // The kernel is asked for the addresses before the plane is kept waiting.
        let with_addresses: Vec<_> = with_addresses.collect();
        let mut refused = Vec::new();
        let mut underway = lock(&self.0.underway);
        for handed_off in with_addresses {
            let is_full = underway.sockets.len() >= hand_offs;
            let count = underway.by_address.get(&handed_off.address).copied().unwrap_or(0);
            if is_full || count >= share {
                refused.push(handed_off);
            } else {
                underway.by_address.insert(handed_off.address, count + 1);
                underway.sockets.push(handed_off);
            }
        }
        drop(underway);
        self.0.arrived.notify_one();
        refused.into_iter().for_each(HandedOff::refuse);
    }
}

impl HandedOff {
    /// `None` if the peer has left.
    pub(super) fn new(socket: TcpStream, read: Vec<u8>, ipv6_prefix_bits: u8) -> Option<Self> {
        let peer = socket.peer_addr().ok()?;
        Some(Self { socket, read, address: subnet(peer.ip(), ipv6_prefix_bits) })
    }

    fn refuse(self) {
        // It is a new socket with an empty buffer: this fits or never will.
        let _ = (&self.socket).write(BUSY);
    }
}

impl Arrivals {
    /// Waits for sockets; gives all that are on their way.
    pub(super) async fn next(&mut self) -> Vec<HandedOff> {
        loop {
            self.0.arrived.notified().await;
            let underway = std::mem::take(&mut *lock(&self.0.underway));
            if !underway.sockets.is_empty() {
                return underway.sockets;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::TcpListener,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, Wake, Waker},
    };

    use super::*;

    const BOUNDS: Bounds =
        Bounds { connections: 100, hand_offs: 8, per_address: 5, ipv6_prefix_bits: 64 };

    /// A client that sent nothing, and the request that a shard made of it.
    fn request(listener: &TcpListener) -> (TcpStream, PlainRequest) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        (client, PlainRequest { socket, read: Vec::new() })
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_sockets_of_a_turn_wake_the_plane_once_and_one_address_has_its_share() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (shard, mut plane) = hand_offs(BOUNDS);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let mut next = pin!(plane.next());
        assert!(next.as_mut().poll(&mut context).is_pending());
        let (mut clients, requests): (Vec<_>, Vec<_>) = (0..5).map(|_| request(&listener)).unzip();
        shard.push(requests);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let Poll::Ready(arrived) = next.as_mut().poll(&mut context) else { panic!("it waits") };
        assert_eq!(arrived.len(), BOUNDS.share_of(8));
        let mut answer = String::new();
        clients.pop().unwrap().read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }

    #[test]
    fn the_length_of_the_fixed_response_is_true() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
