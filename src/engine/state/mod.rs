//! What one shard keeps, each part with what it can do alone: connections (`arena`,
//! `connection`), rooms with their members (`rooms`) and logs (`room_log`, `entries`),
//! runs of frames from several of those (`merged`, `chunk`), what waits for a slow reader (`send_queue`, `frame_queue`, `segments`, `conflation`),
//! who is held (`hold_queue`), the windows to other shards (`windows`) and what is sent
//! to them (`outbound`), and timers (`timers`, `wheel`). `core` has them side by side.
//! Decides nothing.

pub(crate) mod arena;
pub(crate) mod awaited;
pub(crate) mod chunk;
pub(crate) mod conflation;
pub(crate) mod connection;
pub(crate) mod core;
pub(crate) mod direct_sends;
pub(crate) mod entries;
pub(crate) mod frame_queue;
pub(crate) mod framing;
pub(crate) mod heads;
pub(crate) mod hold_queue;
pub(crate) mod membership_changes;
pub(crate) mod merged;
pub(crate) mod outbound;
pub(crate) mod refusals;
pub(crate) mod room_log;
pub(crate) mod rooms;
mod segments;
pub(crate) mod send_queue;
pub(crate) mod timers;
pub(crate) mod waiting;
pub(crate) mod wheel;
pub(crate) mod windows;
