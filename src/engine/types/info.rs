//! What there is to know about a connection, as a value that can leave its shard.
//! Knows no shard's state.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde_json::Value;

use crate::{
    dialect::Dialect,
    id::{ClientId, ConnId},
};

/// A connection as it was when it was asked for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnInfo {
    /// Its identity within this process.
    pub id: ConnId,
    /// The identity by which clients know it.
    pub client_id: ClientId,
    /// The user on whose behalf it acts.
    pub user: Option<Box<str>>,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The wire format that it speaks.
    pub dialect: Dialect,
    /// When it was accepted, in milliseconds of Unix time.
    pub accepted_ms: u64,
    /// The rooms that it is in, in the order in which it joined them.
    pub rooms: Vec<Arc<str>>,
    /// What handlers remembered.
    pub metadata: BTreeMap<Box<str>, Value>,
}
