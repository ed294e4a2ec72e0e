//! shardcast: a WebSocket engine for Linux, one event loop per core.
//!
//! ```text
//!             clients
//!                │  SO_REUSEPORT: the kernel spreads connections over the shards
//!    ┌───────────┴───────────┐
//!  shard 0 (core 0)       shard 1 (core 1)  …     one thread, one event loop, one arena each
//!    driver  epoll|io_uring lends received bytes, takes batches to send
//!    proto   bytes → frames → messages             pure, no I/O
//!    dialect message ↔ command / event             pure, tables
//!    engine  connections, rooms, logs, timers      pure, the time is an argument
//!    └──── mailbox ◄──── publications, closes, queries ────► mailbox
//!                       ▲
//!             Handle: Clone + Send + Sync, any thread of the embedding program
//! ```
//!
//! How a message goes through these layers, file by file, and why they are as they
//! are, is described in `docs/design.md` of the repository.
//!
//! An [`Engine`] is built with handlers and run. A handler gets the connection as
//! a [`Conn`], by which it joins rooms and sends to rooms, users and connections;
//! any other thread does the same by a [`Handle`]. Handlers run on the shard of
//! their connection, borrow the message and must not block.
//!
//! ```no_run
//! use shardcast::{Data, Engine};
//!
//! let engine = Engine::builder()
//!     .listen("127.0.0.1:8080")
//!     .on_connect(|conn| conn.join("lobby"))
//!     .on("chat", |conn, msg| {
//!         conn.to("lobby").emit("chat", msg.data());
//!         Ok(())
//!     })
//!     .build()?;
//! let handle = engine.handle();
//! std::thread::spawn(move || handle.publish("lobby", "news", Data::text("hello")));
//! engine.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is published costs one append to the room's log, however many members it
//! has; at the end of a turn each member gets one send of all that it lacks.
//! Every bound is in [`Limits`], with its reason. A connection that reads too
//! slowly is closed, or loses messages by the rule of its [`SlowPolicy`]; one that
//! publishes faster than the members can take is not read for a while.
//!
//! Handlers can be tested without sockets, threads or waiting in a simulated
//! world whose network misbehaves by seed: [`sim::World`].
//!
//! # Features
//!
//! - `server` (default): the stand-alone server, [`server`], and its program. An
//!   embedding program takes `default-features = false` and compiles the engine alone.
//! - `mimalloc` (default), `jemalloc`: the allocator of the program, not of the library.
//! - `internals`: the layers below as public modules, for this package's own tests,
//!   benches and fuzz targets. Nothing in them is promised to stay.

pub mod cluster;
pub mod relay;
#[cfg(feature = "server")]
pub mod server;

// The layers. Tests, benches and fuzz targets see them by the feature `internals`;
// without it what only they use is no dead code.
#[cfg(feature = "internals")]
pub mod batch;
#[cfg(feature = "internals")]
pub mod dialect;
#[cfg(feature = "internals")]
pub mod driver;
#[cfg(feature = "internals")]
pub mod engine;
#[cfg(feature = "internals")]
pub mod id;
#[cfg(feature = "internals")]
pub mod proto;
#[cfg(feature = "internals")]
pub mod publication;
#[cfg(feature = "internals")]
pub mod shard;

#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod batch;
mod copy;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod dialect;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod driver;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod engine;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod id;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod proto;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod publication;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::trivially_copy_pass_by_ref)]
mod shard;

pub use dialect::{Dialect, MESSAGE_EVENT, Payload, Refusal};
pub use engine::{
    Conn, ConnInfo, Disconnect, Fault, HandlerError, HandlerResult, Limits, Message, SlowPolicy,
    Stats, To,
};
pub use id::{ClientId, ConnId, InvalidClientId};
pub use publication::{Audience, Data, Form, Position, Publication};
pub use shard::{
    BuildError, Builder, DriverChoice, DriverKind, Engine, Handle, Health, HealthCheck, JoinError,
    Query, QueryError, Reply, RoomInfo, RunError, Running, SendError, default_shards,
};

/// A simulated world for tests of handlers: shards without sockets, threads or clocks,
/// on a network that misbehaves by seed.
pub mod sim {
    pub use crate::{
        driver::sim::{Faults, PeerId, Rng, ServerEnd, SimNet},
        engine::Kept,
        shard::sim::{EPOCH_MS, World},
    };
}

/// The examples of the README and of the page about embedding, so that they cannot
/// go stale.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/embedding.md")]
struct Documents;
