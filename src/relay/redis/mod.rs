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
//! after 50 ms, then after twice as long up to one second, of which a random part is left
//! out. Sentinels and the cluster are asked where partitions are at each attempt and every
//! few seconds, and whenever a server sends us elsewhere; the answer of more than half of
//! them counts. A node is up when every partition has a link to a server that can be
//! written to, and down, for all rooms, as soon as one has not.
//!
//! While a slot of a cluster moves, its server serves only what is whole on one side:
//! appends to its rooms wait for up to two seconds, and then in the node's outage buffer,
//! until the slot has moved. Nothing overtakes them. A failover can lose what the master had
//! confirmed and its replica had not: a history then goes on from what the replica has.

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
