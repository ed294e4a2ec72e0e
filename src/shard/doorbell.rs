//! Waking a shard that sleeps, once per burst: the flag between those who put
//! mail into its mailbox and the shard that is about to wait.
//!
//! The shard announces its sleep *before* it looks into the mailbox for the last
//! time; a sender looks at the flag *after* it has put its mail in. With
//! sequentially consistent order at least one of the two sees the other, so no
//! mail is slept over. `tests/offline/doorbell_model.rs` checks that in every interleaving.

use super::sync::{AtomicBool, Ordering, fence};

/// Whether the shard sleeps or is about to.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// The shard: it will sleep unless it now finds mail.
    pub(crate) fn going_to_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The shard: it is awake, whoever woke it.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// A sender, after its mail is in the mailbox: whether it is the one that
    /// must wake the shard.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}
