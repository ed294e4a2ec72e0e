//! Who is present where, and until when. A key with several connections is one.

use std::{collections::BTreeMap, sync::Arc};

use crate::{cluster::Presence, id::ClientId};

/// The connections of one key.
type Clients = BTreeMap<ClientId, (Presence, u64)>;

#[derive(Default)]
pub(super) struct PresentRooms {
    rooms: BTreeMap<Arc<str>, BTreeMap<String, Clients>>,
}

impl PresentRooms {
    pub(super) fn enter(&mut self, room: &Arc<str>, who: Presence, until: u64) -> bool {
        let keys = self.rooms.entry(room.clone()).or_default();
        let clients = keys.entry(who.key()).or_default();
        let is_new = clients.is_empty();
        clients.insert(who.client, (who, until));
        is_new
    }

    pub(super) fn leave(&mut self, room: &str, key: &str, client: ClientId) -> bool {
        let Some(keys) = self.rooms.get_mut(room) else { return false };
        let Some(clients) = keys.get_mut(key) else { return false };
        let is_last = clients.remove(&client).is_some() && clients.is_empty();
        if clients.is_empty() {
            keys.remove(key);
        }
        if keys.is_empty() {
            self.rooms.remove(room);
        }
        is_last
    }

    pub(super) fn expire(&mut self, room: &str, now: u64) -> Vec<Presence> {
        let keys = self.rooms.get(room).into_iter().flatten();
        let all = keys.flat_map(|(_, clients)| clients.values());
        let over: Vec<Presence> =
            all.filter(|(_, until)| *until <= now).map(|(who, _)| who.clone()).collect();
        over.into_iter().filter(|who| self.leave(room, &who.key(), who.client)).collect()
    }

    pub(super) fn list(&self, room: &str, now: u64) -> Vec<Presence> {
        let keys = self.rooms.get(room).into_iter().flatten();
        let first = keys.filter_map(|(_, clients)| {
            clients.values().find(|(_, until)| *until > now).map(|(who, _)| who.clone())
        });
        first.collect()
    }

    pub(super) fn has(&self, room: &str, client: ClientId) -> bool {
        let keys = self.rooms.get(room).into_iter().flatten();
        keys.into_iter().any(|(_, clients)| clients.contains_key(&client))
    }
}
