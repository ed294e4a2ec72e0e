//! What there is to know about a connection, as a value that can leave its shard.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde_json::Value;

use super::{connection::State, core::Core, directory::Space, shard_engine::ShardEngine};
use crate::{
    dialect::Dialect,
    id::{ClientId, ConnId},
};

/// A connection as it was when it was asked for.
#[derive(Clone, Debug, PartialEq)]
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

impl ConnInfo {
    /// `id` must be in the arena.
    pub(crate) fn of(core: &Core, id: ConnId) -> Self {
        let connection = &core.connections[id.slot() as usize];
        let extra = connection.extra.as_ref();
        Self {
            id,
            client_id: core.client_id(id),
            user: connection.user().map(Into::into),
            peer: connection.peer.address(),
            dialect: connection.dialect,
            accepted_ms: connection.accepted_ms,
            rooms: core.rooms_of(id.slot()).cloned().collect(),
            metadata: extra.map(|extra| extra.metadata.clone()).unwrap_or_default(),
        }
    }
}

impl ShardEngine {
    /// One connection, if it is open.
    pub(crate) fn info(&self, id: ConnId) -> Option<ConnInfo> {
        let connection = self.core.find(id)?;
        (connection.state == State::Open).then(|| ConnInfo::of(&self.core, id))
    }

    /// Every open connection.
    pub(crate) fn infos(&self) -> Vec<ConnInfo> {
        let open = self.core.connections.iter().filter(|(_, found)| found.state == State::Open);
        open.map(|(slot, _)| ConnInfo::of(&self.core, self.core.id_of(slot as u32))).collect()
    }

    /// The members of a room on this shard.
    pub(crate) fn members_of(&self, room: &str) -> Vec<ConnInfo> {
        let rooms = &self.core.rooms;
        let Some(room) = rooms.find(Space::Room, room) else { return Vec::new() };
        let channels = rooms.room(room).channels.iter();
        let members = channels.flat_map(|channel| &rooms.channel(*channel).members);
        members.map(|member| ConnInfo::of(&self.core, self.core.id_of(member.slot))).collect()
    }
}
