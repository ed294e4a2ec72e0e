//! The way between shards, and from any thread to a shard: one lock-free channel per
//! shard and one wake per burst. Knows no bound of its own but that of the handles:
//! what shards send each other is bounded by the engine's windows.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, Sender};
use event_listener::{Event, EventListener};

use super::doorbell::Doorbell;
use crate::{
    driver::Waker,
    engine::{Mail, Origin, Parcel},
};

/// The sending end of a shard's mailbox.
#[derive(Clone, Debug)]
pub(crate) struct MailboxSender {
    sender: Sender<Parcel>,
    /// To empty the mailbox of a shard that has ended.
    receiver: Receiver<Parcel>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    doorbell: Doorbell,
    /// Set by the shard's thread before it sleeps for the first time.
    waker: OnceLock<Waker>,
    /// The shard takes no more mail.
    ended: AtomicBool,
    /// What handles may have on its way to this shard, in bytes, of publications and
    /// of other mail.
    handle_limit: usize,
    /// What they have of publications.
    handle_bytes: AtomicUsize,
    /// And of other mail.
    caller_bytes: AtomicUsize,
    /// Some of that was taken, or the shard has ended.
    handle_credit: Event,
}

/// The shard has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// Why a handle's mail was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    /// More is on its way than handles may have.
    Full,
    /// The shard has ended.
    Ended,
}

impl MailboxSender {
    /// Puts `parcel` in and wakes the shard if it sleeps.
    pub(crate) fn send(&self, parcel: Parcel) -> Result<(), Ended> {
        self.put(parcel)?;
        self.ring();
        Ok(())
    }

    /// Puts `parcel` in; the shard is to be woken afterwards.
    fn put(&self, parcel: Parcel) -> Result<(), Ended> {
        // The channel has no bound, and a receiver here: it takes everything.
        let _ = self.sender.send(parcel);
        if self.has_ended() {
            // Whoever comes after the shard's own emptying empties it again: a
            // question that stayed here would leave its asker waiting.
            self.receiver.try_iter().for_each(drop);
            return Err(Ended);
        }
        Ok(())
    }

    /// Reserves `bytes` of what handles may have on its way here. If it is used up,
    /// nothing is reserved. What is above the bound is one mail of each thread at the
    /// most.
    pub(crate) fn reserve(&self, origin: Origin, bytes: u32) -> bool {
        let before = self.bell.used(origin).fetch_add(bytes as usize, Ordering::AcqRel);
        let fits = before < self.bell.handle_limit;
        if !fits {
            self.unreserve(origin, bytes);
        }
        fits
    }

    /// Gives back what was reserved and not used.
    pub(crate) fn unreserve(&self, origin: Origin, bytes: u32) {
        self.bell.credit(origin, bytes as usize);
    }

    /// Reserves what `mail` costs and sends it.
    pub(crate) fn send_from_handle(&self, mail: Mail) -> Result<(), Undelivered> {
        let parcel = self.reserved(mail)?;
        self.send(parcel).map_err(|_| Undelivered::Ended)
    }

    /// `mail` with what it costs, which was reserved.
    pub(crate) fn reserved(&self, mail: Mail) -> Result<Parcel, Undelivered> {
        let parcel = mail.charged_to_handles();
        if self.reserve(parcel.origin, parcel.bytes) {
            return Ok(parcel);
        }
        Err(if self.has_ended() { Undelivered::Ended } else { Undelivered::Full })
    }

    /// Whether nothing can be reserved for publications now.
    pub(crate) fn is_full(&self) -> bool {
        self.bell.handle_bytes.load(Ordering::Acquire) >= self.bell.handle_limit
    }

    /// Bytes that handles have on their way here.
    pub(crate) fn handle_bytes(&self) -> usize {
        let publications = self.bell.handle_bytes.load(Ordering::Acquire);
        publications + self.bell.caller_bytes.load(Ordering::Acquire)
    }

    /// Tells when some of what handles have on its way here has been taken.
    pub(crate) fn listen(&self) -> EventListener {
        self.bell.handle_credit.listen()
    }

    /// Whether the shard takes no more mail.
    pub(crate) fn has_ended(&self) -> bool {
        self.bell.ended.load(Ordering::SeqCst)
    }

    /// Wakes the shard if it sleeps.
    pub(crate) fn ring(&self) {
        if self.bell.doorbell.must_wake()
            && let Some(waker) = self.bell.waker.get()
        {
            waker.wake();
        }
    }
}

impl Bell {
    fn used(&self, origin: Origin) -> &AtomicUsize {
        if origin == Origin::Handle { &self.handle_bytes } else { &self.caller_bytes }
    }

    fn credit(&self, origin: Origin, bytes: usize) {
        self.used(origin).fetch_sub(bytes, Ordering::AcqRel);
        self.handle_credit.notify(usize::MAX);
    }
}

/// The receiving end of a shard's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    receiver: Receiver<Parcel>,
    bell: Arc<Bell>,
}

impl Mailbox {
    /// A mailbox, and where to send its mail. All handles together may have
    /// `handle_limit` bytes on the way to it.
    pub(crate) fn new(handle_limit: usize) -> (Self, MailboxSender) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let bell = Arc::new(Bell {
            doorbell: Doorbell::new(),
            waker: OnceLock::new(),
            ended: AtomicBool::new(false),
            handle_limit,
            handle_bytes: AtomicUsize::new(0),
            caller_bytes: AtomicUsize::new(0),
            handle_credit: Event::new(),
        });
        let mailbox = Self { receiver: receiver.clone(), bell: Arc::clone(&bell) };
        (mailbox, MailboxSender { sender, receiver, bell })
    }

    /// Tells senders how to wake this shard. Must come before the first sleep.
    pub(crate) fn set_waker(&self, waker: Waker) {
        // A second one would be the same driver's.
        let _ = self.bell.waker.set(waker);
    }

    /// Announces that the shard is about to wait. Returns whether it may: if
    /// there is mail it must not.
    pub(crate) fn going_to_sleep(&self) -> bool {
        self.bell.doorbell.going_to_sleep();
        self.receiver.is_empty()
    }

    /// The wait is over.
    pub(crate) fn awake(&self) {
        self.bell.doorbell.awake();
    }

    /// The next mail, if there is one.
    pub(crate) fn take(&self) -> Option<Parcel> {
        self.receiver.try_recv().ok()
    }

    /// Whether no mail waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// How many mails wait.
    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }

    /// So much of what handles were charged for has been taken, of publications and
    /// of other mail.
    pub(crate) fn credit_handles(&self, (publications, others): (usize, usize)) {
        for (origin, bytes) in [(Origin::Handle, publications), (Origin::Caller, others)] {
            if bytes > 0 {
                self.bell.credit(origin, bytes);
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.bell.ended.store(true, Ordering::SeqCst);
        self.receiver.try_iter().for_each(drop);
        self.bell.handle_credit.notify(usize::MAX);
    }
}

/// Where a shard's mail to the others goes.
#[derive(Debug)]
pub(crate) struct MailboxSenders {
    senders: Vec<MailboxSender>,
}

impl MailboxSenders {
    pub(crate) fn new(senders: Vec<MailboxSender>) -> Self {
        Self { senders }
    }

    /// Puts `parcel` into a shard's mailbox. The shard is woken by the next
    /// [`MailboxSenders::ring`], which must come.
    pub(crate) fn put(&self, shard: usize, parcel: Parcel) -> Result<(), Ended> {
        self.senders[shard].put(parcel)
    }

    /// Wakes those of `shards`, one bit each, that sleep.
    pub(crate) fn ring(&self, shards: u64) {
        let mut left = shards;
        while left != 0 {
            self.senders[left.trailing_zeros() as usize].ring();
            left &= left - 1;
        }
    }

    /// Wakes every shard that sleeps.
    pub(crate) fn ring_all(&self) {
        for sender in &self.senders {
            sender.ring();
        }
    }
}

#[cfg(test)]
mod tests {
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
        let publication = Origin::Handle;
        let reserve = |bytes| sender.reserve(publication, bytes);
        assert!(reserve(60) && reserve(60), "the last may go beyond");
        assert!(!reserve(1) && sender.is_full());
        assert!(sender.reserve(Origin::Caller, 100), "other mail has a window of its own");
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
}
