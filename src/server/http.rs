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
    convert::Infallible,
    future::poll_fn,
    io,
    net::TcpStream,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
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
    gate::{Gate, GateSettings},
    hand_offs::{Bounds, HandedOff},
    places::{Places, lock},
    traffic::Traffic,
};
use crate::{
    driver::listen::DEFAULT_UNSENT_LOW_WATER_BYTES,
    engine::Limits,
    relay::RelayStatus,
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
        relay: Option<Arc<RelayStatus>>,
    ) -> Self {
        let settings = GateSettings {
            websocket_path: websocket_path.to_owned(),
            head_bytes: BUFFER_BYTES.max(limits.head_bytes),
            write_timeout: WRITE_TIMEOUT,
        };
        let places = Places::new(bounds.connections, bounds.share_of(bounds.connections));
        let (lives, ended) = mpsc::channel(1);
        Self {
            router: router(websocket_path, Asked { health, phase: phase.clone(), relay }),
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

    /// Serves a connection of which nothing was read. It may be one for WebSocket, and
    /// so may those be that its address has here: if there is no place for it, it goes
    /// to a shard, and nobody loses one.
    pub(super) fn serve_new(&self, socket: TcpStream) {
        // It fails only for descriptors that are none.
        let _ = socket.set_nonblocking(true);
        let new = HandedOff::new(socket, Vec::new(), self.ipv6_prefix_bits);
        let Some(new) = new else { return };
        let is_short = lock(&self.places).is_short_of(new.address);
        if !is_short {
            self.serve(new);
        } else if let Err(error) = self.handle.adopt(new.socket, new.read) {
            debug!(%error, "a connection could not be given to a shard");
        }
    }

    /// Serves one connection, if need be in the place of another.
    pub(super) fn serve(&self, handed_off: HandedOff) {
        let HandedOff { socket, read, address } = handed_off;
        let converted = SockRef::from(&socket)
            .set_tcp_notsent_lowat(UNSENT_BYTES)
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
                Some(gate) => hand_back(gate, &handle),
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
fn hand_back(gate: Gate<Socket>, handle: &Handle) -> io::Result<()> {
    let (socket, unread) = gate.into_parts();
    let socket = socket.into_std()?;
    SockRef::from(&socket).set_tcp_notsent_lowat(DEFAULT_UNSENT_LOW_WATER_BYTES)?;
    handle.adopt(socket, unread).map_err(io::Error::other)
}
