//! The turn of a shard: the only place where a driver meets the engine.
//!
//! ```text
//! wait ─► mailbox ─► resumed ─► events ─► timers ─► mail to other shards ─► flush ─► socket actions ─► wait
//! ```
//!
//! Each step is bounded; what is left over makes the next turn begin without
//! waiting. The mailbox comes before the sockets, and again before each piece of
//! data is looked at: whatever another shard sent before a client was told of it is
//! known here before that client's next bytes are.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use super::{
    mailbox::{Mailbox, MailboxSenders},
    outbox,
};
use crate::{
    batch::{Sending, Slice},
    driver::{Detached, Driver, Event, Gone},
    engine::{Drain, Limits, Now, Outlet, Parcel, Process, ShardEngine, SocketAction},
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
    senders: MailboxSenders,
    hand_off: Option<HandOff<D::Socket>>,
    pub(super) take_in: Option<TakeIn<D::Socket>>,
    /// Mail that this shard sent itself for its next turn.
    postponed: Vec<Parcel>,
    /// Something was left over: the next turn does not sleep.
    left_over: bool,
    /// Says when the engine is to be drained.
    process: Arc<Process>,
    /// The next sleep is no longer than this.
    wake_by: Option<Duration>,
    standstill: Standstill,
    limits: TurnLimits,
}

/// Time in which the process did not run: stopped, or paused with its machine. The
/// engine's clock leaves it out, so that all deadlines move by it.
#[derive(Debug, Default)]
struct Standstill {
    /// The clock at the beginning of the last turn.
    last_ms: u64,
    /// How long the present wait may take.
    asked_ms: Option<u64>,
    /// All such time so far.
    lost_ms: u64,
    /// How much of the last standstill counts as a wait, until that is told.
    waited: Duration,
}

impl Standstill {
    /// The time for the engine when the clock says `now`.
    fn corrected(&mut self, now: Now) -> Now {
        let gap = now.since_start_ms.saturating_sub(self.last_ms);
        self.last_ms = now.since_start_ms;
        if let Some(asked) = self.asked_ms
            && gap.saturating_sub(asked) > Limits::STANDSTILL_MS
        {
            self.lost_ms += gap - asked;
            self.waited = Duration::from_millis(asked);
        }
        Now { since_start_ms: now.since_start_ms - self.lost_ms, ..now }
    }
}

/// What bounds a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnLimits {
    pub(crate) mails: usize,
    pub(crate) events: usize,
    pub(crate) received_bytes: usize,
}

impl TurnLimits {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            mails: limits.mails_per_turn,
            events: limits.events_per_turn,
            received_bytes: limits.received_bytes_per_turn,
        }
    }
}

/// Connections whose hold is over that go on in one turn.
const RESUMED_PER_TURN: usize = 256;

impl<D: Driver> Shard<D> {
    pub(crate) fn new(
        mut engine: ShardEngine,
        driver: D,
        mailbox: Mailbox,
        senders: MailboxSenders,
        hand_off: Option<HandOff<D::Socket>>,
        limits: TurnLimits,
    ) -> Self {
        mailbox.set_waker(driver.waker());
        let process = Arc::clone(engine.process());
        engine.set_handles(outbox::take, outbox::has_sent());
        Self {
            engine,
            driver,
            mailbox,
            senders,
            hand_off,
            take_in: None,
            postponed: Vec::new(),
            left_over: false,
            process,
            wake_by: None,
            standstill: Standstill::default(),
            limits,
        }
    }

    /// One turn.
    ///
    /// # Errors
    /// When the driver can wait no more.
    pub(crate) fn turn(&mut self, clock: &impl Clock) -> io::Result<()> {
        self.sleep()?;
        outbox::open(&self.process);
        let now = self.standstill.corrected(clock.now());
        self.engine.turns_now(self.standstill.last_ms);
        self.engine.begin_turn(now);
        self.engine.spare(std::mem::take(&mut self.standstill.waited));
        self.quiesce();
        let more_mail = self.take_mail();
        self.driver.hold_data(self.must_hold());
        self.resume();
        // Mail that is left comes before the sockets.
        let more_events = more_mail || self.take_events();
        let more_timers = self.engine.on_timers();
        let more_sends = self.flush();
        self.tell_if_quiet();
        let more_resumed = self.engine.has_resumable() && !self.must_hold();
        let more = more_events || more_timers || more_sends || more_resumed;
        self.left_over = more || !self.postponed.is_empty();
        outbox::close();
        Ok(())
    }

    /// Whether a drain was asked for and seen.
    pub(crate) fn is_ending(&self) -> bool {
        self.engine.drain().has_begun()
    }

    /// Whether a turn would find nothing to do of its own.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.has_drain_step()
            && !self.left_over
            && self.mailbox.is_empty()
            && self.postponed.is_empty()
    }

    /// Lets the next sleep last no longer than `max`.
    pub(crate) fn wake_by(&mut self, max: Duration) {
        self.wake_by = Some(max);
    }

    fn sleep(&mut self) -> io::Result<()> {
        let mut timeout = self.engine.next_timer();
        if let Some(max) = self.wake_by.take() {
            timeout = Some(timeout.map_or(max, |timeout| timeout.min(max)));
        }
        // A hold that has ended in the last turn must not be slept through.
        self.driver.hold_data(self.must_hold());
        let may_sleep = !self.left_over && self.mailbox.going_to_sleep() && !self.has_drain_step();
        let timeout = if may_sleep { timeout } else { Some(Duration::ZERO) };
        self.standstill.asked_ms = timeout.map(|timeout| timeout.as_millis() as u64);
        self.engine.before_wait(self.standstill.last_ms, timeout);
        let result = self.driver.wait(timeout);
        self.mailbox.awake();
        result
    }

    /// Whether a drain was asked for or has come to its next step.
    fn has_drain_step(&self) -> bool {
        self.engine.drain().has_step(&self.process.drain, self.process.all_shards())
    }

    /// Whether no client is heard: the drain is under way.
    fn must_hold(&self) -> bool {
        self.engine.drain().holds_clients()
    }

    fn take_mail(&mut self) -> bool {
        // Seen before the mailbox is looked into: then all mail is there.
        let all_quiet = self.all_are_quiet();
        for parcel in std::mem::take(&mut self.postponed) {
            self.on_mail(parcel);
        }
        // What comes in meanwhile is the next turn's.
        let waiting = self.mailbox.len();
        let max = waiting.min(self.limits.mails);
        for _ in 0..max {
            let Some(parcel) = self.mailbox.take() else { break };
            self.on_mail(parcel);
            self.after_event();
        }
        if self.engine.drain() == Drain::Quiescing && all_quiet && max == waiting {
            self.engine.begin_drain();
        }
        max < waiting
    }

    /// Lets connections go on whose hold is over.
    fn resume(&mut self) {
        if self.must_hold() {
            return;
        }
        let mut bytes = 0;
        for _ in 0..RESUMED_PER_TURN {
            let Some(more) = self.engine.resume_next() else { break };
            self.after_event();
            bytes += more;
            // The other half is for the sockets.
            if bytes >= self.limits.received_bytes / 2 || self.engine.has_heard_enough(true) {
                break;
            }
        }
    }

    /// First step of a drain, which makes the second one lossless: nothing more is
    /// accepted or read, so that nothing more is published, and what was published
    /// is mailed. Only when every shard has done that are connections closed.
    fn quiesce(&mut self) {
        if self.engine.begin_drain_if_asked() {
            self.driver.stop_accepting();
        }
    }

    /// Tells the other shards that this one is quiet, once it is.
    fn tell_if_quiet(&mut self) {
        if self.engine.drain() == Drain::Quiescing
            && self.process.drain.quiesce(self.engine.shard())
        {
            self.senders.ring_all();
        }
    }

    fn all_are_quiet(&self) -> bool {
        self.process.drain.quiet_shards() == self.process.all_shards()
    }

    /// Takes in what the driver has. Returns whether there may be more.
    fn take_events(&mut self) -> bool {
        let (mut received, mut adopted) = (0, Vec::new());
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
                Event::Data(id, bytes) => {
                    // What was sent here before these bytes were comes first.
                    let waiting = if self.mailbox.is_empty() { 0 } else { self.mailbox.len() };
                    for _ in 0..waiting {
                        let Some(parcel) = self.mailbox.take() else { break };
                        if parcel.is_for_another_turn() {
                            self.postponed.push(parcel);
                        } else {
                            adopted.extend(Self::look_at(&mut self.engine, parcel));
                        }
                    }
                    received += bytes.len();
                    self.engine.on_data(id, bytes);
                }
                Event::Sent(id) => self.engine.on_sent(id),
                Event::Gone(id, Gone::Eof) => self.engine.on_eof(id),
                Event::Gone(id, Gone::Reset | Gone::Error(_)) => self.engine.on_lost(id),
            }
            self.after_event();
            adopted.drain(..).for_each(|adopted| self.adopt(adopted));
            if received >= self.limits.received_bytes || self.engine.has_heard_enough(false) {
                break;
            }
        }
        true
    }

    /// Socket actions may free the slot that the next connection gets, and a hold is to stop
    /// the next event, so they are carried out before anything else happens.
    fn after_event(&mut self) {
        if self.engine.wants_flush() {
            self.flush();
        } else if self.engine.has_socket_actions() {
            self.carry_out_socket_actions();
        }
    }

    fn flush(&mut self) -> bool {
        self.send_mail();
        let left = self.engine.flush(&mut ToDriver(&mut self.driver));
        // Hooks of connections that the flush ended may have published.
        self.send_mail();
        self.carry_out_socket_actions();
        left
    }

    fn send_mail(&mut self) {
        self.mailbox.credit_handles(self.engine.take_handle_credit());
        // Each shard is woken once, when all its mail is there.
        let mut reached = 0;
        for (mut shards, parcel) in self.engine.take_outbound() {
            reached |= shards;
            let Parcel { mail, origin, bytes } = parcel;
            let mut mail = Some(mail);
            while shards != 0 {
                let shard = shards.trailing_zeros() as usize;
                shards &= shards - 1;
                let copy = match (&mail, shards) {
                    (Some(mail), 1..) => mail.for_another(),
                    _ => mail.take(),
                };
                let Some(mail) = copy else { continue };
                if self.senders.put(shard, Parcel { mail, origin, bytes }).is_err() {
                    self.engine.on_shard_ended(shard as u8);
                }
            }
        }
        self.senders.ring(reached);
    }

    fn carry_out_socket_actions(&mut self) {
        if !self.engine.has_socket_actions() {
            return;
        }
        for action in self.engine.take_socket_actions() {
            match action {
                SocketAction::Shutdown(id) => self.driver.shutdown(id),
                SocketAction::Close(id) => self.driver.close(id),
                SocketAction::Hold(id, hold) => self.driver.hold(id, hold),
                SocketAction::HandOff(id, mut bytes) => {
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

    fn unsent_bytes(&mut self, id: ConnId) -> usize {
        self.0.unsent_bytes(id)
    }

    fn has_unread(&mut self, id: ConnId) -> bool {
        self.0.has_unread(id)
    }
}
