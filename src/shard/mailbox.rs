//! The way between shards, and from any thread to a shard: one bounded channel
//! per shard and one wake per burst. A full mailbox never blocks its sender.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::doorbell::Doorbell;
use crate::{driver::Waker, engine::Mail};

/// The sending end of a shard's mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    sender: Sender<Mail>,
    /// To empty the mailbox of a shard that has ended.
    receiver: Receiver<Mail>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    doorbell: Doorbell,
    /// Set by the shard's thread before it sleeps for the first time.
    waker: OnceLock<Waker>,
    /// The shard takes no more mail.
    ended: AtomicBool,
}

/// Why a mail was not delivered; it comes back.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// The mailbox is full.
    Full(Mail),
    /// The shard has ended.
    Ended,
}

impl Address {
    /// Puts `mail` in and wakes the shard if it sleeps.
    pub(crate) fn send(&self, mail: Mail) -> Result<(), Undelivered> {
        let sent = self.sender.try_send(mail);
        if self.has_ended() {
            // Whoever comes after the shard's own emptying empties it again: a
            // question that stayed here would leave its asker waiting.
            self.receiver.try_iter().for_each(drop);
            return Err(Undelivered::Ended);
        }
        match sent {
            Ok(()) => {
                self.ring();
                Ok(())
            }
            Err(TrySendError::Full(mail)) => Err(Undelivered::Full(mail)),
            Err(TrySendError::Disconnected(_)) => Err(Undelivered::Ended),
        }
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

/// The receiving end of a shard's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    receiver: Receiver<Mail>,
    bell: Arc<Bell>,
}

impl Mailbox {
    /// A mailbox for `capacity` mails, and where to send them.
    pub(crate) fn new(capacity: usize) -> (Self, Address) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        let bell = Arc::new(Bell {
            doorbell: Doorbell::new(),
            waker: OnceLock::new(),
            ended: AtomicBool::new(false),
        });
        let mailbox = Self { receiver: receiver.clone(), bell: Arc::clone(&bell) };
        (mailbox, Address { sender, receiver, bell })
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
    pub(crate) fn take(&self) -> Option<Mail> {
        self.receiver.try_recv().ok()
    }

    /// How many mails wait.
    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.bell.ended.store(true, Ordering::SeqCst);
        self.receiver.try_iter().for_each(drop);
    }
}

/// A shard's outgoing mail: what does not fit into a mailbox waits here, in
/// order, up to a bound.
#[derive(Debug)]
pub(crate) struct Post {
    addresses: Vec<Address>,
    overflow: Vec<VecDeque<Mail>>,
    most: usize,
    waiting: usize,
}

impl Post {
    /// Mail to the shards behind `addresses`; up to `most` mails wait for each.
    pub(crate) fn new(addresses: Vec<Address>, most: usize) -> Self {
        let overflow = addresses.iter().map(|_| VecDeque::new()).collect();
        Self { addresses, overflow, most, waiting: 0 }
    }

    /// Whether something waits for a full mailbox.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Sends `mail` behind everything that waits for the same shard. Returns
    /// whether it was kept; if not, it was dropped.
    pub(crate) fn send(&mut self, shard: usize, mail: Mail) -> bool {
        let queue = &mut self.overflow[shard];
        let mail = if queue.is_empty() {
            match self.addresses[shard].send(mail) {
                Ok(()) | Err(Undelivered::Ended) => return true,
                Err(Undelivered::Full(mail)) => mail,
            }
        } else {
            mail
        };
        if queue.len() >= self.most {
            return false;
        }
        queue.push_back(mail);
        self.waiting += 1;
        true
    }

    /// Wakes every shard that sleeps.
    pub(crate) fn ring_all(&self) {
        for address in &self.addresses {
            address.ring();
        }
    }

    /// Tries again to send what waits.
    pub(crate) fn retry(&mut self) {
        if self.waiting == 0 {
            return;
        }
        for (queue, address) in self.overflow.iter_mut().zip(&self.addresses) {
            while let Some(mail) = queue.pop_front() {
                match address.send(mail) {
                    Ok(()) | Err(Undelivered::Ended) => self.waiting -= 1,
                    Err(Undelivered::Full(mail)) => {
                        queue.push_front(mail);
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{engine::Disconnect, id::ConnId, publication::Data};

    fn close(slot: u32) -> Mail {
        Mail::Close(ConnId::new(0, slot, 0), Disconnect::Shutdown)
    }

    fn slot_of(mail: Option<Mail>) -> Option<u32> {
        match mail? {
            Mail::Close(id, _) => Some(id.slot()),
            _ => None,
        }
    }

    #[test]
    fn what_does_not_fit_waits_in_order_and_above_the_bound_is_dropped() {
        let (mailbox, address) = Mailbox::new(2);
        let mut post = Post::new(vec![address], 3);
        let kept: Vec<bool> = (0..7).map(|slot| post.send(0, close(slot))).collect();
        assert_eq!(kept, [true, true, true, true, true, false, false]);
        let mut seen = Vec::new();
        while post.is_waiting() || mailbox.len() > 0 {
            seen.extend(slot_of(mailbox.take()));
            post.retry();
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn nothing_overtakes_what_waits_even_if_the_mailbox_has_room_again() {
        let (mailbox, address) = Mailbox::new(1);
        let mut post = Post::new(vec![address], 8);
        post.send(0, close(0));
        post.send(0, close(1));
        assert_eq!(slot_of(mailbox.take()), Some(0));
        post.send(0, close(2));
        post.retry();
        assert_eq!(slot_of(mailbox.take()), Some(1));
        post.retry();
        assert_eq!(slot_of(mailbox.take()), Some(2));
    }

    #[test]
    fn a_burst_wakes_a_sleeping_shard_once_and_an_awake_one_never() {
        let (mailbox, address) = Mailbox::new(16);
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        mailbox.set_waker(Waker::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        address.send(close(0)).unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        assert!(!mailbox.going_to_sleep(), "it must not sleep over mail");
        mailbox.awake();
        mailbox.take();
        assert!(mailbox.going_to_sleep());
        for slot in 0..5 {
            address.send(close(slot)).unwrap();
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn mail_to_a_shard_that_has_ended_does_not_pile_up() {
        let (mailbox, address) = Mailbox::new(1);
        drop(mailbox);
        let mut post = Post::new(vec![address], 1);
        for _ in 0..10 {
            let letter = crate::engine::Letter {
                to: ConnId::new(0, 0, 0),
                event: "e".into(),
                data: Data::absent(),
            };
            assert!(post.send(0, Mail::Send(Box::new(letter))));
        }
        assert!(!post.is_waiting());
    }
}
