//! The HTTP plane: what is asked of the server's port that is no WebSocket
//! upgrade. Served on the control thread, on sockets that the shards hand over
//! with the bytes already read of them, and that go back to a shard when an upgrade
//! follows.
//!
//! ```text
//! shard ─► HandOffs ─► Places ─► Gate ─► hyper ─► answers
//!   ▲                             │
//!   └──────── Handle::adopt ◄─────┘ upgrade
//! ```

use std::{
    collections::HashMap,
    convert::Infallible,
    future::poll_fn,
    io::{self, Write},
    net::{IpAddr, TcpStream},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tracing::debug;

use super::{
    answers::{Asked, Phase, router},
    gate::{Gate, GateSettings, Traffic},
    places::{Places, share_of},
};
use crate::{
    engine::{Limits, subnet},
    shard::{Handle, HealthCheck},
};

/// The most HTTP connections at once. Checks of load balancers and scrapers of metrics
/// are dozens; each connection costs some 10 KiB.
pub(super) const CONNECTIONS: usize = 1024;

/// From the end of one response to the end of the next request's head: the time
/// for a head to come, and that for which an idle connection is kept. Above the
/// 10 s at which probes commonly come, so that they keep their connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a peer may take nothing of a response that waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// After this a connection is closed with its next response, and by force if
/// there is none: nobody holds a place forever.
const LIFETIME: Duration = Duration::from_mins(5);

/// How long the last response of a connection may take to leave.
const LAST_RESPONSE: Duration = Duration::from_secs(1);

/// Bytes of one connection's read buffer and so of a head, at the least: twice what
/// a shard takes for a head by default.
const BUFFER_BYTES: usize = 16 * 1024;

/// Bytes of responses that the kernel takes beyond what the peer does. A response is
/// some 200 bytes; by default a peer that never reads costs megabytes.
const UNSENT_BYTES: u32 = 16 * 1024;

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
    fn share_of(&self, most: usize) -> usize {
        share_of(most).min(self.per_address)
    }
}

/// A socket that a shard handed over, what was read of it, and whose it is.
pub(super) struct HandedOff {
    socket: TcpStream,
    read: Vec<u8>,
    address: IpAddr,
}

/// How many sockets of each address are on their way.
type Waiting = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// The way from the shards to the plane: one address cannot fill it.
#[derive(Clone)]
pub(super) struct HandOffs {
    sender: mpsc::Sender<HandedOff>,
    waiting: Waiting,
    bounds: Bounds,
}

/// Its end at the plane.
pub(super) struct Arrivals {
    receiver: mpsc::Receiver<HandedOff>,
    waiting: Waiting,
}

pub(super) fn hand_offs(bounds: Bounds) -> (HandOffs, Arrivals) {
    let (sender, receiver) = mpsc::channel(bounds.hand_offs);
    let waiting = Waiting::default();
    (HandOffs { sender, waiting: Arc::clone(&waiting), bounds }, Arrivals { receiver, waiting })
}

impl HandOffs {
    /// Hands a socket over, or refuses it: a shard cannot wait.
    pub(super) fn push(&self, socket: TcpStream, read: Vec<u8>) {
        // It fails only if the peer has left.
        let Ok(peer) = socket.peer_addr() else { return };
        let address = subnet(peer.ip(), self.bounds.ipv6_prefix_bits);
        let handed_off = HandedOff { socket, read, address };
        let mut waiting = lock(&self.waiting);
        let count = waiting.get(&address).copied().unwrap_or(0);
        if count >= self.bounds.share_of(self.bounds.hand_offs) {
            drop(waiting);
            handed_off.refuse();
            return;
        }
        match self.sender.try_send(handed_off) {
            Ok(()) => {
                waiting.insert(address, count + 1);
            }
            Err(mpsc::error::TrySendError::Full(back)) => back.refuse(),
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

impl HandedOff {
    fn refuse(self) {
        // It is a new socket with an empty buffer: this fits or never will.
        let _ = (&self.socket).write(BUSY);
    }
}

impl Arrivals {
    /// The next socket; `None` when the shards have ended.
    pub(super) async fn next(&mut self) -> Option<HandedOff> {
        let handed_off = self.receiver.recv().await?;
        let mut waiting = lock(&self.waiting);
        if let Some(count) = waiting.get_mut(&handed_off.address) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&handed_off.address);
            }
        }
        Some(handed_off)
    }
}

/// Serves HTTP connections as tasks of the current runtime.
pub(super) struct Plane {
    router: Router,
    handle: Handle,
    settings: Arc<GateSettings>,
    places: Arc<Mutex<Places<Traffic>>>,
    ipv6_prefix_bits: u8,
    start: Instant,
    phase: watch::Receiver<Phase>,
    /// A sender for each connection: when all are gone, so are those.
    lives: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

impl Plane {
    pub(super) fn new(
        handle: Handle,
        health: HealthCheck,
        websocket_path: &str,
        limits: &Limits,
        bounds: Bounds,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let settings = GateSettings {
            websocket_path: websocket_path.to_owned(),
            head_bytes: BUFFER_BYTES.max(limits.head_bytes),
            write_timeout: WRITE_TIMEOUT,
        };
        let places = Places::new(bounds.connections, bounds.share_of(bounds.connections));
        let (lives, ended) = mpsc::channel(1);
        Self {
            router: router(websocket_path, Asked { health, phase: phase.clone() }),
            handle,
            settings: Arc::new(settings),
            places: Arc::new(Mutex::new(places)),
            ipv6_prefix_bits: bounds.ipv6_prefix_bits,
            start: Instant::now(),
            phase,
            lives,
            ended,
        }
    }

    /// Serves a connection of which nothing was read.
    pub(super) fn serve_new(&self, socket: TcpStream) {
        // It fails only if the peer has left.
        if let Ok(peer) = socket.peer_addr() {
            let address = subnet(peer.ip(), self.ipv6_prefix_bits);
            self.serve(HandedOff { socket, read: Vec::new(), address });
        }
    }

    /// Serves one connection, if need be in the place of another.
    pub(super) fn serve(&self, handed_off: HandedOff) {
        let HandedOff { socket, read, address } = handed_off;
        let unsent_before = SockRef::from(&socket).tcp_notsent_lowat().unwrap_or(0);
        let converted = SockRef::from(&socket)
            .set_tcp_notsent_lowat(UNSENT_BYTES)
            .and_then(|()| socket.set_nonblocking(true))
            .and_then(|()| socket.try_into());
        let socket: tokio::net::TcpStream = match converted {
            Ok(socket) => socket,
            Err(error) => {
                debug!(%error, "an HTTP connection could not be taken over");
                return;
            }
        };
        let traffic = Arc::new(Traffic::new(self.start));
        let (number, evicted) = lock(&self.places).enter(address, Arc::clone(&traffic));
        if let Some(evicted) = evicted {
            evicted.evict();
        }
        let gate = Gate::new(socket, &read, Arc::clone(&self.settings), Arc::clone(&traffic));
        let service = TowerToHyperService::new(self.router.clone());
        let (phase, handle, life) = (self.phase.clone(), self.handle.clone(), self.lives.clone());
        let place = Place { number, places: Arc::clone(&self.places) };
        tokio::spawn(async move {
            let ended = converse(gate, service, traffic, phase).await;
            drop(place);
            let handed_back = ended.map_err(io::Error::other).and_then(|gate| match gate {
                Some(gate) => hand_back(gate, unsent_before, &handle),
                None => Ok(()),
            });
            if let Err(error) = handed_back {
                debug!(%error, "an HTTP connection failed");
            }
            drop(life);
        });
    }

    /// Waits for the responses that are on their way.
    pub(super) async fn finish(self) {
        let Self { lives, mut ended, .. } = self;
        drop(lives);
        let _ = timeout(LAST_RESPONSE, ended.recv()).await;
    }
}

/// A connection's place, free again when this goes.
struct Place {
    number: u64,
    places: Arc<Mutex<Places<Traffic>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places).leave(self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is whole between any two calls.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Socket = tokio::net::TcpStream;

/// Requests and responses on one connection, to its end, or to an upgrade: then the
/// gate comes back.
async fn converse(
    gate: Gate<Socket>,
    service: TowerToHyperService<Router>,
    traffic: Arc<Traffic>,
    mut phase: watch::Receiver<Phase>,
) -> hyper::Result<Option<Gate<Socket>>> {
    let buffer_bytes = gate.settings().head_bytes;
    let mut connection = http1::Builder::new()
        // A prober may close its side behind its request.
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(buffer_bytes)
        .serve_connection(TokioIo::new(gate), service);
    let upgrade_or_end = poll_fn(|context| match Pin::new(&mut connection).poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if traffic.is_at_upgrade() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    tokio::select! {
        ended = upgrade_or_end => match ended {
            Some(ended) => return ended.map(|()| None),
            None => return Ok(Some(connection.into_parts().io.into_inner())),
        },
        () = traffic.evicted() => return Ok(None),
        _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
        () = sleep(LIFETIME) => {}
    }
    let mut connection = pin!(connection);
    connection.as_mut().graceful_shutdown();
    timeout(LAST_RESPONSE, connection).await.unwrap_or(Ok(())).map(|()| None)
}

/// Gives a connection back to the shards, as it came: an upgrade is next on it.
fn hand_back(gate: Gate<Socket>, unsent_bytes: u32, handle: &Handle) -> io::Result<()> {
    let (socket, unread) = gate.into_parts();
    let socket = socket.into_std()?;
    SockRef::from(&socket).set_tcp_notsent_lowat(unsent_bytes)?;
    handle.adopt(socket, unread).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_fixed_response_is_true() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
