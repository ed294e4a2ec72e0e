//! What may be kept in memory, added up from the limits. Knows no messages but how
//! large the largest is.

use shardcast::{Limits, engine::Kept};

use crate::app::MANY;

/// The most bytes that a driver of the simulator lends at once.
const LENT_BYTES: usize = 64 << 10;

/// What a room's log, or a connection, may reserve beside what its bound counts: the
/// entries that an empty log keeps, a write buffer, a segment.
const RESERVED_BYTES: usize = 6 << 10;

/// The bounds of one world.
pub(crate) struct Bounds {
    limits: Limits,
    shards: usize,
    /// Bytes of the largest payload so far.
    pub(crate) largest: usize,
    /// The most that was kept at any time.
    pub(crate) most: Kept,
}

impl Bounds {
    pub(crate) fn new(limits: Limits, shards: usize) -> Self {
        Self { limits, shards, largest: 0, most: Kept::default() }
    }

    /// Holds what is kept against what may be, with so many connections so far and
    /// logs on each shard.
    pub(crate) fn check(&mut self, kept: Kept, connections: usize, rooms: usize) {
        let Limits { queue_bytes, room_share_bytes, handle_window_bytes, .. } = self.limits;
        let frame = self.largest + 300;
        let parcel = 2 * self.largest + 1200;
        // Whoever is held has gone beyond by what one call of a handler sent.
        let overshoot = connections * MANY as usize * parcel;
        let others = self.shards - 1;
        let ways = others * self.window();
        let underway = self.shards * (ways + handle_window_bytes + parcel) + others * overshoot;
        assert!(kept.underway <= underway, "{kept:?}: more than {underway} underway");
        let share = room_share_bytes.min(queue_bytes / 4);
        let of_rooms = rooms * (2 * queue_bytes + 2 * share + RESERVED_BYTES);
        // Whatever comes in lies in one room, and twice as much may be allocated.
        let coming = ways + handle_window_bytes + parcel + overshoot;
        let logs = self.shards * (of_rooms + 2 * coming);
        assert!(kept.logs <= logs, "{kept:?}: more than {logs} in logs");
        let queues = connections * (2 * queue_bytes + MANY as usize * frame + RESERVED_BYTES);
        assert!(kept.queues <= queues, "{kept:?}: more than {queues} in queues");
        let parked = connections * (LENT_BYTES + frame + 200);
        assert!(kept.parked <= parked, "{kept:?}: more than {parked} parked");
        let partial = connections * (2 * frame + 600);
        assert!(kept.partial <= partial, "{kept:?}: more than {partial} of messages");
        if kept.total() > self.most.total() {
            self.most = kept;
        }
    }

    /// The way from one shard to another.
    fn window(&self) -> usize {
        let least = Limits::MIN_WINDOW_BYTES.min(self.limits.window_bytes);
        (self.limits.window_bytes / (self.shards - 1).max(1)).max(least)
    }
}
