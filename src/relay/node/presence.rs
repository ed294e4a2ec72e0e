//! Who of this node is present in rooms whose presence is kept: entered, refreshed, and
//! entered again after the broker was away. Knows nobody of other nodes.
//!
//! The connections of a user are one: the first of them is entered, and another one when
//! that has gone.

mod lists;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    super::broker::Operation,
    outputs::Outputs,
    settings::{PRESENCE_MS, WAITING},
};
use crate::{cluster::Presence, id::ClientId};

pub(super) use self::lists::Lists;

/// One room.
#[derive(Default)]
struct PresentRoom {
    /// By key; none is empty.
    keys: BTreeMap<String, Vec<Presence>>,
    /// The key of each connection.
    clients: BTreeMap<ClientId, String>,
    is_watched: bool,
    refresh_at: u64,
}

/// Who of this node is present.
pub(super) struct Presences {
    is_up: bool,
    /// Spreads the refreshes of nodes.
    offset_ms: u64,
    rooms: BTreeMap<Arc<str>, PresentRoom>,
    /// When each room is refreshed.
    schedule: BTreeSet<(u64, Arc<str>)>,
    /// Who has left lately: told again if the broker was away meanwhile.
    left: VecDeque<(u64, Arc<str>, Presence)>,
}

fn enter(room: &Arc<str>, who: &Presence) -> Operation {
    Operation::Enter { room: room.clone(), who: who.clone(), ttl_ms: PRESENCE_MS }
}

fn leave(room: &Arc<str>, who: &Presence) -> Operation {
    Operation::Leave { room: room.clone(), who: who.clone() }
}

impl Presences {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            is_up: false,
            offset_ms: seed % 500,
            rooms: BTreeMap::new(),
            schedule: BTreeSet::new(),
            left: VecDeque::new(),
        }
    }

    fn room(&mut self, room: &Arc<str>, now: u64) -> &mut PresentRoom {
        let schedule = &mut self.schedule;
        let refresh_at = now + PRESENCE_MS / 3 - self.offset_ms;
        self.rooms.entry(room.clone()).or_insert_with(|| {
            schedule.insert((refresh_at, room.clone()));
            PresentRoom { refresh_at, ..PresentRoom::default() }
        })
    }

    fn forget_empty(&mut self, room: &Arc<str>) {
        let Some(found) = self.rooms.get(room) else { return };
        if found.keys.is_empty() && !found.is_watched {
            self.schedule.remove(&(found.refresh_at, room.clone()));
            self.rooms.remove(room);
        }
    }

    /// Members of the room on this node are told of changes: those whose time is over are
    /// to be removed.
    pub(super) fn watch(&mut self, room: &Arc<str>, is_watched: bool, now: u64) {
        self.room(room, now).is_watched = is_watched;
        self.forget_empty(room);
    }

    pub(super) fn present(&mut self, room: &Arc<str>, who: Presence, now: u64, out: &mut Outputs) {
        self.absent(room, who.client, now, out);
        let is_up = self.is_up;
        let found = self.room(room, now);
        let key = who.key();
        found.clients.insert(who.client, key.clone());
        let clients = found.keys.entry(key).or_default();
        if clients.is_empty() && is_up {
            out.operations.push(enter(room, &who));
        }
        clients.push(who);
    }

    pub(super) fn absent(
        &mut self,
        room: &Arc<str>,
        client: ClientId,
        now: u64,
        out: &mut Outputs,
    ) {
        let Some(found) = self.rooms.get_mut(room) else { return };
        let Some(key) = found.clients.remove(&client) else { return };
        let Some(clients) = found.keys.get_mut(&key) else { return };
        let Some(index) = clients.iter().position(|who| who.client == client) else { return };
        let who = clients.remove(index);
        let next = clients.first().cloned();
        if next.is_none() {
            found.keys.remove(&key);
        }
        if index == 0 {
            if self.is_up {
                out.operations.extend(next.map(|next| enter(room, &next)));
                out.operations.push(leave(room, &who));
            }
            self.left.push_back((now, room.clone(), who));
            if self.left.len() > WAITING {
                self.left.pop_front();
            }
        }
        self.forget_empty(room);
    }

    /// The broker is there, and may have forgotten everything, or removed everybody.
    pub(super) fn on_up(&mut self, now: u64, out: &mut Outputs) {
        self.is_up = true;
        for (room, found) in &self.rooms {
            let firsts = found.keys.values().filter_map(|clients| clients.first());
            out.operations.extend(firsts.map(|who| enter(room, who)));
        }
        for (_, room, who) in &self.left {
            let key = who.key();
            let first = self.rooms.get(room).and_then(|found| found.keys.get(&key)?.first());
            if first.is_none_or(|first| first.client != who.client) {
                out.operations.push(leave(room, who));
            }
        }
        self.forget_left(now);
    }

    pub(super) fn on_down(&mut self) {
        self.is_up = false;
    }

    fn forget_left(&mut self, now: u64) {
        // Whoever left longer ago has been removed by time.
        while self.left.front().is_some_and(|(at, ..)| at + PRESENCE_MS < now) {
            self.left.pop_front();
        }
    }

    /// When something is to be done.
    pub(super) fn next_tick(&self) -> u64 {
        self.schedule.first().map_or(u64::MAX, |(at, _)| *at)
    }

    /// Lets time pass: refreshes, and has those removed whose time is over.
    pub(super) fn on_tick(&mut self, now: u64, out: &mut Outputs) {
        self.forget_left(now);
        while self.schedule.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, room)) = self.schedule.pop_first() else { return };
            let Some(found) = self.rooms.get_mut(&room) else { continue };
            found.refresh_at = now + PRESENCE_MS / 3;
            if self.is_up {
                let firsts = found.keys.values().filter_map(|clients| clients.first());
                out.operations.extend(firsts.map(|who| enter(&room, who)));
                out.operations.push(Operation::Expire { room: room.clone() });
            }
            self.schedule.insert((found.refresh_at, room));
        }
    }
}
