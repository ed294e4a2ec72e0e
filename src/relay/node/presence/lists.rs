//! Questions of connections about who is present in a room. Those who ask while an answer
//! is under way share the next one.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

use super::super::{
    super::broker::Operation,
    outputs::Outputs,
    settings::{READ_MS, WAITING},
};
use crate::{
    cluster::{FromRelay, Presence},
    id::ConnId,
};

/// One room.
#[derive(Default)]
struct Listing {
    token: u64,
    since: u64,
    /// Whom the answer is for that is under way.
    asked: Vec<ConnId>,
    /// Who has come since it was asked for.
    next: Vec<ConnId>,
}

/// An answer, and whom it is for.
struct Ready {
    room: Arc<str>,
    conns: Vec<ConnId>,
    present: Option<Vec<Presence>>,
}

/// Who wants to know who is present.
#[derive(Default)]
pub(in super::super) struct Lists {
    is_up: bool,
    rooms: BTreeMap<Arc<str>, Listing>,
    tokens: BTreeMap<u64, Arc<str>>,
    ready: VecDeque<Ready>,
    /// Who is in any of these.
    waiting: usize,
}

impl Lists {
    pub(in super::super) fn list(
        &mut self,
        conn: ConnId,
        room: Arc<str>,
        now: u64,
        out: &mut Outputs,
    ) {
        if !self.is_up || self.waiting >= WAITING {
            return out.give(FromRelay::PresenceList { conn, room, present: None });
        }
        self.waiting += 1;
        let listing = self.rooms.entry(room.clone()).or_default();
        listing.next.push(conn);
        if listing.token == 0 {
            self.ask(&room, now, out);
        }
    }

    fn ask(&mut self, room: &Arc<str>, now: u64, out: &mut Outputs) {
        let Some(listing) = self.rooms.get_mut(room) else { return };
        if listing.next.is_empty() {
            self.rooms.remove(room);
            return;
        }
        listing.asked = mem::take(&mut listing.next);
        listing.token = out.token();
        listing.since = now;
        self.tokens.insert(listing.token, room.clone());
        out.operations.push(Operation::List { room: room.clone(), token: listing.token });
    }

    pub(in super::super) fn on_present(
        &mut self,
        token: u64,
        present: Option<Vec<Presence>>,
        now: u64,
        out: &mut Outputs,
    ) {
        let Some(room) = self.tokens.remove(&token) else { return };
        if let Some(listing) = self.rooms.get_mut(&room) {
            let conns = mem::take(&mut listing.asked);
            listing.token = 0;
            self.ready.push_back(Ready { room: room.clone(), conns, present });
            self.ask(&room, now, out);
        }
        self.serve(out);
    }

    /// Answers as far as the shards take it. Returns whether anything was answered.
    pub(in super::super) fn serve(&mut self, out: &mut Outputs) -> bool {
        let before = self.waiting;
        while let Some(ready) = self.ready.front_mut() {
            while let Some(conn) = ready.conns.pop() {
                if out.is_backlogged() {
                    ready.conns.push(conn);
                    return self.waiting < before;
                }
                self.waiting -= 1;
                let (room, present) = (ready.room.clone(), ready.present.clone());
                out.give(FromRelay::PresenceList { conn, room, present });
            }
            self.ready.pop_front();
        }
        self.waiting < before
    }

    pub(in super::super) fn on_up(&mut self) {
        self.is_up = true;
    }

    pub(in super::super) fn on_down(&mut self, out: &mut Outputs) {
        self.is_up = false;
        self.tokens.clear();
        for (room, listing) in mem::take(&mut self.rooms) {
            let conns = listing.asked.into_iter().chain(listing.next).collect();
            self.ready.push_back(Ready { room, conns, present: None });
        }
        self.serve(out);
    }

    /// Answers those who have waited too long.
    pub(in super::super) fn on_tick(&mut self, now: u64, out: &mut Outputs) {
        // Tokens ascend with time.
        while let Some((&token, room)) = self.tokens.first_key_value() {
            let since = self.rooms.get(room).map_or(0, |listing| listing.since);
            if since + READ_MS > now {
                break;
            }
            self.on_present(token, None, now, out);
        }
    }
}
