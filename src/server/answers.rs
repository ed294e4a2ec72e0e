//! What is answered to plain HTTP requests, and the health of the server in
//! particular. Knows no connection.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::HttpBody,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::watch;

use crate::{dialect::Dialect, relay::RelayStatus, shard::HealthCheck};

/// Where the health is told.
pub(super) const HEALTH: &str = "/health";

/// Where it is told whether balancers should send clients here.
pub(super) const READY: &str = "/ready";

/// Bytes of a request's body. No request needs one; a small one is ignored, as
/// HTTP clients expect.
const BODY_BYTES: u64 = 1024;

/// How far the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    Draining,
    /// The shards have ended: only responses already begun are sent.
    Ended,
}

/// What the answers are made of.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) health: HealthCheck,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) relay: Option<Arc<RelayStatus>>,
}

/// All answers; `websocket_path` is where a plain request is told to upgrade.
pub(super) fn router(websocket_path: &str, asked: Asked) -> Router {
    let mut router = Router::new()
        .route(HEALTH, get(health))
        .route(READY, get(ready))
        .route(websocket_path, get(upgrade_required))
        .route(&format!("{websocket_path}/"), get(upgrade_required));
    for dialect in Dialect::ALL {
        let path = format!("{websocket_path}/{}", dialect.name());
        router = router.route(&path, get(upgrade_required));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(bound_body))
        .with_state(asked)
}

/// The first three fields and their order are the `pubsub` seed's.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    clients: u64,
    rooms: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether messages pass to and from the other nodes, and why not.
#[derive(Serialize)]
struct Ready {
    status: &'static str,
    reasons: Vec<String>,
    /// What the relay counts, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<BTreeMap<&'static str, u64>>,
}

async fn ready(State(Asked { health, phase, relay }): State<Asked>) -> Response {
    let mut reasons = relay.as_ref().map_or_else(Vec::new, |relay| relay.reasons());
    if *phase.borrow() != Phase::Serving {
        reasons.push("the server is draining".to_owned());
    }
    if let Some((shard, overdue)) = health.check().stalled {
        let seconds = overdue.as_secs_f64();
        reasons.push(format!("shard {shard} has not turned for {seconds:.1} s"));
    }
    let is_ready = reasons.is_empty();
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let status = if is_ready { "ready" } else { "not ready" };
    let relay = relay.map(|relay| relay.counters.all().into_iter().collect());
    (code, Json(Ready { status, reasons, relay })).into_response()
}

/// Answers without asking a shard: one that hangs would keep the answer back.
async fn health(State(Asked { health, phase, .. }): State<Asked>) -> Response {
    let seen = health.check();
    let (code, status, reason) = match (*phase.borrow(), seen.stalled) {
        (Phase::Draining | Phase::Ended, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining", None),
        (Phase::Serving, None) => (StatusCode::OK, "healthy", None),
        (Phase::Serving, Some((shard, overdue))) => {
            let seconds = overdue.as_secs_f64();
            let reason = format!("shard {shard} has not turned for {seconds:.1} s");
            (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", Some(reason))
        }
    };
    let (clients, rooms) = (seen.connections, seen.rooms);
    (code, Json(Health { status, clients, rooms, reason })).into_response()
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
