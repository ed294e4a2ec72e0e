//! The relay's mailbox: one lock-free channel for all shards and handles, one wake per
//! burst. Knows no bound of its own but that of the handles: what connections send is
//! bounded by their shards' windows.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender};
use event_listener::Event;

use crate::{
    cluster::{RoomRules, RoomTraits, ToRelay},
    engine::RelayPort,
    relay::Outgoing,
    shard::doorbell::Doorbell,
};

/// The sending end.
pub(crate) struct RelaySender {
    sender: Sender<ToRelay>,
    doorbell: Doorbell,
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Something was put in since the last ring.
    is_unrung: AtomicBool,
    /// The shards on which somebody waits for credit, one bit each.
    credit_wanted: AtomicU64,
    /// One of them was added since this was last looked at.
    is_credit_asked: AtomicBool,
    /// Nothing more comes.
    has_ended: AtomicBool,
    /// Nobody takes anything any more.
    is_closed: AtomicBool,
    /// What handles may have on its way, and have, in bytes.
    handle_limit: usize,
    handle_bytes: AtomicUsize,
    handle_credit: Event,
    rules: RoomRules,
}

/// The receiving end.
pub(in crate::shard) struct RelayMailbox {
    sender: Arc<RelaySender>,
    receiver: Receiver<ToRelay>,
    before_taking: Box<dyn Fn() + Send>,
}

/// A mailbox. All handles together may have `handle_limit` bytes on their way to it.
pub(in crate::shard) fn relay_mailbox(handle_limit: usize, rules: RoomRules) -> RelayMailbox {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let sender = Arc::new(RelaySender {
        sender,
        doorbell: Doorbell::new(),
        waker: OnceLock::new(),
        is_unrung: AtomicBool::new(false),
        credit_wanted: AtomicU64::new(0),
        is_credit_asked: AtomicBool::new(false),
        has_ended: AtomicBool::new(false),
        is_closed: AtomicBool::new(false),
        handle_limit,
        handle_bytes: AtomicUsize::new(0),
        handle_credit: Event::new(),
        rules,
    });
    RelayMailbox { sender, receiver, before_taking: Box::new(|| ()) }
}

impl RelaySender {
    /// The shards have ended: nothing more comes.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// The shards on which somebody waits for credit, one bit each.
    pub(super) fn credit_wanted(&self) -> u64 {
        self.is_credit_asked.store(false, Ordering::SeqCst);
        self.credit_wanted.load(Ordering::SeqCst)
    }

    /// That shard is told what there is. It asks again if somebody still waits.
    pub(super) fn is_told(&self, shard: usize) {
        self.credit_wanted.fetch_and(!(1 << shard), Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.doorbell.must_wake()
            && let Some(wake) = self.waker.get()
        {
            wake();
        }
    }
}

impl RelayPort for RelaySender {
    fn put(&self, what: ToRelay) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        // The channel has no bound; without a receiver nobody wants it.
        let _ = self.sender.send(what);
        self.is_unrung.store(true, Ordering::Release);
    }

    fn ring(&self) {
        if self.is_unrung.load(Ordering::Relaxed) && self.is_unrung.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn request_credit(&self, shard: u8) {
        self.credit_wanted.fetch_or(1 << shard, Ordering::SeqCst);
        self.is_credit_asked.store(true, Ordering::SeqCst);
        self.is_unrung.store(true, Ordering::Release);
    }

    fn reserve(&self, bytes: u32) -> bool {
        let fits = |used: usize| (used < self.handle_limit).then_some(used + bytes as usize);
        self.handle_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn unreserve(&self, bytes: u32) {
        self.handle_bytes.fetch_sub(bytes as usize, Ordering::AcqRel);
        self.handle_credit.notify(usize::MAX);
    }

    fn wait_for_credit(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let is_full = || {
            self.handle_bytes.load(Ordering::Acquire) >= self.handle_limit
                && !self.is_closed.load(Ordering::Acquire)
        };
        if !is_full() {
            return None;
        }
        let credit = self.handle_credit.listen();
        is_full().then(|| Box::pin(credit) as Pin<Box<dyn Future<Output = ()> + Send>>)
    }

    fn traits_of(&self, room: &str) -> RoomTraits {
        (self.rules)(room)
    }
}

impl RelayMailbox {
    pub(in crate::shard) fn sender(&self) -> Arc<RelaySender> {
        Arc::clone(&self.sender)
    }

    /// Has `act` called whenever the relay takes more, or is about to wait.
    pub(super) fn before_taking(mut self, act: impl Fn() + Send + 'static) -> Self {
        self.before_taking = Box::new(act);
        self
    }
}

impl Outgoing for RelayMailbox {
    fn set_waker(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        // A second one would be the same relay's.
        let _ = self.sender.waker.set(wake);
    }

    fn take(&mut self, to: &mut Vec<ToRelay>, most: usize) -> bool {
        (self.before_taking)();
        let has_ended = self.sender.has_ended.load(Ordering::SeqCst);
        let before = to.len();
        to.extend(self.receiver.try_iter().take(most));
        has_ended && to.len() == before
    }

    fn may_sleep(&mut self) -> bool {
        (self.before_taking)();
        self.sender.doorbell.going_to_sleep();
        self.receiver.is_empty()
            && !self.sender.has_ended.load(Ordering::SeqCst)
            && !self.sender.is_credit_asked.load(Ordering::SeqCst)
    }

    fn awake(&mut self) {
        self.sender.doorbell.awake();
    }
}

impl Drop for RelayMailbox {
    fn drop(&mut self) {
        self.sender.is_closed.store(true, Ordering::SeqCst);
        self.receiver.try_iter().for_each(drop);
        self.sender.handle_credit.notify(usize::MAX);
    }
}

impl std::fmt::Debug for RelaySender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelaySender").finish_non_exhaustive()
    }
}
