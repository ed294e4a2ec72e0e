//! What there is to know about a connection, as a value that can leave its shard.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde_json::Value;

use super::{
    connection::{Connection, State},
    core::Core,
    directory::Space,
    limits::Limits,
    shard_engine::ShardEngine,
};
use crate::{
    dialect::Dialect,
    id::{ClientId, ConnId},
};

/// Some of the connections that were asked for, and the slot with which the next
/// page begins if there may be more.
pub(crate) type Page = (Vec<ConnInfo>, Option<u32>);

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

    /// The open connections from the slot `from` on, as many as one turn may
    /// describe. A connection keeps its slot, so one that is open from the first
    /// page to the last is on exactly one of them.
    pub(crate) fn infos(&self, from: u32) -> Page {
        self.page(from, |_| true)
    }

    /// The members of a room on this shard: all at once if they are few, else as
    /// [`ShardEngine::infos`].
    pub(crate) fn members_of(&self, room: &str, from: u32) -> Page {
        let rooms = &self.core.rooms;
        let Some(room) = rooms.find(Space::Room, room) else { return (Vec::new(), None) };
        let room = rooms.room(room);
        if from == 0 && room.members as usize <= Limits::INFOS_PER_TURN {
            let members = room.channels.iter().flat_map(|channel| &rooms.channel(*channel).members);
            let infos =
                members.map(|member| ConnInfo::of(&self.core, self.core.id_of(member.slot)));
            return (infos.collect(), None);
        }
        // By slot and not by the list of members, whose order changes with every
        // one that leaves.
        self.page(from, |connection| {
            let mut memberships = connection.memberships.iter();
            memberships.any(|membership| room.channels.contains(&membership.channel))
        })
    }

    fn page(&self, from: u32, is_wanted: impl Fn(&Connection) -> bool) -> Page {
        let connections = &self.core.connections;
        let end = connections.capacity();
        let stop = end.min(from as usize + Limits::SLOTS_PER_TURN);
        let mut infos = Vec::new();
        for slot in from as usize..stop {
            if infos.len() == Limits::INFOS_PER_TURN {
                return (infos, Some(slot as u32));
            }
            let open = connections.get(slot).filter(|found| found.state == State::Open);
            if open.is_some_and(&is_wanted) {
                infos.push(ConnInfo::of(&self.core, self.core.id_of(slot as u32)));
            }
        }
        (infos, (stop < end).then_some(stop as u32))
    }
}
