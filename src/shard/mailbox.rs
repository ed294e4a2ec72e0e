//! From shard to shard, and from any thread to a shard: one lock-free channel per
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
    state: Arc<MailboxState>,
}

/// What both ends of a mailbox know of it.
#[derive(Debug)]
struct MailboxState {
    doorbell: Doorbell,
    /// Set by the shard's thread before it sleeps for the first time.
    waker: OnceLock<Waker>,
    /// The shard takes no more mail.
    ended: AtomicBool,
    /// What handles may have on its way to this shard, in bytes, of publications and
    /// of other mail.
    handle_limit: usize,
    /// What they have of publications.
    publication_bytes: AtomicUsize,
    /// And of other mail.
    request_bytes: AtomicUsize,
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
    pub(crate) fn put(&self, parcel: Parcel) -> Result<(), Ended> {
        // The channel has no bound, and a receiver here: it takes everything.
        let _ = self.sender.send(parcel);
        if self.has_ended() {
            // Whoever comes after the shard's own emptying empties it again: a
            // query that stayed here would leave its asker waiting.
            self.receiver.try_iter().for_each(drop);
            return Err(Ended);
        }
        Ok(())
    }

    /// Reserves `bytes` of what handles may have on its way here. If it is used up,
    /// nothing is reserved. What is above the bound is one mail of each thread at the
    /// most.
    pub(crate) fn reserve(&self, origin: Origin, bytes: u32) -> bool {
        let before = self.state.used(origin).fetch_add(bytes as usize, Ordering::AcqRel);
        let fits = before < self.state.handle_limit;
        if !fits {
            self.unreserve(origin, bytes);
        }
        fits
    }

    /// Gives back what was reserved and not used.
    pub(crate) fn unreserve(&self, origin: Origin, bytes: u32) {
        self.state.credit(origin, bytes as usize);
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
        self.state.publication_bytes.load(Ordering::Acquire) >= self.state.handle_limit
    }

    /// Bytes that handles have on their way here.
    pub(crate) fn handle_bytes(&self) -> usize {
        let publications = self.state.publication_bytes.load(Ordering::Acquire);
        publications + self.state.request_bytes.load(Ordering::Acquire)
    }

    /// Tells when some of what handles have on its way here has been taken.
    pub(crate) fn listen(&self) -> EventListener {
        self.state.handle_credit.listen()
    }

    /// Whether the shard takes no more mail.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.ended.load(Ordering::SeqCst)
    }

    /// Wakes the shard if it sleeps.
    pub(crate) fn ring(&self) {
        if self.state.doorbell.must_wake()
            && let Some(waker) = self.state.waker.get()
        {
            waker.wake();
        }
    }
}

impl MailboxState {
    fn used(&self, origin: Origin) -> &AtomicUsize {
        if origin == Origin::HandlePublication {
            &self.publication_bytes
        } else {
            &self.request_bytes
        }
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
    state: Arc<MailboxState>,
}

impl Mailbox {
    /// A mailbox, and where to send its mail. All handles together may have
    /// `handle_limit` bytes on the way to it.
    pub(crate) fn new(handle_limit: usize) -> (Self, MailboxSender) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let state = Arc::new(MailboxState {
            doorbell: Doorbell::new(),
            waker: OnceLock::new(),
            ended: AtomicBool::new(false),
            handle_limit,
            publication_bytes: AtomicUsize::new(0),
            request_bytes: AtomicUsize::new(0),
            handle_credit: Event::new(),
        });
        let mailbox = Self { receiver: receiver.clone(), state: Arc::clone(&state) };
        (mailbox, MailboxSender { sender, receiver, state })
    }

    /// Tells senders how to wake this shard. Must come before the first sleep.
    pub(crate) fn set_waker(&self, waker: Waker) {
        // A second one would be the same driver's.
        let _ = self.state.waker.set(waker);
    }

    /// Announces that the shard is about to wait. Returns whether it may: if
    /// there is mail it must not.
    pub(crate) fn going_to_sleep(&self) -> bool {
        self.state.doorbell.going_to_sleep();
        self.receiver.is_empty()
    }

    /// The wait is over.
    pub(crate) fn awake(&self) {
        self.state.doorbell.awake();
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
        for (origin, bytes) in
            [(Origin::HandlePublication, publications), (Origin::HandleRequest, others)]
        {
            if bytes > 0 {
                self.state.credit(origin, bytes);
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.receiver.try_iter().for_each(drop);
        self.state.handle_credit.notify(usize::MAX);
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
mod tests;
