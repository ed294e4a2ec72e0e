//! The doorbell in every interleaving that the memory model allows: no mail is
//! slept over, and a burst wakes once.

#[path = "../src/shard/doorbell.rs"]
#[allow(dead_code, reason = "the same source as in the crate, under another memory model")]
mod doorbell;

/// What the doorbell's source imports as its parent's `sync`.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

use doorbell::Doorbell;
use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A mailbox without its shard: mails are counted, wakes are counted.
struct Box {
    mails: Mutex<usize>,
    bell: Doorbell,
    wakes: AtomicUsize,
}

impl Box {
    fn new() -> Arc<Self> {
        Arc::new(Self { mails: Mutex::new(0), bell: Doorbell::new(), wakes: AtomicUsize::new(0) })
    }

    fn send(&self) {
        *self.mails.lock().unwrap() += 1;
        if self.bell.must_wake() {
            self.wakes.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn drain(&self) -> usize {
        std::mem::take(&mut *self.mails.lock().unwrap())
    }
}

#[test]
fn mail_is_either_seen_before_the_sleep_or_wakes_the_sleeper() {
    loom::model(|| {
        let mailbox = Box::new();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.send())
            })
            .collect();
        mailbox.bell.going_to_sleep();
        let seen = mailbox.drain();
        for sender in senders {
            sender.join().unwrap();
        }
        let left = mailbox.drain();
        let wakes = mailbox.wakes.load(Ordering::SeqCst);
        assert_eq!(seen + left, 2);
        assert!(left == 0 || wakes > 0, "{left} mails are slept over");
        assert!(wakes <= 1, "a burst wakes {wakes} times");
    });
}

#[test]
fn a_shard_that_is_awake_is_not_woken() {
    loom::model(|| {
        let mailbox = Box::new();
        mailbox.bell.going_to_sleep();
        mailbox.bell.awake();
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.send())
        };
        sender.join().unwrap();
        assert_eq!(mailbox.wakes.load(Ordering::SeqCst), 0);
    });
}
