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
    clock::Clock,
    mailbox::{Mailbox, MailboxSenders},
    outbox,
    standstill::Standstill,
};
use crate::{
    batch::{Sending, Slice},
    driver::{Detached, Driver, Event, Gone},
    engine::{Limits, Outlet, Parcel, Process, ShardEngine, SocketAction},
    id::ConnId,
};

/// What takes sockets whose request is no WebSocket handshake, with the bytes
/// that were received of it.
pub(crate) type HandOff<S> = Box<dyn FnMut(S, Vec<u8>)>;

/// What makes a driver's socket of one that comes from outside.
pub(crate) type ToDriverSocket<S> = Box<dyn FnMut(OwnedFd) -> io::Result<S>>;

/// A driver and the engine that it serves.
pub(crate) struct Shard<D: Driver> {
    pub(crate) engine: ShardEngine,
    pub(crate) driver: D,
    pub(super) mailbox: Mailbox,
    pub(super) senders: MailboxSenders,
    hand_off: Option<HandOff<D::Socket>>,
    pub(super) to_driver_socket: Option<ToDriverSocket<D::Socket>>,
    /// Mail that this shard sent itself for its next turn.
    pub(super) postponed: Vec<Parcel>,
    /// Something was left over: the next turn does not sleep.
    left_over: bool,
    /// Says when the engine is to be drained.
    process: Arc<Process>,
    /// The next sleep is no longer than this.
    wake_by: Option<Duration>,
    standstill: Standstill,
    pub(super) limits: TurnLimits,
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
            to_driver_socket: None,
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
        self.engine.turns_now(self.standstill.clock_ms());
        self.engine.begin_turn(now);
        self.engine.extend_grace(self.standstill.take_waited());
        self.quiesce();
        let more_mail = self.take_mail();
        self.driver.hold_data(self.must_hold());
        self.resume();
        // Mail that is left comes before the sockets.
        let more_events = more_mail || self.take_events();
        let more_timers = self.engine.on_timers();
        let more_sends = self.flush();
        self.report_quiet();
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

    /// When the last turn began, after its wait: milliseconds since the start.
    pub(crate) fn began_ms(&self) -> u64 {
        self.standstill.clock_ms()
    }

    /// Lets the next sleep last no longer than `max`.
    pub(crate) fn wake_by(&mut self, max: Duration) {
        self.wake_by = Some(self.wake_by.map_or(max, |before| before.min(max)));
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
        self.standstill.before_wait(timeout);
        self.engine.before_wait(self.standstill.clock_ms(), timeout);
        let result = self.driver.wait(timeout);
        self.mailbox.awake();
        result
    }

    /// Whether a drain was asked for or has come to its next step.
    fn has_drain_step(&self) -> bool {
        self.engine.drain().has_step(&self.process.drain, self.process.all_shards())
    }

    /// Whether no client is read: the drain is under way.
    fn must_hold(&self) -> bool {
        self.engine.drain().holds_clients()
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
            if bytes >= self.limits.received_bytes / 2
                || self.engine.has_reached_message_limit(true)
            {
                break;
            }
        }
    }

    /// First step of a drain, which makes the second one lossless: nothing more is
    /// accepted or read, so that nothing more is published, and what was published
    /// is mailed. Only when every shard has done that are connections closed.
    fn quiesce(&mut self) {
        if self.engine.begin_drain_if_requested(self.standstill.clock_ms()) {
            self.driver.stop_accepting();
        }
    }

    /// Tells the other shards that this one is quiet, once it is.
    fn report_quiet(&mut self) {
        if self.engine.drain().is_quiescing() && self.process.drain.quiesce(self.engine.shard()) {
            self.senders.ring_all();
        }
    }

    pub(super) fn all_are_quiet(&self) -> bool {
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
                    let (engine, mailbox) = (&mut self.engine, &self.mailbox);
                    Self::take_mail_before_data(engine, mailbox, &mut self.postponed, &mut adopted);
                    received += bytes.len();
                    self.engine.on_data(id, bytes);
                }
                Event::Sent(id) => self.engine.on_sent(id),
                Event::Gone(id, Gone::Eof) => self.engine.on_eof(id),
                Event::Gone(id, Gone::Reset | Gone::Error(_)) => self.engine.on_lost(id),
            }
            self.after_event();
            adopted.drain(..).for_each(|adopted| self.adopt(adopted));
            if received >= self.limits.received_bytes
                || self.engine.has_reached_message_limit(false)
            {
                break;
            }
        }
        true
    }

    /// Socket actions may free the slot that the next connection gets, and a hold is to stop
    /// the next event, so they are carried out before anything else happens.
    pub(super) fn after_event(&mut self) {
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
        // After what goes to the members here, which does not wait for the relay.
        if let Some(relay) = &self.process.relay {
            relay.ring();
        }
        self.carry_out_socket_actions();
        left
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
