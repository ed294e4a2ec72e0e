//! How much memory a shard keeps of what peers and handles sent, by what keeps it.
//! For who holds it against the bounds; the engine itself decides nothing by it.

use std::ops::AddAssign;

use super::shard_engine::ShardEngine;

/// Bytes that a shard, or all of them together, keep of what was sent to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// In rooms' logs: frames, entries, keys and what is reserved for more.
    pub logs: usize,
    /// In the connections' own queues, and in this turn's direct sends.
    pub queues: usize,
    /// Read of held connections and not looked at.
    pub parked: usize,
    /// Parts of messages and of request heads.
    pub partial: usize,
    /// Charged on the ways between shards and from handles: in mailboxes, and what
    /// members have not taken of it. Some of that lies in the logs too.
    pub underway: usize,
}

impl Kept {
    /// The sum.
    pub fn total(&self) -> usize {
        self.logs + self.queues + self.parked + self.partial + self.underway
    }
}

impl AddAssign for Kept {
    fn add_assign(&mut self, other: Self) {
        self.logs += other.logs;
        self.queues += other.queues;
        self.parked += other.parked;
        self.partial += other.partial;
        self.underway += other.underway;
    }
}

impl ShardEngine {
    /// What this shard keeps. Costs a walk over all connections and rooms.
    pub(crate) fn kept(&self) -> Kept {
        let core = &self.core;
        let mut kept = Kept {
            logs: core.rooms.kept_bytes(),
            queues: core.direct.len(),
            underway: core.windows.underway_bytes(),
            ..Kept::default()
        };
        for (_, connection) in &core.connections {
            kept.queues += connection.lag.as_ref().map_or(0, |lag| lag.bytes());
            kept.partial += connection.session.buffered_bytes();
            if let Some(extra) = &connection.extra {
                kept.partial += extra.head.capacity();
                kept.parked += extra.parked.as_ref().map_or(0, |parked| parked.kept_bytes());
            }
        }
        kept
    }

    /// How many connections are held.
    pub(crate) fn held(&self) -> usize {
        self.core.flow.held
    }
}
