//! The engine of one shard: what happened goes in, what to do comes out. Pure:
//! no socket, no clock, no thread. Each call is handed to the folder of `engine` whose task it is.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use super::{
    backpressure::holds,
    dispatch::{
        hooks::{self, App},
        incoming_mail, queries, receiving,
    },
    fanout::{flush, scan},
    lifecycle::{accepting, closing, deadlines, draining},
    process::{
        drain::Drain,
        mail::{Origin, Parcel},
        shared::Process,
    },
    state::{core::Core, outbound::Parcels},
    types::{
        disconnect::Disconnect,
        kept::Kept,
        outlet::{Outlet, SocketAction},
        stats::Stats,
        time::{Now, TICK_MS},
    },
};
use crate::id::ConnId;

/// The engine of one shard.
///
/// # How to drive it
///
/// Once per turn: [`begin_turn`](Self::begin_turn) with the time; then what
/// happened, in any number of `on_…` calls; then [`flush`](Self::flush). After
/// each of those calls carry out [`take_socket_actions`](Self::take_socket_actions),
/// before a new socket is attached: one may free the slot that the next connection gets.
/// Before the flush send what `take_outbound` gives to the
/// other shards. If `flush` says that something is left, begin the next turn
/// without waiting; otherwise sleep no longer than [`next_timer`](Self::next_timer).
///
/// It is forbidden to call `on_data` from within the outlet of `flush`, which
/// borrowing rules out, and to report anything for a connection after its
/// [`SocketAction::Close`], which the generation in [`ConnId`] makes harmless.
pub struct ShardEngine {
    pub(super) core: Core,
    app: Arc<App>,
}

impl ShardEngine {
    pub(crate) fn new(shard: u8, process: Arc<Process>, app: Arc<App>, now: Now) -> Self {
        let mut core = Core::new(shard, process, now);
        core.changes.are_reported = !app.join.is_empty() || !app.leave.is_empty();
        Self { core, app }
    }

    /// Where what handlers send through handles on this shard's thread comes from, and
    /// whether there is any.
    pub(crate) fn set_handles(&mut self, take: fn(&mut Parcels), have_sent: Rc<Cell<bool>>) {
        self.core.outbound.set_handles(take, have_sent);
    }

    /// Its number.
    pub(crate) fn shard(&self) -> u8 {
        self.core.shard
    }

    /// What it shares with the other shards.
    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.core.process
    }

    /// Begins a turn: from now on it is `now`.
    pub fn begin_turn(&mut self, now: Now) {
        self.core.now = now;
        self.core.timers.begin_turn(now.tick());
        flush::begin_work(&mut self.core);
        self.core.turn.messages = 0;
    }

    /// The process stood still while the shard waited, and `time` of that counts as time
    /// waited: no connection is ended for it before as much has passed again.
    pub(crate) fn extend_grace(&mut self, time: Duration) {
        if !time.is_zero() {
            self.core.timers.extend_grace(self.core.now.tick_after(time));
        }
    }

    /// A turn begins at `now_ms` by the process's clock.
    pub(crate) fn turns_now(&self, now_ms: u64) {
        self.core.pulse().set_due(now_ms);
    }

    /// A turn began at `now_ms` by the process's clock, and the shard is about to
    /// wait, so long at the most (`None`: until something happens).
    pub(crate) fn before_wait(&self, now_ms: u64, timeout: Option<Duration>) {
        let pulse = self.core.pulse();
        pulse.set_connections(self.core.stats.connections);
        let due_ms = timeout.map(|timeout| now_ms.saturating_add(timeout.as_millis() as u64));
        pulse.set_due(due_ms.unwrap_or(u64::MAX));
    }

    /// A socket was accepted. Returns the identity to attach it under, or `None`
    /// if it must be closed at once because a limit is reached.
    pub fn on_accepted(&mut self, peer: SocketAddr) -> Option<ConnId> {
        let id = accepting::on_accepted(&mut self.core, peer);
        self.run_pending();
        id
    }

    /// Bytes arrived. They are unmasked in place.
    pub fn on_data(&mut self, id: ConnId, bytes: &mut [u8]) {
        receiving::on_data(&mut self.core, &self.app, id, bytes);
        self.run_pending();
    }

    /// Goes on with the next connection whose hold is over. Returns how many bytes of
    /// it were looked at, or `None` if there is no such connection.
    pub fn resume_next(&mut self) -> Option<usize> {
        let bytes = receiving::resume_next(&mut self.core, &self.app)?;
        self.run_pending();
        Some(bytes)
    }

    /// Whether as many messages were looked at as a turn may take in, or half of that.
    pub fn has_reached_message_limit(&self, half: bool) -> bool {
        self.core.turn.messages >= self.core.limits.messages_per_turn >> u32::from(half)
    }

    /// Whether [`ShardEngine::resume_next`] would find a connection.
    pub fn has_resumable(&self) -> bool {
        self.core.holds.has_ready()
    }

    /// Everything that earlier batches left with the driver has left.
    pub fn on_sent(&mut self, id: ConnId) {
        flush::on_sent(&mut self.core, id);
    }

    /// The peer closed its sending side.
    pub fn on_eof(&mut self, id: ConnId) {
        closing::on_eof(&mut self.core, id);
        self.run_pending();
    }

    /// The connection broke; nothing can be sent any more.
    pub fn on_lost(&mut self, id: ConnId) {
        closing::disconnect(&mut self.core, id, Disconnect::Lost);
        self.run_pending();
    }

    /// A message from another thread.
    pub(crate) fn on_mail(&mut self, parcel: Parcel) {
        incoming_mail::on_arrival(&mut self.core, parcel);
        self.run_pending();
    }

    /// What `origin` was charged for has been taken, by whoever drives the engine.
    pub(crate) fn credit(&mut self, origin: Origin, bytes: u32) {
        self.core.outbound.credit(origin, bytes);
    }

    /// Handles the timers that have come up, and a slice of a drain. Returns
    /// whether more is due than a turn may handle.
    pub fn on_timers(&mut self) -> bool {
        let now = self.core.now.tick();
        let mut left = self.core.limits.timers_per_turn;
        while left > 0 {
            let Some((id, tick)) = self.core.timers.wheel.take_due(now) else { break };
            left -= 1;
            deadlines::on_timer(&mut self.core, id, tick);
        }
        let more = draining::close_some(&mut self.core);
        scan::look_at_lagging(&mut self.core);
        self.run_pending();
        left == 0 || more
    }

    /// When the next timer comes up, `None` if there is none.
    pub fn next_timer(&self) -> Option<Duration> {
        let ticks = self.core.timers.wheel.next_in(self.core.now.tick());
        let timer = ticks.map(|ticks| Duration::from_millis(u64::from(ticks) * TICK_MS));
        timer.into_iter().chain(scan::next_look_at_lagging(&self.core)).min()
    }

    /// Sends what is waiting. Returns whether something is left for a next turn
    /// that shall not wait.
    pub fn flush(&mut self, outlet: &mut impl Outlet) -> bool {
        // Before it is seen outside that there are so many.
        self.core.pulse().set_connections(self.core.stats.connections);
        let left = flush::flush(&mut self.core, outlet);
        for id in std::mem::take(&mut self.core.endings.over_budget) {
            closing::disconnect(&mut self.core, id, Disconnect::Slow);
        }
        deadlines::check_timeouts(&mut self.core, outlet);
        self.run_pending();
        left || !self.core.direct.is_empty()
    }

    /// Whether so much is waiting that it should be flushed before more comes in.
    pub fn wants_flush(&self) -> bool {
        flush::wants_flush(&self.core)
    }

    /// What to do with sockets now.
    pub fn take_socket_actions(&mut self) -> Vec<SocketAction> {
        std::mem::take(&mut self.core.socket_actions)
    }

    /// Whether [`ShardEngine::take_socket_actions`] would give anything.
    pub fn has_socket_actions(&self) -> bool {
        !self.core.socket_actions.is_empty()
    }

    /// What to send to other shards now: a bit for each, and the mail.
    pub(crate) fn take_outbound(&mut self) -> Parcels {
        self.core.outbound.take()
    }

    /// Bytes that handles were charged for, for publications and for other mail, and
    /// that have been taken since this was last asked.
    pub(crate) fn take_handle_credit(&mut self) -> (usize, usize) {
        self.core.outbound.take_handle_credit()
    }

    /// A shard has ended and takes nothing more.
    pub(crate) fn on_shard_ended(&mut self, shard: u8) {
        holds::on_shard_ended(&mut self.core, shard);
    }

    /// What this shard counted.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    /// How far a drain has come.
    pub(crate) fn drain(&self) -> Drain {
        self.core.drain
    }

    /// Begins a drain if one is asked for; `now_ms` is the process's clock. Returns
    /// whether that is now.
    pub(crate) fn begin_drain_if_requested(&mut self, now_ms: u64) -> bool {
        let core = &mut self.core;
        core.drain.begin(&core.process.drain, now_ms, core.limits.drain_timeout)
    }

    /// Begins to end all connections with 1001, a slice each turn.
    pub fn begin_drain(&mut self) {
        self.core.drain.begin_closing();
    }

    /// Whether connections are being closed, or have been.
    pub fn is_draining(&self) -> bool {
        self.core.drain.is_closing()
    }

    /// Whether a drain was begun and every connection is gone.
    pub fn is_drained(&self) -> bool {
        self.core.drain.is_closing() && self.core.connections.is_empty()
    }

    /// Whether it keeps nothing of any connection, room or message.
    pub fn is_empty(&self) -> bool {
        self.core.connections.is_empty()
            && self.core.rooms.is_empty()
            && self.core.holds.is_empty()
            && self.core.awaited.is_empty()
            && self.core.outbound.windows.is_idle()
    }

    /// How many connections are in the arena, in whatever state.
    pub fn connection_count(&self) -> usize {
        self.core.connections.len()
    }

    /// How many connections are held.
    pub(crate) fn held(&self) -> usize {
        self.core.holds.held
    }

    /// What this shard keeps. Costs a walk over all connections and rooms.
    pub(crate) fn kept(&self) -> Kept {
        queries::kept(&self.core)
    }

    /// Runs the hooks that are due, and what they bring about, until nothing is.
    #[inline]
    fn run_pending(&mut self) {
        if self.core.has_due() {
            hooks::run_pending(&mut self.core, &self.app);
        }
    }
}
