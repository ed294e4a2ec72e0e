//! The state of one shard's engine: its parts side by side, each with what it can do
//! alone, and here what takes two or three of them: writing to a connection, setting
//! its timer. What is done to them stands in the rooms above.

use std::sync::Arc;

use bytes::BytesMut;

use super::{
    arena::Arena,
    awaited::Awaited,
    connection::Connection,
    direct_sends::DirectSends,
    framing::{write_frame, write_whole},
    hold_queue::HoldQueue,
    membership_changes::MembershipChanges,
    merged::Merged,
    outbound::Outbound,
    refusals::Refusals,
    rooms::Rooms,
    send_queue::Control,
    timers::Timers,
    windows::Windows,
};
use crate::{
    dialect::{Event, Stamp},
    engine::{
        process::{drain::Drain, pulse::Pulse, shared::Process},
        types::{
            audience::Target,
            disconnect::Disconnect,
            limits::Limits,
            outlet::SocketAction,
            stats::Stats,
            time::{Now, Tick},
        },
    },
    id::{ClientId, ConnId},
    proto::frame::Opcode,
};

/// The state of one shard's engine.
pub(crate) struct Core {
    pub(crate) shard: u8,
    pub(crate) process: Arc<Process>,
    /// The process's, where no other shard's writes are near.
    pub(crate) limits: Limits,
    pub(crate) now: Now,
    pub(crate) stats: Stats,
    pub(crate) connections: Arena,
    pub(crate) rooms: Rooms,
    pub(crate) direct: DirectSends,
    pub(crate) turn: Turn,
    pub(crate) flush: FlushState,
    /// Who is not read for now.
    pub(crate) holds: HoldQueue,
    pub(crate) outbound: Outbound,
    /// Who waits for an answer of the relay.
    pub(crate) awaited: Awaited,
    pub(crate) timers: Timers,
    pub(crate) changes: MembershipChanges,
    pub(crate) endings: Endings,
    pub(crate) refusals: Refusals,
    pub(crate) drain: Drain,
    /// What to do with sockets.
    pub(crate) socket_actions: Vec<SocketAction>,
}

/// What the present turn has taken in.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Messages and control frames that were looked at.
    pub(crate) messages: usize,
    /// The connection whose input is being looked at.
    pub(crate) receiving: Option<ConnId>,
}

/// What flushes go by.
#[derive(Debug, Default)]
pub(crate) struct FlushState {
    /// Publications accepted so far: each has this number as its own.
    pub(crate) publications: u64,
    /// Bytes appended to rooms' logs since the last flush.
    pub(crate) logged: usize,
    /// Connections whose last batch has left and for which more may wait, in turn.
    pub(crate) continuing: std::collections::VecDeque<u32>,
    /// What the flushes of this turn may still do, in sixteenths of a small send.
    pub(crate) work_left: usize,
    /// When rooms that wait for their members are looked at again.
    pub(crate) look_again: Tick,
    /// What members of several rooms are sent.
    pub(crate) merged: Merged,
}

/// Connections that are about to end, by what comes next for them.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    /// They are open no more, and their hook must be called.
    pub(crate) pending_disconnects: Vec<ConnId>,
    /// To be removed: nothing can be sent to them.
    pub(crate) to_reap: Vec<ConnId>,
    /// The last flush found them too slow.
    pub(crate) over_budget: Vec<ConnId>,
    /// They made no progress or were silent for too long, as far as the engine knows:
    /// the flush asks the driver whether that is so.
    pub(crate) timed_out: Vec<ConnId>,
}

impl Core {
    pub(crate) fn new(shard: u8, process: Arc<Process>, now: Now) -> Self {
        let window = process.limits.window_of(process.shards);
        let windows = Windows::new(process.windows(), window);
        Self {
            shard,
            limits: process.limits.clone(),
            now,
            stats: Stats::default(),
            connections: Arena::new(shard),
            rooms: Rooms::default(),
            direct: DirectSends::default(),
            turn: Turn::default(),
            flush: FlushState { look_again: now.tick(), ..FlushState::default() },
            holds: HoldQueue::default(),
            outbound: Outbound::new(shard, process.shards, windows),
            awaited: Awaited::default(),
            timers: Timers::new(now.tick()),
            changes: MembershipChanges::default(),
            endings: Endings::default(),
            refusals: Refusals::new(process.limits.refusals_at_once, process.shards),
            drain: Drain::default(),
            socket_actions: Vec::new(),
            process,
        }
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.process.pulses[usize::from(self.shard)]
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { timestamp_ms: self.now.unix_ms }
    }

    /// The connection of that identity, if it is still here.
    #[inline]
    pub(crate) fn find(&self, id: ConnId) -> Option<&Connection> {
        self.connections.find(id)
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn find_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.find_mut(id)
    }

    pub(crate) fn client_id(&self, id: ConnId) -> ClientId {
        ClientId::new(self.process.node, id)
    }

    /// The shards that have members of `target`, one bit each; `room` is its place in
    /// the table, if it has members on this one.
    pub(crate) fn shards_of(&self, target: Target<'_>, room: Option<u32>) -> u64 {
        match (target, room) {
            (Target::Everyone, _) => self.process.all_shards(),
            (_, Some(room)) => self.rooms.room(room).shared.shards(),
            _ => {
                let found = self.process.directory.find(target.space(), target.name());
                found.map_or(0, |shared| shared.shards())
            }
        }
    }

    /// Whether members of `target` get what is published in the relay's order; `room` is
    /// its place in the table, if it has members on this shard.
    pub(crate) fn has_history(&self, target: Target<'_>, room: Option<u32>) -> bool {
        match (target, room, &self.process.relay) {
            (Target::Room(_), Some(room), _) => self.rooms.room(room).shared.traits.history,
            (Target::Room(name), None, Some(relay)) => relay.traits_of(name).history,
            _ => false,
        }
    }

    /// Takes the user's name out of its connection while it is needed beside a
    /// change of the rest; [`Core::return_user`] puts it back.
    pub(crate) fn lend_user(&mut self, id: ConnId) -> Option<Box<str>> {
        self.connections[id.slot()].extra.as_mut()?.user.take()
    }

    pub(crate) fn return_user(&mut self, id: ConnId, user: Option<Box<str>>) {
        if user.is_some() {
            self.connections[id.slot()].extra().user = user;
        }
    }

    /// Whether hooks are due, or connections to be removed.
    #[inline]
    pub(crate) fn has_due(&self) -> bool {
        !self.changes.is_empty()
            || !self.endings.pending_disconnects.is_empty()
            || !self.endings.to_reap.is_empty()
    }

    /// Bytes that wait for the flush.
    #[inline]
    pub(crate) fn pending_bytes(&self) -> usize {
        self.direct.len() + self.flush.logged
    }

    /// Has the flush look at a connection.
    pub(crate) fn mark_ready(&mut self, slot: u32) {
        self.direct.mark_ready(&mut self.connections[slot], slot);
    }

    /// Appends bytes that `write` makes to what `slot` is sent in this turn.
    #[inline]
    pub(crate) fn write_direct(&mut self, slot: u32, write: impl FnOnce(&mut BytesMut)) {
        let is_answer = self.turn.receiving.is_some_and(|id| id.slot() == slot);
        let connection = &mut self.connections[slot];
        self.direct.write((connection, slot), self.flush.publications, is_answer, write);
    }

    /// Sends one event to one connection, in its dialect. Nothing follows a Close
    /// frame (RFC 6455 section 5.5.1).
    pub(crate) fn send_event(&mut self, slot: u32, event: &Event<'_>) {
        let connection = &self.connections[slot];
        if connection.flags.close_queued {
            return;
        }
        let (dialect, stamp) = (connection.dialect, self.stamp());
        self.write_direct(slot, |out| {
            write_frame(out, |out| dialect.encode(event, &stamp, out));
        });
        self.stats.direct_messages += 1;
    }

    /// Sends one message to one connection as it is. Nothing follows a Close frame.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the path of every message; measured")]
    pub(crate) fn send_whole(&mut self, slot: u32, opcode: Opcode, payload: &[u8]) {
        let is_answer = self.turn.receiving.is_some_and(|id| id.slot() == slot);
        let connection = &mut self.connections[slot];
        if connection.flags.close_queued {
            return;
        }
        self.direct.write((connection, slot), self.flush.publications, is_answer, |out| {
            write_whole(out, opcode, payload);
        });
        self.stats.direct_messages += 1;
    }

    /// Sends a control frame: in order while nothing waits, past all waiting
    /// data otherwise.
    pub(crate) fn control(&mut self, slot: u32, opcode: Opcode, payload: &[u8]) {
        let connection = &mut self.connections[slot];
        if connection.is_blocked() {
            let mut frame = BytesMut::new();
            write_whole(&mut frame, opcode, payload);
            let frame = frame.freeze();
            connection.send_queue().control(match opcode {
                Opcode::Ping => Control::Ping(frame),
                Opcode::Close => Control::Close(frame),
                _ => Control::Pong(frame),
            });
        } else {
            self.write_direct(slot, |out| write_whole(out, opcode, payload));
        }
    }

    /// Sets the connection's timer to `at`.
    pub(crate) fn schedule(&mut self, slot: u32, at: Tick) {
        let id = self.connections.id_of(slot);
        self.timers.schedule(&mut self.connections[slot], id, at);
    }

    /// Makes sure that the connection's timer comes up no later than `at`.
    pub(crate) fn schedule_by(&mut self, slot: u32, at: Tick) {
        let id = self.connections.id_of(slot);
        self.timers.schedule_by(&mut self.connections[slot], id, at);
    }

    /// Remembers why a connection ends; the first reason stands.
    pub(crate) fn note_reason(&mut self, slot: u32, reason: Disconnect) {
        self.connections[slot].extra().reason.get_or_insert(reason);
    }
}
