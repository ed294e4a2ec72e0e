//! The engine of one shard: what happened goes in, what to do comes out. Pure:
//! no socket, no clock, no thread.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    admission::Admit,
    commands,
    conn::Conn,
    connection::State,
    core::{Core, Now, Order, Process},
    disconnect::Disconnect,
    flow::{Cause, Resumed},
    flush::Outlet,
    handler::{App, Fault, guard},
    mail::{Mail, Origin, Parcel},
    opening,
    publish::Target,
    refusals::Refusals,
    stats::Stats,
    timers::TICK_MS,
};
use crate::{
    dialect::{Event, Incoming, Refusal},
    id::ConnId,
    proto::{
        error::ProtocolError,
        frame::Opcode,
        message::{MessageLimits, Received},
    },
};

/// The engine of one shard.
///
/// # How to drive it
///
/// Once per turn: [`begin_turn`](Self::begin_turn) with the time; then what
/// happened, in any number of `on_…` calls; then [`flush`](Self::flush). After
/// each of those calls carry out [`take_orders`](Self::take_orders), before a new
/// socket is attached: an order may free the slot that the next connection gets.
/// Before the flush send what `take_outbound` gives to the
/// other shards. If `flush` says that something is left, begin the next turn
/// without waiting; otherwise sleep no longer than [`next_timer`](Self::next_timer).
///
/// It is forbidden to call `on_data` from within the outlet of `flush`, which
/// borrowing rules out, and to report anything for a connection after its
/// `Close` order, which the generation in [`ConnId`] makes harmless.
pub struct ShardEngine {
    pub(crate) core: Core,
    pub(crate) app: Arc<App>,
    refusals: Refusals,
}

/// How long a connection may take to its request that will be refused anyway.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

impl ShardEngine {
    pub(crate) fn new(shard: u8, process: Arc<Process>, app: Arc<App>, now: Now) -> Self {
        let refusals = Refusals::new(process.limits.refusals_at_once, process.shards);
        let mut core = Core::new(shard, process, now);
        core.watch_rooms = !app.join.is_empty() || !app.leave.is_empty();
        Self { core, app, refusals }
    }

    /// Begins a turn: from now on it is `now`.
    pub fn begin_turn(&mut self, now: Now) {
        self.core.now = now;
        self.core.wheel.catch_up(now.tick());
        self.core.keep_spared_until_near();
        self.core.begin_work();
        self.core.messages = 0;
    }

    /// The process stood still for at least so long of the time since the last turn,
    /// which counts as time: whatever ends a connection moves by it all the same.
    pub(crate) fn spare(&mut self, time: Duration) {
        let until = self.core.tick_after(time);
        if !time.is_zero() {
            self.core.spared_until = until;
        }
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
        self.core.stats.accepted += 1;
        self.core.messages += self.core.limits.messages_at_once();
        let admitted = if self.core.draining {
            Admit::Drop
        } else {
            self.core.process.admission.enter(peer.ip())
        };
        if admitted != Admit::Yes {
            self.core.stats.connections_refused += 1;
        }
        if admitted == Admit::Drop || (admitted == Admit::Refuse && !self.refusals.are_told()) {
            return None;
        }
        let Some(id) = self.core.insert(peer, admitted) else {
            self.core.process.admission.leave(peer.ip(), admitted);
            return None;
        };
        let patience = match admitted {
            Admit::Yes => self.core.limits().handshake_timeout,
            // Who will only be told that the server is full must not keep others
            // from being told so.
            _ => self.core.limits().handshake_timeout.min(REFUSAL_PATIENCE),
        };
        let deadline = self.core.tick_after(patience);
        self.core.connections[id.slot() as usize].deadline = deadline;
        self.core.schedule(id.slot(), deadline);
        if admitted == Admit::Refuse {
            // Behind the insert: the new connection must not get the slot of one
            // whose socket is not closed yet.
            self.refusals.take_in(id, &mut self.core);
            self.settle();
        }
        Some(id)
    }

    /// Bytes arrived. They are unmasked in place.
    pub fn on_data(&mut self, id: ConnId, bytes: &mut [u8]) {
        let tick = self.core.now.tick();
        let Some(connection) = self.core.find_mut(id) else { return };
        connection.last_received = tick;
        connection.flags.pinged = false;
        let (state, held) = (connection.state, connection.flags.held);
        self.core.stats.bytes_received += bytes.len() as u64;
        match state {
            State::Open | State::Closing if held => self.core.park(id, bytes),
            State::Open | State::Closing => self.on_frames(id, bytes),
            State::Handshake => opening::on_bytes(self, id, bytes),
            State::Lingering | State::Finished => {}
        }
        self.settle();
    }

    /// Takes messages off the front of `input` until it is used up or the connection
    /// is held or ends. What is left of a held one is parked.
    pub(crate) fn on_frames(&mut self, id: ConnId, input: &mut [u8]) {
        let all = input.len();
        let left = self.take_messages(id, input);
        if left > 0 {
            self.core.park(id, &input[all - left..]);
        }
    }

    /// Takes messages off the front of `input`; how many bytes are left because the
    /// connection was held.
    fn take_messages(&mut self, id: ConnId, mut input: &mut [u8]) -> usize {
        let limits = MessageLimits {
            message_bytes: self.core.limits().message_bytes,
            frames_per_message: self.core.limits().frames_per_message,
        };
        let before = self.core.heard.replace(id);
        let most = self.core.room_for_answers(id);
        let messages_before = self.core.messages;
        let left = loop {
            let Some(connection) = self.core.find_mut(id) else { break 0 };
            if !connection.takes_messages() {
                break 0;
            }
            if connection.flags.held {
                break input.len();
            }
            match connection.session.next(&mut input, &limits) {
                Ok(None) => break 0,
                Ok(Some(received)) => {
                    self.on_received(id, received);
                    // Each message is an event of its own to the hooks.
                    if self.core.has_due() {
                        self.settle();
                    }
                }
                Err(error) => {
                    self.on_protocol_error(id, error);
                    break 0;
                }
            }
            self.core.messages += 1;
            if self.core.direct.len() > most {
                self.core.hold(id, Cause::Answers);
            } else if self.core.messages - messages_before > self.core.limits.messages_at_once()
                && !input.is_empty()
            {
                self.core.hold(id, Cause::Turn);
            }
        };
        self.core.heard = before;
        left
    }

    /// Goes on with the next connection whose hold is over. Returns how many bytes of
    /// it were looked at, or `None` if there is no such connection.
    pub fn resume_next(&mut self) -> Option<usize> {
        let Resumed { id, message, mut input, at } = self.core.next_resumed()?;
        let is_open = |found: &super::connection::Connection| found.state == State::Open;
        if let Some(message) = message
            && self.core.find(id).is_some_and(is_open)
        {
            let before = self.core.heard.replace(id);
            commands::on_message(self, id, message.incoming());
            self.core.heard = before;
        }
        let left = self.take_messages(id, &mut input[at..]);
        let at_now = input.len() - left;
        if left > 0 {
            self.core.park_rest(id, input, at_now);
        }
        self.core.unpause(id);
        self.settle();
        Some(at_now - at)
    }

    /// Whether as many messages were looked at as a turn may take in, or half of that.
    pub fn has_heard_enough(&self, half: bool) -> bool {
        self.core.messages >= self.core.limits.messages_per_turn >> u32::from(half)
    }

    /// Whether [`ShardEngine::resume_next`] would find a connection.
    pub fn has_resumable(&self) -> bool {
        self.core.flow.has_ready()
    }

    fn on_received(&mut self, id: ConnId, received: Received<'_>) {
        let open = self.core.connections[id.slot() as usize].state == State::Open;
        match received {
            Received::Text(text) if open => {
                self.core.stats.messages_received += 1;
                commands::on_message(self, id, Incoming::Text(text.as_str()));
            }
            Received::Binary(bytes) if open => {
                self.core.stats.messages_received += 1;
                commands::on_message(self, id, Incoming::Binary(&bytes));
            }
            Received::Ping(payload) if open => {
                self.core.control(id.slot(), Opcode::Pong, &payload);
            }
            Received::Close(frame) => {
                let code = frame.map(|frame| frame.code.to_u16());
                self.core.connections[id.slot() as usize].flags.deaf = true;
                self.on_close(id, code);
            }
            // Once our Close is queued nothing else is answered.
            _ => {}
        }
    }

    /// The peer's Close frame: begins or ends the close handshake (RFC 6455
    /// section 5.5.1).
    fn on_close(&mut self, id: ConnId, code: Option<u16>) {
        if self.core.connections[id.slot() as usize].state == State::Open {
            self.core.disconnect(id, Disconnect::ByPeer { code });
        } else {
            self.core.finish(id);
        }
    }

    fn on_protocol_error(&mut self, id: ConnId, error: ProtocolError) {
        let code = error.close_code().to_u16();
        let reason = error.to_string();
        self.core.stats.protocol_errors += 1;
        self.core.connections[id.slot() as usize].flags.deaf = true;
        self.app.report(id, &Fault::Protocol { code, reason: &reason });
        if self.core.connections[id.slot() as usize].state == State::Open {
            self.core.disconnect(id, Disconnect::Protocol { code, reason: reason.into() });
        } else {
            // Our Close is out already; there is no handshake to wait for.
            self.core.linger(id);
        }
    }

    /// Everything that earlier batches left with the driver has left.
    pub fn on_sent(&mut self, id: ConnId) {
        let tick = self.core.now.tick();
        let Some(connection) = self.core.find_mut(id) else { return };
        if let Some(lag) = &mut connection.lag {
            lag.in_flight = false;
        }
        if connection.flags.pinged && connection.state == State::Open {
            // The ping may have left just now: its answer has all its time from here.
            connection.deadline = tick;
        }
        self.core.continuing.push_back(id.slot());
    }

    /// The peer closed its sending side.
    pub fn on_eof(&mut self, id: ConnId) {
        self.core.on_eof(id);
        self.settle();
    }

    /// The connection broke; nothing can be sent any more.
    pub fn on_lost(&mut self, id: ConnId) {
        self.core.disconnect(id, Disconnect::Lost);
        self.settle();
    }

    /// A message from another thread.
    pub(crate) fn on_mail(&mut self, parcel: Parcel) {
        self.core.stats.mails_received += 1;
        if let Origin::Connection(id) = parcel.origin {
            self.core.windows.owe(id, parcel.bytes);
        }
        if let Some(question) = self.core.on_mail(parcel) {
            question(self);
        }
        self.settle();
    }

    /// Handles the timers that have come up, and a slice of a drain. Returns
    /// whether more is due than a turn may handle.
    pub fn on_timers(&mut self) -> bool {
        let now = self.core.now.tick();
        let mut left = self.core.limits().timers_per_turn;
        while left > 0 {
            let Some((id, tick)) = self.core.wheel.take_due(now) else { break };
            left -= 1;
            self.core.on_timer(id, tick);
        }
        let more = self.core.draining && self.core.drain_some();
        self.core.look_at_lagging();
        self.settle();
        left == 0 || more
    }

    /// When the next timer comes up, `None` if there is none.
    pub fn next_timer(&self) -> Option<Duration> {
        let ticks = self.core.wheel.next_in(self.core.now.tick());
        let timer = ticks.map(|ticks| Duration::from_millis(u64::from(ticks) * TICK_MS));
        let lagging = self.core.next_look_at_lagging();
        timer.map_or(lagging, |timer| Some(lagging.map_or(timer, |lagging| lagging.min(timer))))
    }

    /// Sends what is waiting. Returns whether something is left for a next turn
    /// that shall not wait.
    pub fn flush(&mut self, outlet: &mut impl Outlet) -> bool {
        // Before it is seen outside that there are so many.
        self.core.pulse().set_connections(self.core.stats.connections);
        let left = self.core.flush(outlet);
        for id in std::mem::take(&mut self.core.overdue) {
            self.core.disconnect(id, Disconnect::Slow);
        }
        self.core.judge_suspects(outlet);
        self.settle();
        left || !self.core.ready.is_empty()
    }

    /// Whether so much is waiting that it should be flushed before more comes in.
    pub fn wants_flush(&self) -> bool {
        self.core.wants_flush()
    }

    /// What to do with sockets now.
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.core.orders)
    }

    /// Whether [`ShardEngine::take_orders`] would give anything.
    pub fn has_orders(&self) -> bool {
        !self.core.orders.is_empty()
    }

    /// What to send to other shards now: a bit for each, and the mail.
    pub(crate) fn take_outbound(&mut self) -> Vec<(u64, Parcel)> {
        if self.core.handles_have_sent.get() {
            (self.core.take_from_handles)(&mut self.core.outbound);
        }
        let Core { windows, outbound, shard, .. } = &mut self.core;
        for (to, credits) in windows.take_credits() {
            let credit = Mail::Credit(*shard, credits).charged_to(Origin::Shard);
            outbound.push((1 << to, credit));
        }
        std::mem::take(outbound)
    }

    /// Bytes that handles were charged for, for publications and for other mail, and
    /// that have been taken since this was last asked.
    pub(crate) fn take_handle_credit(&mut self) -> (usize, usize) {
        std::mem::take(&mut self.core.handle_credit)
    }

    /// A shard has ended and takes nothing more.
    pub(crate) fn on_shard_ended(&mut self, shard: u8) {
        self.core.on_shard_ended(shard);
    }

    /// What this shard counted.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    /// Begins to end all connections with 1001, a slice each turn.
    pub fn begin_drain(&mut self) {
        self.core.draining = true;
    }

    /// Whether a drain was begun.
    pub fn is_draining(&self) -> bool {
        self.core.draining
    }

    /// Whether a drain has come to every connection: none is open any more.
    pub fn has_ended_all(&self) -> bool {
        self.core.draining && self.core.drained_to >= self.core.connections.capacity()
    }

    /// Whether a drain was begun and every connection is gone.
    pub fn is_drained(&self) -> bool {
        self.core.draining && self.core.connections.is_empty()
    }

    /// Whether it keeps nothing of any connection, room or message.
    pub fn is_empty(&self) -> bool {
        self.core.connections.is_empty()
            && self.core.rooms.is_empty()
            && self.core.flow.is_empty()
            && self.core.windows.is_idle()
    }

    /// How many connections are in the arena, in whatever state.
    pub fn connection_count(&self) -> usize {
        self.core.connections.len()
    }

    /// Runs the hooks that are due, and what they bring about, until nothing is.
    ///
    /// Each connection departs once, and of the moves that hooks make in answer to
    /// moves a bounded number is told for each event, so this ends.
    pub(crate) fn settle(&mut self) {
        loop {
            // What a handler did before it closed its connection is told before
            // the end of the connection is.
            if let Some(due) = self.core.moves.pop_front() {
                self.core.move_depth = due.depth + 1;
                self.run_room_hooks(due.id, due.joined, &due.room);
                self.core.move_depth = 0;
                continue;
            }
            self.core.hooked_moves = 0;
            if let Some(id) = self.core.untold_move.take() {
                self.app.report(id, &Fault::RoomHooksStopped);
            }
            let Some(id) = self.core.departures.pop() else { break };
            self.run_disconnect_hooks(id);
            self.core.depart(id);
        }
        self.core.bury();
    }

    fn run_disconnect_hooks(&mut self, id: ConnId) {
        let Some(connection) = self.core.find_mut(id) else { return };
        if !std::mem::take(&mut connection.flags.announced) {
            return;
        }
        let reason = connection.reason();
        let app = &self.app;
        for hook in &app.disconnect {
            let result = guard(|| hook(&mut Conn::new(&mut self.core, id), &reason));
            if let Err(message) = result {
                self.core.stats.handler_panics += 1;
                app.report(id, &Fault::Panicked { what: "disconnect", message: &message });
            }
        }
    }

    fn run_room_hooks(&mut self, id: ConnId, joined: bool, room: &str) {
        let what = if joined { "join" } else { "leave" };
        let count = if joined { self.app.join.len() } else { self.app.leave.len() };
        for index in 0..count {
            if self.core.find(id).is_none() {
                return;
            }
            let hook = if joined { &self.app.join[index] } else { &self.app.leave[index] };
            let result = guard(|| hook(&mut Conn::new(&mut self.core, id), room));
            self.after_hook(id, what, result.map(Ok));
        }
    }

    /// What a hook's or handler's result brings about: an error is reported and
    /// told to the client, a panic closes the connection.
    pub(crate) fn after_hook(
        &mut self,
        id: ConnId,
        what: &str,
        result: Result<super::handler::HandlerResult, String>,
    ) -> bool {
        match result {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                self.app.report(id, &Fault::Failed { what, error: &error });
                if self.core.find(id).is_some_and(|connection| connection.state == State::Open) {
                    self.core.tell(id.slot(), &Event::Refused(error.refusal()));
                }
                false
            }
            Err(message) => {
                self.core.stats.handler_panics += 1;
                self.app.report(id, &Fault::Panicked { what, message: &message });
                self.core.disconnect(id, Disconnect::HandlerPanic);
                false
            }
        }
    }

    /// Opens an upgraded connection: greets it and runs the connect hooks.
    pub(crate) fn open(&mut self, id: ConnId) {
        let slot = id.slot();
        let connection = &mut self.core.connections[slot as usize];
        connection.state = State::Open;
        let (dialect, admitted) = (connection.dialect, connection.admitted);
        self.core.stats.upgraded += 1;
        self.core.stats.connections += 1;
        if admitted == Admit::Refuse {
            self.core.tell(slot, &Event::Refused(Refusal::ServerFull));
            self.core.disconnect(id, Disconnect::ServerFull);
            return;
        }
        // Never full: it is not counted.
        let _ = self.core.join(id, Target::Everyone);
        self.core.start_heartbeat(id);
        if dialect.rules().greets {
            let client_id = self.core.client_id(id);
            self.core.tell(slot, &Event::Connected { client_id });
        }
        self.core.connections[slot as usize].flags.announced = true;
        let app = Arc::clone(&self.app);
        for hook in &app.connect {
            let result = guard(|| hook(&mut Conn::new(&mut self.core, id)));
            let words = match &result {
                Ok(Err(error)) => Some(dialect.error_text(&error.refusal()).to_owned()),
                _ => None,
            };
            if !self.after_hook(id, "connect", result) {
                if let Some(words) = words {
                    self.core.disconnect(id, Disconnect::Refused(words.into()));
                }
                return;
            }
        }
    }
}
