//! The HTTP plane: what is asked of the server's port that is no WebSocket
//! upgrade. Served on the control thread, on sockets that the shards hand over
//! with the bytes already read of them.

use std::{io::Write, net::TcpStream, pin::pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::HttpBody,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tracing::debug;

use super::rewind::Rewind;
use crate::{dialect::Dialect, shard::Handle};

/// Where the health is told.
pub(super) const HEALTH: &str = "/health";

/// The most HTTP connections at once. Checks of load balancers and scrapers of metrics
/// are dozens; each connection costs some 10 KiB.
pub(super) const CONNECTIONS: usize = 1024;

/// Sockets on their way from the shards to the control thread; more are closed.
/// As many as may be served.
const HAND_OFFS: usize = CONNECTIONS;

/// From the end of one response to the end of the next request's head: the time
/// for a head to come, and that for which an idle connection is kept. Above the
/// 10 s at which probes commonly come, so that they keep their connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// After this a connection is closed with its next response, and by force if
/// there is none: a peer that never reads must not hold its place forever.
const LIFETIME: Duration = Duration::from_mins(5);

/// How long the last response of a connection may take to leave.
const LAST_RESPONSE: Duration = Duration::from_secs(1);

/// Bytes of one connection's read buffer and so of a head: twice what a shard
/// takes for a head by default.
const BUFFER_BYTES: usize = 16 * 1024;

/// Bytes of a request's body. No request needs one; a small one is ignored, as
/// HTTP clients expect.
const BODY_BYTES: u64 = 1024;

/// How long the shards may take to be counted before they are called
/// unresponsive. A shard's turn takes milliseconds.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\n\
    too many HTTP connections\n";

/// How far the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    Draining,
    /// The shards have ended: only responses already begun are sent.
    Ended,
}

/// A socket that a shard handed over, and what was read of it.
pub(super) type HandedOff = (TcpStream, Vec<u8>);

/// The way from the shards to the plane. The sender never blocks a shard.
pub(super) fn hand_offs() -> (mpsc::Sender<HandedOff>, mpsc::Receiver<HandedOff>) {
    mpsc::channel(HAND_OFFS)
}

/// Serves HTTP connections as tasks of the current runtime.
pub(super) struct Plane {
    router: Router,
    places: Arc<Semaphore>,
    most: usize,
    phase: watch::Receiver<Phase>,
}

impl Plane {
    /// At most `most` connections at once; `websocket_path` is where a plain
    /// request is told to upgrade.
    pub(super) fn new(
        handle: Handle,
        websocket_path: &str,
        most: usize,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let mut router = Router::new()
            .route(HEALTH, get(health))
            .route(websocket_path, get(upgrade_required))
            .route(&format!("{websocket_path}/"), get(upgrade_required));
        for dialect in Dialect::ALL {
            let path = format!("{websocket_path}/{}", dialect.name());
            router = router.route(&path, get(upgrade_required));
        }
        let router = router
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(middleware::from_fn(bound_body))
            .with_state(Asked { handle, phase: phase.clone() });
        Self { router, places: Arc::new(Semaphore::new(most)), most, phase }
    }

    /// Serves one connection, or refuses it if there are too many.
    pub(super) fn serve(&self, (socket, read): HandedOff) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // It is a new socket with an empty buffer: this fits or never will.
            let _ = (&socket).write(BUSY);
            return;
        };
        let converted = socket.set_nonblocking(true).and_then(|()| socket.try_into());
        let socket: tokio::net::TcpStream = match converted {
            Ok(socket) => socket,
            Err(error) => {
                debug!(%error, "an HTTP connection could not be taken over");
                return;
            }
        };
        let io = TokioIo::new(Rewind::new(Bytes::from(read), socket));
        let service = TowerToHyperService::new(self.router.clone());
        let phase = self.phase.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(io, service, phase).await {
                debug!(%error, "an HTTP connection failed");
            }
            drop(place);
        });
    }

    /// Waits for the responses that are on their way.
    pub(super) async fn finish(self) {
        let _ = timeout(LAST_RESPONSE, self.places.acquire_many(self.most as u32)).await;
    }
}

type Io = TokioIo<Rewind<tokio::net::TcpStream>>;

/// Requests and responses on one connection, to its end.
async fn converse(
    io: Io,
    service: TowerToHyperService<Router>,
    mut phase: watch::Receiver<Phase>,
) -> hyper::Result<()> {
    let connection = http1::Builder::new()
        // A prober may close its side behind its request.
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    timeout(LAST_RESPONSE, connection).await.unwrap_or(Ok(()))
}

/// What the answers are made of.
#[derive(Clone)]
struct Asked {
    handle: Handle,
    phase: watch::Receiver<Phase>,
}

/// The fields and their order are the `pubsub` seed's.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    clients: u64,
    rooms: usize,
}

async fn health(State(Asked { handle, phase }): State<Asked>) -> Response {
    // Shards that have drained do not answer: they have no clients.
    let counted = timeout(HEALTH_TIMEOUT, handle.stats().into_future()).await;
    let clients = counted.as_ref().map_or(0, |answer| answer.map_or(0, |stats| stats.connections));
    let (code, status) = match (*phase.borrow(), counted) {
        (Phase::Serving, Ok(Ok(_))) => (StatusCode::OK, "healthy"),
        (Phase::Serving, _) => (StatusCode::SERVICE_UNAVAILABLE, "unresponsive"),
        (Phase::Draining | Phase::Ended, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    (code, Json(Health { status, clients, rooms: handle.room_count() })).into_response()
}

/// RFC 9110 section 15.5.22, and RFC 6455 section 4.4 for the version.
async fn upgrade_required() -> Response {
    let headers = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "upgrade"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ];
    (StatusCode::UPGRADE_REQUIRED, headers, "this path speaks WebSocket only\n").into_response()
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "there is nothing at this path\n").into_response()
}

/// The router adds `Allow`.
async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "this path answers GET only\n").into_response()
}

/// Refuses a request with a large body; one of unknown length is closed after
/// its response, because nobody reads it.
async fn bound_body(request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > BODY_BYTES {
        let close = [(header::CONNECTION, "close")];
        return (StatusCode::PAYLOAD_TOO_LARGE, close, "no request needs a large body\n")
            .into_response();
    }
    next.run(request).await
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
