//! From node to node by Redis or Valkey: one server, the master that sentinels name, or a
//! cluster. Knows no shard.
//!
//! ```text
//! RedisRelay ── drives ─► Node (what is to be done) ─► RedisBroker (does it) ─► Link, one per server
//! ```
//!
//! # What a server is asked for
//!
//! Redis 6.2 or later, 7.0 in a cluster; RESP3. Everything of a node is under one prefix:
//! channels `prefix{partition}:KIND:NAME` with the kinds `c` (control), `e` (everyone),
//! `n` (one node), `r` (room), `u` (user), and keys with the kinds `m`, `s` and `o`
//! (history) and `x`, `p` and `k` (presence). An ACL user needs the prefix's keys and channels
//! and the commands `EVALSHA`, `SCRIPT`, `PUBLISH`, `SUBSCRIBE`, `UNSUBSCRIBE`, `PING`,
//! `HELLO`, those that the scripts call (hashes, streams, sorted sets, `PEXPIRE`, `TIME`,
//! `TYPE`, `DEL`, `GET`, `SET`); in a cluster `SPUBLISH`, `SSUBSCRIBE`, `SUNSUBSCRIBE` and
//! `CLUSTER SLOTS`. `INFO` and `ROLE`, if permitted, tell a server that is too old or
//! a replica.
//!
//! # Failure
//!
//! A link without any answer for a second is dead. A node that has lost one connects again
//! after 50 ms, then after twice as long up to one second, each time a random part of it.

mod broker;
mod context;
mod discovery;
mod link;
mod names;
mod pending;
mod relay;
mod scripts;
mod settings;
mod stream;
mod subscriptions;
mod tls;
mod url;

pub use self::{
    broker::RedisBroker,
    relay::RedisRelay,
    settings::{DEFAULT_PREFIX, RedisSettings, RedisSettingsError},
    url::{Address, Credentials, RedisUrl, RedisUrlError, Tls, Topology},
};
