//! What a mailbox promises its shard and those who send to it.

use event_listener::Listener;

use super::*;
use crate::{engine::Disconnect, id::ConnId};

fn close(slot: u32) -> Parcel {
    Mail::Close(ConnId::new(0, slot, 0), Disconnect::Shutdown).charged_to(Origin::Shard)
}

fn slot_of(parcel: Option<Parcel>) -> Option<u32> {
    match parcel?.mail {
        Mail::Close(id, _) => Some(id.slot()),
        _ => None,
    }
}

#[test]
fn mail_comes_in_the_order_in_which_it_was_sent() {
    let (mailbox, sender) = Mailbox::new(1);
    (0..1000).for_each(|slot| sender.send(close(slot)).unwrap());
    assert_eq!(mailbox.len(), 1000);
    for slot in 0..1000 {
        assert_eq!(slot_of(mailbox.take()), Some(slot));
    }
}

#[test]
fn handles_have_so_many_bytes_underway_and_whoever_waits_learns_of_credit() {
    let (mailbox, sender) = Mailbox::new(100);
    let publication = Origin::HandlePublication;
    let reserve = |bytes| sender.reserve(publication, bytes);
    assert!(reserve(60) && reserve(60), "the last may go beyond");
    assert!(!reserve(1) && sender.is_full());
    assert!(sender.reserve(Origin::HandleRequest, 100), "other mail has a window of its own");
    let credit = sender.listen();
    mailbox.credit_handles((60, 0));
    credit.wait();
    assert!(!sender.is_full() && reserve(1));
    let credit = sender.listen();
    drop(mailbox);
    credit.wait();
}

#[test]
fn a_burst_wakes_a_sleeping_shard_once_and_an_awake_one_never() {
    let (mailbox, sender) = Mailbox::new(16);
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    mailbox.set_waker(Waker::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    sender.send(close(0)).unwrap();
    assert_eq!(wakes.load(Ordering::Relaxed), 0);
    assert!(!mailbox.going_to_sleep(), "it must not sleep over mail");
    mailbox.awake();
    mailbox.take();
    assert!(mailbox.going_to_sleep());
    for slot in 0..5 {
        sender.send(close(slot)).unwrap();
    }
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
}

#[test]
fn a_shard_with_mail_from_another_is_woken_by_the_ring_that_follows() {
    let (mailbox, sender) = Mailbox::new(16);
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    mailbox.set_waker(Waker::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let senders = MailboxSenders::new(vec![sender]);
    assert!(mailbox.going_to_sleep());
    (0..5).for_each(|slot| senders.put(0, close(slot)).unwrap());
    assert_eq!((wakes.load(Ordering::Relaxed), mailbox.len()), (0, 5));
    senders.ring(0);
    assert_eq!(wakes.load(Ordering::Relaxed), 0);
    senders.ring(1);
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
}

#[test]
fn mail_to_a_shard_that_has_ended_does_not_pile_up() {
    let (mailbox, sender) = Mailbox::new(1);
    let receiver = sender.receiver.clone();
    drop(mailbox);
    let senders = MailboxSenders::new(vec![sender]);
    for slot in 0..10 {
        assert_eq!(senders.put(0, close(slot)), Err(Ended));
    }
    assert!(receiver.is_empty());
}
