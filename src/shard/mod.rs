//! Shards: one thread, one event loop, one arena each. The only place where a
//! driver meets the engine, where there are threads, and where the time is read.
//!
//! `turn` is the loop's body, with `mail` and `standstill`; `mailbox`, `doorbell` and
//! `outbox` take mail from thread to thread; `builder` and `runtime` are what an
//! embedding program holds, with `parts`, `bind` and `start` behind them; `handle`,
//! `query`, `reply` and `health` how other threads reach the shards.

mod adopt;
mod bind;
mod builder;
mod clock;
mod doorbell;
mod driver_kind;
mod error;
mod handle;
mod health;
mod housekeeping;
mod mail;
mod mailbox;
mod outbox;
mod parts;
mod query;
mod relay;
mod reply;
mod runtime;
pub mod sim;
mod standstill;
mod start;
mod turn;

/// The atomics of the doorbell; its model test puts others in their place.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub use builder::{Builder, default_shards};
pub use clock::Clock;
pub use driver_kind::{DriverChoice, DriverKind};
pub use error::{BuildError, RunError, SendError};
pub use handle::{Handle, RoomInfo};
pub use health::{Health, HealthCheck};
#[cfg(feature = "server")]
pub(crate) use parts::PlainRequest;
pub use query::{Query, QueryError};
pub use reply::{JoinError, Reply};
pub use runtime::{Engine, Running};
