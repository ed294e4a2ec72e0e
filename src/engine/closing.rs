//! How connections end: the close handshake of RFC 6455 section 7 with a
//! deadline, and the cases in which there is nobody left to shake hands with.
//!
//! An end has two steps. `disconnect` notes the reason and stops the connection
//! from being heard; `depart`, after the disconnect hook has run, takes it out
//! of its rooms and says goodbye.

use super::{
    connection::{NONE, State},
    core::{Core, Order},
    disconnect::Disconnect,
    timers::{TICK_MS, Tick, reached},
};
use crate::{
    id::ConnId,
    proto::{
        close::{CloseCode, encode_close},
        frame::Opcode,
    },
};

impl Core {
    /// Begins to end a connection. The first reason stands; one that is lost
    /// while it is closing ends at once.
    pub(crate) fn disconnect(&mut self, id: ConnId, reason: Disconnect) {
        let Some(connection) = self.find_mut(id) else { return };
        let lost = reason == Disconnect::Lost;
        match connection.state {
            State::Open => {
                connection.state = if lost { State::Finished } else { State::Closing };
                self.note_reason(id.slot(), reason);
                self.departures.push(id);
                // Its Close frame may lie behind what is parked of it.
                self.release(id);
            }
            _ if lost => {
                connection.state = State::Finished;
                self.dead.push(id);
            }
            State::Handshake => self.finish(id),
            State::Closing | State::Lingering | State::Finished => {}
        }
    }

    /// Takes a connection out of its rooms and sends the Close frame that its
    /// reason asks for.
    pub(crate) fn depart(&mut self, id: ConnId) {
        let slot = id.slot();
        let Some(connection) = self.find_mut(id) else { return };
        let reason = connection.reason();
        let half_open = std::mem::take(&mut self.connections[slot as usize].flags.half_open);
        let abrupt = reason.is_abrupt() && !half_open;
        self.stats.connections -= 1;
        self.leave_all(id, !abrupt);
        if half_open {
            // It gets what it has coming, and then the end of the stream: there is
            // nobody to shake hands with.
            self.connections[slot as usize].flags.departed = true;
            self.finish(id);
            return;
        }
        if reason == Disconnect::Lost {
            self.dead.push(id);
            return;
        }
        if reason == Disconnect::Slow {
            self.stats.slow_disconnects += 1;
        }
        if abrupt {
            self.drop_backlog(slot);
        }
        self.say_goodbye(slot, &reason, abrupt);
        self.connections[slot as usize].flags.departed = true;
        let connection = &mut self.connections[slot as usize];
        connection.state = match reason {
            Disconnect::ByPeer { .. } => State::Finished,
            Disconnect::Protocol { .. } | Disconnect::Slow | Disconnect::NoPong => State::Lingering,
            // The peer's own Close may have come while the hook ran.
            _ if connection.state == State::Finished => State::Finished,
            _ => State::Closing,
        };
        self.mark_ready(slot);
    }

    /// Throws away what waits for a connection, so that its Close frame is next.
    fn drop_backlog(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let Some(lag) = &mut connection.lag else { return };
        self.stats.messages_dropped += lag.clear() as u64;
        if lag.in_flight {
            // This turn's direct sends would only come behind the Close frame.
            connection.direct_head = NONE;
            connection.direct_tail = NONE;
        }
    }

    /// Queues the Close frame: past all waiting data, or behind it.
    fn say_goodbye(&mut self, slot: u32, reason: &Disconnect, abrupt: bool) {
        let payload = match reason.code() {
            Some(code) => encode_close(CloseCode::new(code), reason.reason()).to_vec(),
            None => Vec::new(),
        };
        if abrupt {
            self.control(slot, Opcode::Close, &payload);
        } else {
            self.write_direct(slot, |out| super::core::write_whole(out, Opcode::Close, &payload));
        }
    }

    /// Lets what is queued leave, then closes the sending side and reads on
    /// until the peer closes: for answers to bad requests.
    pub(crate) fn linger(&mut self, id: ConnId) {
        let slot = id.slot();
        self.connections[slot as usize].state = State::Lingering;
        self.mark_ready(slot);
    }

    /// Lets what is queued leave, then closes.
    pub(crate) fn finish(&mut self, id: ConnId) {
        let slot = id.slot();
        self.connections[slot as usize].state = State::Finished;
        self.mark_ready(slot);
    }

    /// The peer will send nothing more.
    pub(crate) fn on_eof(&mut self, id: ConnId) {
        let Some(connection) = self.find_mut(id) else { return };
        match connection.state {
            State::Open => {
                connection.flags.half_open = true;
                self.disconnect(id, Disconnect::Lost);
            }
            State::Handshake => self.dead.push(id),
            State::Closing | State::Lingering | State::Finished => {
                connection.state = State::Finished;
                self.mark_ready(id.slot());
            }
        }
    }

    /// Removes connections that nothing can be sent to.
    pub(crate) fn bury(&mut self) {
        while let Some(id) = self.dead.pop() {
            self.remove(id);
        }
    }

    /// Takes a connection out of the arena and has its socket closed.
    pub(crate) fn remove(&mut self, id: ConnId) {
        if self.find(id).is_none() {
            return;
        }
        let gone = self.connections.remove(id.slot() as usize);
        debug_assert!(gone.memberships.is_empty(), "{id:?} is removed, a member");
        self.flow.held -= usize::from(gone.flags.held);
        self.process.admission.leave(gone.peer.address().ip(), gone.admitted);
        self.orders.push(Order::Close(id));
    }

    /// Ends some more connections of a drain. Returns whether others are left.
    pub(crate) fn drain_some(&mut self) -> bool {
        let most = self.limits().sends_per_turn;
        let end = self.connections.capacity();
        let mut ended = 0;
        while self.drained_to < end && ended < most {
            let slot = self.drained_to as u32;
            self.drained_to += 1;
            if self.connections.contains(slot as usize) {
                self.disconnect(self.id_of(slot), Disconnect::Shutdown);
                ended += 1;
            }
        }
        self.drained_to < end
    }

    /// Everything, the Close frame or the last response too, has left: from now
    /// on the peer has `close_timeout` to answer. Before, `write_timeout` bounds
    /// every batch.
    pub(crate) fn await_the_end(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !std::mem::replace(&mut connection.flags.awaited, true) {
            let at = self.tick_after(self.limits().close_timeout);
            self.connections[slot as usize].deadline = at;
            self.schedule_by(slot, at);
        }
    }

    /// The tick at which `wait` is over for certain.
    pub(crate) fn tick_after(&self, wait: std::time::Duration) -> Tick {
        let ticks = (wait.as_millis() as u64).div_ceil(TICK_MS) + 1;
        self.now.tick().wrapping_add(ticks.min(u64::from(u32::MAX / 4)) as u32)
    }

    /// Makes sure that the connection's timer comes up no later than `at`.
    pub(crate) fn schedule_by(&mut self, slot: u32, at: Tick) {
        let connection = &self.connections[slot as usize];
        if !connection.flags.timed || !reached(connection.timer, at) {
            self.schedule(slot, at);
        }
    }
}
