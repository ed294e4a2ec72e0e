//! The doorbell in every interleaving that the memory model allows: no mail is
//! slept over, and a burst wakes once.
//!
//! The mailbox of this model orders nothing: a mail is a relaxed store, a look is
//! a relaxed load. A real channel orders more (crossbeam's `is_empty` loads with
//! `SeqCst`), and the doorbell must not need it. What is left are its two fences,
//! so the model must fail without either of them. It is tried with each fence
//! weakened to `AcqRel` and with each left out: loom finds a mail that is slept
//! over in all four cases.

#[path = "../../src/shard/doorbell.rs"]
#[allow(dead_code, reason = "the same source as in the crate, under another memory model")]
mod doorbell;

/// What the doorbell's source imports as its parent's `sync`.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

    /// The fence, unless the test weakens it for the thread that calls it.
    pub(crate) fn fence(ordering: Ordering) {
        assert_eq!(ordering, Ordering::SeqCst);
        match super::weakness() {
            None => loom::sync::atomic::fence(ordering),
            Some(super::Weakness::AcqRel) => loom::sync::atomic::fence(Ordering::AcqRel),
            Some(super::Weakness::Missing) => {}
        }
    }
}

use std::cell::Cell;

use doorbell::Doorbell;
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Which of the two fences a thread comes upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Shard,
    Sender,
}

/// What a fence is replaced by.
#[derive(Clone, Copy, Debug)]
enum Weakness {
    AcqRel,
    Missing,
}

thread_local! {
    /// What the running test weakens. A model runs on the thread of its test.
    static WEAKENED: Cell<Option<(Side, Weakness)>> = const { Cell::new(None) };
}

loom::thread_local! {
    /// Senders are the threads of a model that are spawned.
    static SIDE: Cell<Side> = Cell::new(Side::Shard);
}

/// How the fence of the calling thread is weakened.
fn weakness() -> Option<Weakness> {
    let (side, weakness) = WEAKENED.get()?;
    (SIDE.with(Cell::get) == side).then_some(weakness)
}

/// A mailbox without its shard: each sender has a place for one mail, wakes are
/// counted.
struct Box {
    mails: [AtomicBool; 2],
    bell: Doorbell,
    wakes: AtomicUsize,
}

impl Box {
    fn new() -> Arc<Self> {
        let mails = [AtomicBool::new(false), AtomicBool::new(false)];
        Arc::new(Self { mails, bell: Doorbell::new(), wakes: AtomicUsize::new(0) })
    }

    fn send(&self, sender: usize) {
        self.mails[sender].store(true, Ordering::Relaxed);
        if self.bell.must_wake() {
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts a thread that sends one mail.
    fn spawn_sender(mailbox: &Arc<Self>, sender: usize) -> thread::JoinHandle<()> {
        let mailbox = Arc::clone(mailbox);
        thread::spawn(move || {
            SIDE.with(|side| side.set(Side::Sender));
            mailbox.send(sender);
        })
    }

    /// How many mails the shard sees.
    fn seen(&self) -> usize {
        self.mails.iter().filter(|mail| mail.load(Ordering::Relaxed)).count()
    }
}

/// Two senders, and a shard that goes to sleep.
fn one_sleep() {
    loom::model(|| {
        let mailbox = Box::new();
        let senders: Vec<_> = (0..2).map(|sender| Box::spawn_sender(&mailbox, sender)).collect();
        mailbox.bell.going_to_sleep();
        let seen = mailbox.seen();
        for sender in senders {
            sender.join().unwrap();
        }
        let wakes = mailbox.wakes.load(Ordering::Relaxed);
        assert_eq!(mailbox.seen(), 2);
        assert!(seen == 2 || wakes > 0, "{} mails are slept over", 2 - seen);
        assert!(wakes <= 1, "a burst wakes {wakes} times");
    });
}

#[test]
fn mail_is_either_seen_before_the_sleep_or_wakes_the_sleeper() {
    one_sleep();
}

#[test]
fn mail_around_the_end_of_one_sleep_is_not_slept_over_in_the_next() {
    loom::model(|| {
        let mailbox = Box::new();
        let sender = Box::spawn_sender(&mailbox, 0);
        mailbox.bell.going_to_sleep();
        // The wait ends by this wake or by a time-out.
        mailbox.wakes.swap(0, Ordering::Relaxed);
        mailbox.bell.awake();
        mailbox.bell.going_to_sleep();
        let seen = mailbox.seen();
        sender.join().unwrap();
        let wakes = mailbox.wakes.load(Ordering::Relaxed);
        assert!(seen == 1 || wakes > 0, "a mail is slept over");
    });
}

#[test]
fn a_shard_that_is_awake_is_not_woken() {
    loom::model(|| {
        let mailbox = Box::new();
        mailbox.bell.going_to_sleep();
        mailbox.bell.awake();
        Box::spawn_sender(&mailbox, 0).join().unwrap();
        assert_eq!(mailbox.wakes.load(Ordering::Relaxed), 0);
    });
}

fn with_weak_fence(side: Side, weakness: Weakness) {
    WEAKENED.set(Some((side, weakness)));
    one_sleep();
}

#[test]
#[should_panic(expected = "slept over")]
fn the_model_fails_if_the_shards_fence_is_only_acquire_and_release() {
    with_weak_fence(Side::Shard, Weakness::AcqRel);
}

#[test]
#[should_panic(expected = "slept over")]
fn the_model_fails_if_the_senders_fence_is_only_acquire_and_release() {
    with_weak_fence(Side::Sender, Weakness::AcqRel);
}

#[test]
#[should_panic(expected = "slept over")]
fn the_model_fails_without_the_shards_fence() {
    with_weak_fence(Side::Shard, Weakness::Missing);
}

#[test]
#[should_panic(expected = "slept over")]
fn the_model_fails_without_the_senders_fence() {
    with_weak_fence(Side::Sender, Weakness::Missing);
}
