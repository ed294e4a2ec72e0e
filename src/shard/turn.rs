//! The turn of a shard: the only place where a driver meets the engine.
//!
//! ```text
//! wait ─► mailbox ─► events ─► timers ─► mail to other shards ─► flush ─► orders ─► wait
//! ```
//!
//! Each step is bounded; what is left over makes the next turn begin without
//! waiting. The mailbox comes before the sockets: whatever another
//! shard sent before a client was told of it is known here before that client's
//! next bytes are read.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use super::mailbox::{Mailbox, Post};
use crate::{
    batch::{Sending, Slice},
    driver::{Detached, Driver, Event, Gone},
    engine::{Now, Order, Outlet, Process, ShardEngine},
    id::ConnId,
};

/// Where the time of a turn comes from.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Now;
}

/// What takes sockets whose request is no WebSocket handshake, with the bytes
/// that were received of it.
pub(crate) type HandOff<S> = Box<dyn FnMut(S, Vec<u8>)>;

/// What makes a driver's socket of one that comes from outside.
pub(crate) type TakeIn<S> = Box<dyn FnMut(OwnedFd) -> io::Result<S>>;

/// A driver and the engine that it serves.
pub(crate) struct Shard<D: Driver> {
    pub(crate) engine: ShardEngine,
    pub(crate) driver: D,
    mailbox: Mailbox,
    post: Post,
    hand_off: Option<HandOff<D::Socket>>,
    pub(super) take_in: Option<TakeIn<D::Socket>>,
    /// Something was left over: the next turn does not sleep.
    left_over: bool,
    drain: Drain,
    /// Says when the engine is to be drained.
    process: Arc<Process>,
    /// The next sleep is no longer than this.
    wake_by: Option<Duration>,
    limits: TurnLimits,
}

/// How far the end of the engine has come on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    None,
    /// Nothing more is taken in; waiting for the other shards to say the same.
    Quiescing,
    /// Connections are being closed.
    Closing,
}

/// What bounds a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnLimits {
    pub(crate) mails: usize,
    pub(crate) events: usize,
}

/// How soon a shard tries again to send mail that a full mailbox refused.
const RETRY: Duration = Duration::from_millis(1);

impl<D: Driver> Shard<D> {
    pub(crate) fn new(
        engine: ShardEngine,
        driver: D,
        mailbox: Mailbox,
        post: Post,
        hand_off: Option<HandOff<D::Socket>>,
        limits: TurnLimits,
    ) -> Self {
        mailbox.set_waker(driver.waker());
        let process = Arc::clone(&engine.core.process);
        Self {
            engine,
            driver,
            mailbox,
            post,
            hand_off,
            take_in: None,
            left_over: false,
            drain: Drain::None,
            process,
            wake_by: None,
            limits,
        }
    }

    /// One turn.
    ///
    /// # Errors
    /// When the driver can wait no more.
    pub(crate) fn turn(&mut self, clock: &impl Clock) -> io::Result<()> {
        self.sleep()?;
        self.engine.begin_turn(clock.now());
        // What is published faster than its members can be reached must not be
        // joined by more: the publishers' sockets and the mailbox fill up instead.
        self.quiesce();
        let more_mail = self.engine.must_catch_up() || self.take_mail();
        self.driver.hold_data(self.must_hold());
        let more_events = self.take_events();
        let more_timers = self.engine.on_timers();
        let more_sends = self.flush();
        self.tell_if_quiet();
        self.left_over = more_mail || more_events || more_timers || more_sends;
        Ok(())
    }

    /// Whether a drain was asked for and seen.
    pub(crate) fn is_ending(&self) -> bool {
        self.drain != Drain::None
    }

    /// Whether mail for other shards waits for their mailboxes.
    pub(crate) fn has_waiting_mail(&self) -> bool {
        self.post.is_waiting()
    }

    /// Whether a turn would find nothing to do of its own.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.has_drain_step()
            && !self.left_over
            && self.mailbox.len() == 0
            && !self.post.is_waiting()
    }

    /// Lets the next sleep last no longer than `most`.
    pub(crate) fn wake_by(&mut self, most: Duration) {
        self.wake_by = Some(most);
    }

    fn sleep(&mut self) -> io::Result<()> {
        let mut timeout = self.engine.next_timer();
        if let Some(most) = self.wake_by.take() {
            timeout = Some(timeout.map_or(most, |timeout| timeout.min(most)));
        }
        if self.post.is_waiting() {
            timeout = Some(timeout.map_or(RETRY, |timeout| timeout.min(RETRY)));
        }
        // A hold that has ended in the last turn must not be slept through.
        self.driver.hold_data(self.must_hold());
        let may_sleep = !self.left_over && self.mailbox.going_to_sleep() && !self.has_drain_step();
        let timeout = if may_sleep { timeout } else { Some(Duration::ZERO) };
        self.engine.before_wait(timeout);
        let result = self.driver.wait(timeout);
        self.mailbox.awake();
        result
    }

    /// Whether a drain was asked for or has come to its next step.
    fn has_drain_step(&self) -> bool {
        match self.drain {
            Drain::None => self.process.admission.is_closed(),
            Drain::Quiescing => self.all_are_quiet(),
            Drain::Closing => false,
        }
    }

    fn must_hold(&self) -> bool {
        let unheard = match self.drain {
            Drain::None => false,
            Drain::Quiescing => true,
            // An open connection's message would still be taken for one.
            Drain::Closing => !self.engine.has_ended_all(),
        };
        unheard || self.engine.must_catch_up()
    }

    fn take_mail(&mut self) -> bool {
        // Seen before the mailbox is looked into: then all mail is there.
        let all_quiet = self.all_are_quiet();
        // What comes in meanwhile is the next turn's.
        let waiting = self.mailbox.len();
        let most = waiting.min(self.limits.mails);
        for _ in 0..most {
            let Some(mail) = self.mailbox.take() else { break };
            self.on_mail(mail);
            if !self.after_event() {
                return true;
            }
        }
        if self.drain == Drain::Quiescing && all_quiet && most == waiting {
            self.drain = Drain::Closing;
            self.engine.begin_drain();
        }
        self.mailbox.len() > 0
    }

    /// First step of a drain, which makes the second one lossless: nothing more is
    /// accepted or read, so that nothing more is published, and what was published
    /// is mailed. Only when every shard has done that are connections closed.
    fn quiesce(&mut self) {
        if self.drain == Drain::None && self.process.admission.is_closed() {
            self.drain = Drain::Quiescing;
            self.driver.stop_accepting();
        }
    }

    /// Tells the other shards that this one is quiet, once it is.
    fn tell_if_quiet(&mut self) {
        if self.drain != Drain::Quiescing || self.post.is_waiting() {
            return;
        }
        let shard = self.engine.core.shard;
        if self.process.admission.quiet_shards() >> shard & 1 == 0 {
            self.process.admission.quiesce(shard);
            self.post.ring_all();
        }
    }

    fn all_are_quiet(&self) -> bool {
        self.process.admission.quiet_shards() == self.process.all_shards()
    }

    fn take_events(&mut self) -> bool {
        for _ in 0..self.limits.events {
            let Some(event) = self.driver.next() else { return false };
            match event {
                Event::Accepted { socket, peer } => {
                    if let Some(id) = self.engine.on_accepted(peer)
                        && self.driver.attach(id, socket).is_err()
                    {
                        self.engine.on_lost(id);
                    }
                }
                Event::Data(id, bytes) => self.engine.on_data(id, bytes),
                Event::Sent(id) => self.engine.on_sent(id),
                Event::Gone(id, Gone::Eof) => self.engine.on_eof(id),
                Event::Gone(id, Gone::Reset | Gone::Error(_)) => self.engine.on_lost(id),
            }
            if !self.after_event() {
                self.driver.hold_data(true);
            }
        }
        true
    }

    /// Orders may free the slot that the next connection gets, so they are
    /// carried out before anything else happens. Returns whether the turn may
    /// take in more.
    fn after_event(&mut self) -> bool {
        if self.engine.wants_flush() {
            self.flush();
        } else if self.engine.has_orders() {
            self.carry_out_orders();
        }
        !self.engine.must_catch_up()
    }

    fn flush(&mut self) -> bool {
        self.send_mail();
        let left = self.engine.flush(&mut ToDriver(&mut self.driver));
        // Hooks of connections that the flush ended may have published.
        self.send_mail();
        self.carry_out_orders();
        left
    }

    fn send_mail(&mut self) {
        self.post.retry();
        for (mut shards, mail) in self.engine.take_outbound() {
            let mut mail = Some(mail);
            while shards != 0 {
                let shard = shards.trailing_zeros() as usize;
                shards &= shards - 1;
                let copy = match (&mail, shards) {
                    (Some(mail), 1..) => mail.for_another(),
                    _ => mail.take(),
                };
                if let Some(copy) = copy
                    && !self.post.send(shard, copy)
                {
                    self.engine.count_dropped_mails(1);
                }
            }
        }
    }

    fn carry_out_orders(&mut self) {
        if !self.engine.has_orders() {
            return;
        }
        for order in self.engine.take_orders() {
            match order {
                Order::Shutdown(id) => self.driver.shutdown(id),
                Order::Close(id) => self.driver.close(id),
                Order::HandOff(id, mut bytes) => {
                    if let Some(Detached { socket, unread }) = self.driver.detach(id)
                        && let Some(hand_off) = &mut self.hand_off
                    {
                        bytes.extend(unread);
                        hand_off(socket, bytes);
                    }
                }
            }
        }
    }
}

/// The engine's outlet is the driver.
struct ToDriver<'a, D>(&'a mut D);

impl<D: Driver> Outlet for ToDriver<'_, D> {
    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        self.0.send(id, batch)
    }
}
