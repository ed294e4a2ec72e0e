//! The stand-alone server: the engine behind flags, signals, logs and a small
//! HTTP plane. The only place that knows of the process as a whole.
//!
//! ```text
//! arguments ── Settings::from_args ──► Settings ── run ──► shards     /ws
//!                                                     └──► control    signals, HTTP
//! ```

mod answers;
mod complaint;
mod descriptors;
mod error;
mod flags;
mod gate;
mod hand_offs;
mod http;
mod logs;
mod places;
mod relaying;
mod rules;
mod settings;
mod signals;
mod standby;
mod traffic;
mod units;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    thread,
};

use tokio::{
    sync::{oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, error, info, warn};

pub use error::ServerError;
pub use relaying::RelaySettings;
pub use settings::{Request, Settings};

use crate::{
    dialect::Dialect,
    engine::{Fault, Limits},
    relay::RelayStatus,
    shard::{Builder, DriverKind, Engine, RunError, Running, default_shards},
};
use answers::Phase;
use hand_offs::{Arrivals, Bounds, HandOffs, hand_offs};
use http::Plane;
use signals::Signals;
use standby::Standby;

/// Serves until SIGTERM or SIGINT and then drains; a second signal ends the
/// process at once, with code 143 or 130.
///
/// Connections in the `raw` dialect get each of their messages back.
///
/// Says on stdout where it listens. Logs to stderr, unless the program has a
/// `tracing` subscriber already. `housekeeping` is for the program's allocator: see
/// [`Builder::housekeeping`].
///
/// # Errors
/// See [`ServerError`].
#[expect(clippy::needless_pass_by_value, reason = "whoever serves owns the settings")]
pub fn run(settings: Settings, housekeeping: fn()) -> Result<(), ServerError> {
    let signals = Signals::catch().map_err(ServerError::Control)?;
    let descriptors = descriptors::raise()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ServerError::Control)?;
    let http = http_bounds(&settings.limits, descriptors);
    let (hand_offs, arrivals) = hand_offs(http);
    let shards = settings.shards.unwrap_or_else(default_shards);
    let limits = limits_that_fit(&settings.limits, descriptors::connections(descriptors, shards));
    let connections = limits.connections;
    let relay = settings.relay.relay()?;
    let relay_status = relay.as_ref().map(|relay| relay.status());
    let builder = builder(&settings, shards, limits, hand_offs).boxed_relay(relay);
    let builder = builder.housekeeping(housekeeping);
    let engine = builder.build().map_err(ServerError::Build)?;
    logs::start(settings.log.clone());
    log_start(&settings, &engine, descriptors, connections);
    let address = engine.local_addr();
    let listeners = engine.clone_listeners().map_err(ServerError::Control)?;
    let running = engine.start().map_err(ServerError::Run)?;
    announce(address, &settings);
    let standby = Standby::new(listeners, running.health_check()).map_err(ServerError::Control)?;
    runtime.block_on(control(running, &settings, (http, relay_status), signals, arrivals, standby))
}

/// What this host supports, one fact a line, and which driver
/// [`DriverKind::Auto`] would choose, and why.
pub fn probe() -> String {
    let choice = DriverKind::Auto.resolve();
    let facts = choice.probe_report().unwrap_or_default();
    format!("{facts}auto would choose: {}, because {}\n", choice.kind(), choice.why())
}

/// The limits with no more connections than `fit` into the descriptor limit. Of
/// those some are kept to tell who comes too many that the server is full, which
/// a connection that cannot be accepted would never learn.
fn limits_that_fit(wanted: &Limits, fit: usize) -> Limits {
    let refusals_at_once = wanted.refusals_at_once.min(fit / 8);
    let connections = wanted.connections.min(fit - refusals_at_once);
    Limits { connections, refusals_at_once, ..wanted.clone() }
}

fn http_bounds(limits: &Limits, descriptors: usize) -> Bounds {
    Bounds {
        connections: descriptors::http_connections(descriptors),
        hand_offs: descriptors::http_hand_offs(descriptors),
        per_address: limits.connections_per_address,
        ipv6_prefix_bits: limits.ipv6_prefix_bits,
    }
}

/// The engine with the hooks of a server that has no handlers of its own.
fn builder(settings: &Settings, shards: usize, limits: Limits, hand_offs: HandOffs) -> Builder {
    Engine::builder()
        .listen(&settings.listen)
        .shards(shards)
        .driver(settings.driver)
        .pin(settings.pin)
        .dialect(settings.dialect)
        .path(&settings.path)
        .limits(limits)
        .on_connect(|conn| {
            debug!(id = ?conn.id(), peer = %conn.peer(), "connected");
            Ok(())
        })
        .on_disconnect(|conn, why| debug!(id = ?conn.id(), ?why, "disconnected"))
        .on_error(|id, fault| match fault {
            Fault::Protocol { code, reason } => debug!(?id, code, reason, "protocol error"),
            Fault::Failed { what, error } => warn!(?id, what, %error, "a handler failed"),
            Fault::RoomHooksStopped => warn!(?id, "join and leave hooks went too far"),
            Fault::Panicked { what, message } => error!(?id, what, message, "a handler panicked"),
        })
        .on_text(|conn, text| {
            conn.send_text(text);
            Ok(())
        })
        .on_binary(|conn, bytes| {
            conn.send_binary(bytes);
            Ok(())
        })
        .hand_off_http_by_turn(move |requests| hand_offs.push(requests))
}

fn log_start(settings: &Settings, engine: &Engine, descriptors: usize, connections: usize) {
    info!(
        address = %engine.local_addr(),
        shards = engine.shards(),
        driver = engine.driver().name(),
        dialect = settings.dialect.name(),
        descriptors,
        "up to {connections} connections fit",
    );
    let wanted = settings.limits.connections;
    if wanted > connections && wanted != Limits::default().connections && wanted != usize::MAX {
        warn!("--max-connections {wanted} is more than fit; ulimit -n sets how many do");
    }
}

/// Says where the server listens, and what to try. Whoever closed stdout does
/// not want to know.
fn announce(address: SocketAddr, settings: &Settings) {
    let host = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => address.ip(),
    };
    let near = SocketAddr::new(host, address.port());
    let path = &settings.path;
    let then = match settings.dialect {
        Dialect::Pubsub => r#"then type: {"type":"subscribe","room":"chat"}"#,
        Dialect::Raw => "then type anything: it comes back",
    };
    let mut stdout = io::stdout().lock();
    let text = format!("listening on {address}\ntry: npx wscat -c ws://{near}{path}\n{then}\n");
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// What the control thread does while the shards serve, until they have ended.
async fn control(
    running: Running,
    settings: &Settings,
    (http, relay): (Bounds, Option<Arc<RelayStatus>>),
    signals: Signals,
    mut arrivals: Arrivals,
    standby: Standby,
) -> Result<(), ServerError> {
    let (handle, health) = (running.handle(), running.health_check());
    let mut ended = join(running).map_err(ServerError::Control)?;
    let (phase, phases) = watch::channel(Phase::Serving);
    let (path, limits) = (&settings.path, &settings.limits);
    let plane = Plane::new(handle.clone(), health, path, limits, http, phases, relay);
    let mut signal = pin!(signals.first().map_err(ServerError::Control)?);
    let mut standby = Some(standby);
    let mut looks = interval(standby::INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            result = &mut ended => break result,
            handed_off = arrivals.next() => handed_off.into_iter().for_each(|one| plane.serve(one)),
            _ = looks.tick() => if let Some(standby) = &standby {
                standby.accept(|socket| plane.serve_new(socket));
            },
            () = &mut signal, if *phase.borrow() == Phase::Serving => {
                info!("draining; a second signal ends at once");
                phase.send_replace(Phase::Draining);
                standby = None;
                handle.shutdown();
            }
        }
    };
    phase.send_replace(Phase::Ended);
    plane.finish().await;
    info!("ended");
    match result {
        Ok(result) => result.map_err(ServerError::Run),
        Err(_) => Err(ServerError::Control(io::Error::other("nobody waits for the shards"))),
    }
}

/// Waits for the shards on a thread of its own.
fn join(running: Running) -> io::Result<oneshot::Receiver<Result<(), RunError>>> {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        let _ = sender.send(running.join());
    };
    thread::Builder::new().name("join".to_owned()).spawn(wait)?;
    Ok(receiver)
}
