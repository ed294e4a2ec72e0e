//! What moves on one HTTP connection, for those who are not it: whoever serves it, and
//! whoever looks for a place.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use tokio::sync::Notify;

use super::places::Occupant;

/// What others may know of a gate, and ask of its connection.
#[derive(Debug)]
pub(super) struct Traffic {
    start: Instant,
    /// When bytes last went either way, in milliseconds since `start`.
    progress_ms: AtomicU64,
    at_upgrade: AtomicBool,
    /// The last write found no room.
    write_blocked: AtomicBool,
    evicted: Notify,
}

impl Traffic {
    /// `start` is the same for all that are compared.
    pub(super) fn new(start: Instant) -> Self {
        let traffic = Self {
            start,
            progress_ms: AtomicU64::new(0),
            at_upgrade: AtomicBool::new(false),
            write_blocked: AtomicBool::new(false),
            evicted: Notify::new(),
        };
        traffic.progress();
        traffic
    }

    /// Bytes went one way or the other.
    pub(super) fn progress(&self) {
        let now_ms = self.start.elapsed().as_millis() as u64;
        self.progress_ms.store(now_ms, Ordering::Relaxed);
    }

    /// The next request is an upgrade.
    pub(super) fn reach_upgrade(&self) {
        self.at_upgrade.store(true, Ordering::Relaxed);
    }

    /// Whether the last write found no room.
    pub(super) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.store(blocked, Ordering::Relaxed);
    }

    /// Whether the next request is an upgrade, and all answers before it have left.
    pub(super) fn is_at_upgrade(&self) -> bool {
        self.at_upgrade.load(Ordering::Relaxed) && !self.write_blocked.load(Ordering::Relaxed)
    }

    /// Someone else needs its place.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Waits until [`Traffic::evict`].
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Occupant for Traffic {
    fn last_progress(&self) -> u64 {
        self.progress_ms.load(Ordering::Relaxed)
    }
}
