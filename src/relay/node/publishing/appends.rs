//! What is being appended to rooms with history: which the broker has not answered, and
//! which rooms wait because an answer says that it is not known whether it was done.

use std::{collections::BTreeMap, mem, sync::Arc};

use bytes::Bytes;

use super::super::{
    super::broker::{HistoryLimits, Operation},
    map::Map,
    settings::{NodeSettings, RETRY_MS},
};
use crate::{
    cluster::{Charge, Receipt},
    id::ClientId,
};

/// A publication for a room with history.
pub(in super::super) struct Append {
    pub(super) room: Arc<str>,
    pub(super) message: Bytes,
    pub(super) receipt: Option<Receipt>,
    /// How often it was given to the broker.
    pub(super) attempts: u32,
    limits: HistoryLimits,
    /// Marks the attempts as one.
    key: Box<str>,
}

/// One that the broker has.
pub(super) struct Sent {
    pub(super) append: Append,
    pub(super) order: u64,
    pub(super) at: u64,
    pub(super) charge: Charge,
}

pub(super) struct Appends {
    node: u64,
    window_ms: u64,
    keys: u64,
    /// By token, and so in order.
    sent: BTreeMap<u64, Sent>,
    /// How many of each room are in `sent`.
    rooms: Map<Arc<str>, usize>,
    /// Rooms in which nothing is appended before all in `sent` is answered and a time is
    /// over, so that the order stays.
    stalled: BTreeMap<Arc<str>, u64>,
}

impl Appends {
    pub(super) fn new(settings: &NodeSettings) -> Self {
        // A repeat that comes at the end of an outage is still known.
        let window_ms = settings.once_window_ms.max(settings.outage_age_ms.saturating_add(10_000));
        Self {
            node: ClientId::node_of(settings.node),
            window_ms,
            keys: 0,
            sent: BTreeMap::new(),
            rooms: Map::default(),
            stalled: BTreeMap::new(),
        }
    }

    /// Keys of clients and keys of nodes never meet.
    pub(super) fn append(
        &mut self,
        room: Arc<str>,
        message: Bytes,
        limits: HistoryLimits,
        once: Option<Box<str>>,
        receipt: Option<Receipt>,
    ) -> Append {
        self.keys += 1;
        let key = once
            .map_or_else(|| format!("n{:x}.{:x}", self.node, self.keys), |key| format!("c{key}"));
        Append { room, message, receipt, attempts: 0, limits, key: key.into() }
    }

    pub(super) fn send(
        &mut self,
        mut append: Append,
        token: u64,
        order: u64,
        at: u64,
        charge: Charge,
    ) -> Operation {
        append.attempts += 1;
        let operation = Operation::Append {
            room: append.room.clone(),
            message: append.message.clone(),
            limits: append.limits,
            once: Some((append.key.clone(), self.window_ms)),
            token,
        };
        *self.rooms.entry(append.room.clone()).or_default() += 1;
        self.sent.insert(token, Sent { append, order, at, charge });
        operation
    }

    pub(super) fn answered(&mut self, token: u64) -> Option<Sent> {
        let sent = self.sent.remove(&token)?;
        if let Some(count) = self.rooms.get_mut(&sent.append.room) {
            *count -= 1;
            if *count == 0 {
                self.rooms.remove(&sent.append.room);
            }
        }
        Some(sent)
    }

    /// Everything that is not answered, in order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Sent> + use<> {
        self.rooms.clear();
        mem::take(&mut self.sent).into_values()
    }

    pub(super) fn is_stalled(&self, room: &str) -> bool {
        self.stalled.contains_key(room)
    }

    pub(super) fn stall(&mut self, room: &Arc<str>, now: u64) {
        self.stalled.insert(room.clone(), now + RETRY_MS);
    }

    pub(super) fn forget_stalls(&mut self) {
        self.stalled.clear();
    }

    /// When a room has waited long enough.
    pub(super) fn next_tick(&self) -> u64 {
        self.stalled.values().min().copied().unwrap_or(u64::MAX)
    }

    /// Returns whether a room need not wait any longer.
    pub(super) fn end_stalls(&mut self, now: u64) -> bool {
        let before = self.stalled.len();
        self.stalled.retain(|room, at| *at > now || self.rooms.contains_key(room));
        self.stalled.len() < before
    }
}
