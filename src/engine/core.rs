//! The state of one shard's engine and the operations on it that no handler
//! sees. What comes in goes through `shard_engine`, what goes out through
//! `flush`; this file is what both stand on.

use std::{cell::Cell, collections::VecDeque, rc::Rc, sync::Arc};

use bytes::BytesMut;
use slab::Slab;

use super::{
    admission::{Admission, Admit},
    connection::{Connection, Control, NONE},
    directory::Directory,
    disconnect::Disconnect,
    flow::Flow,
    limits::Limits,
    mail::{Mail, Origin, Parcel},
    pulse::Pulse,
    rooms::Rooms,
    stats::Stats,
    timers::{TICK_MS, Tick, Wheel},
    windows::Windows,
};
use crate::{
    dialect::{Dialect, Encoding, Event, Stamp},
    id::{ClientId, ConnId},
    proto::frame::{self, Opcode},
};

/// The time of a turn, taken once by the shard and handed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the engine's start, by the monotonic clock.
    pub since_start_ms: u64,
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
}

impl Now {
    pub(crate) fn tick(self) -> Tick {
        (self.since_start_ms / TICK_MS) as Tick
    }
}

/// What all shards of a process share.
#[derive(Debug)]
pub(crate) struct Process {
    /// Random per process: tells this process's client ids from another's.
    pub(crate) node: u64,
    pub(crate) limits: Limits,
    pub(crate) directory: Arc<Directory>,
    pub(crate) admission: Admission,
    /// The dialect of a path that names none.
    pub(crate) dialect: Dialect,
    /// The path of upgrades, without a slash at its end.
    pub(crate) path: String,
    /// How many shards there are, from 1 to 64.
    pub(crate) shards: usize,
    /// What each of them says of itself.
    pub(crate) pulses: Box<[Pulse]>,
}

impl Process {
    pub(crate) fn new(
        node: u64,
        limits: Limits,
        dialect: Dialect,
        path: &str,
        shards: usize,
    ) -> Self {
        debug_assert!((1..=Limits::SHARDS).contains(&shards));
        let admission = Admission::new(&limits);
        Self {
            node,
            directory: Arc::new(Directory::new()),
            admission,
            dialect,
            path: path.trim_end_matches('/').to_owned(),
            limits,
            shards,
            pulses: (0..shards).map(|_| Pulse::new()).collect(),
        }
    }

    /// Whether there is a shard of that number.
    pub(crate) fn has_shard(&self, shard: u8) -> bool {
        usize::from(shard) < self.shards
    }

    /// One bit for each shard.
    pub(crate) fn all_shards(&self) -> u64 {
        u64::MAX >> (Limits::SHARDS - self.shards)
    }
}

/// A direct send of this turn: a run of [`Core::direct`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectRun {
    /// How many publications the shard had accepted before it.
    pub(crate) published: u64,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// It answers what the connection itself sent.
    pub(crate) own: bool,
    /// The connection's next run, or [`NONE`].
    pub(crate) next: u32,
}

/// What a shard shall do with a socket once everything has been flushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Close the sending side.
    Shutdown(ConnId),
    /// Close it.
    Close(ConnId),
    /// Give it away alive, with the bytes that have been received of it.
    HandOff(ConnId, Vec<u8>),
    /// Read it no more, or read it again.
    Hold(ConnId, bool),
}

/// The state of one shard's engine.
pub(crate) struct Core {
    pub(crate) shard: u8,
    pub(crate) process: Arc<Process>,
    /// The process's, where no other shard's writes are near.
    pub(crate) limits: Limits,
    pub(crate) now: Now,
    pub(crate) connections: Slab<Connection>,
    next_generation: u32,
    pub(crate) rooms: Rooms,
    /// Publications accepted so far: each has this number as its sequence.
    pub(crate) sequence: u64,
    /// The bytes of this turn's direct sends, one behind the other.
    pub(crate) direct: BytesMut,
    pub(crate) runs: Vec<DirectRun>,
    /// Connections with direct sends or something else to look at in the flush.
    pub(crate) ready: Vec<u32>,
    /// Bytes appended to rooms' logs since the last flush.
    pub(crate) logged: usize,
    /// Connections whose last batch has left and for which more may wait, in turn.
    pub(crate) continuing: VecDeque<u32>,
    /// What the flushes of this turn may still do, in sixteenths of a small send.
    pub(crate) work_left: usize,
    /// No connection is ended before that for having taken too long: the process
    /// stood still.
    pub(crate) spared_until: Tick,
    /// When rooms that wait for their members are looked at again.
    pub(crate) look_again: Tick,
    /// Who is not read for now.
    pub(crate) flow: Flow,
    /// The ways to the other shards.
    pub(crate) windows: Windows,
    /// Bytes of handles' publications, and of their other mail, that have been taken
    /// since this was last told.
    pub(crate) handle_credit: (usize, usize),
    /// Messages and control frames that were looked at in this turn.
    pub(crate) messages: usize,
    /// The connection whose input is being looked at.
    pub(crate) heard: Option<ConnId>,
    pub(crate) wheel: Wheel,
    pub(crate) stats: Stats,
    /// Moves what handlers sent through handles, on this shard's thread, behind what
    /// is outbound; and whether there is anything.
    pub(crate) take_from_handles: fn(&mut Vec<(u64, Parcel)>),
    pub(crate) handles_have_sent: Rc<Cell<bool>>,
    /// For other shards: a bit for each, and what they get.
    pub(crate) outbound: Vec<(u64, Parcel)>,
    pub(crate) orders: Vec<Order>,
    /// Whether handlers want to hear of joins and leaves.
    pub(crate) watch_rooms: bool,
    /// Joins and leaves that the hooks have not heard of.
    pub(crate) moves: VecDeque<Move>,
    /// How many hooks' doing the moves are that happen now.
    pub(crate) move_depth: u8,
    /// Moves by hooks of moves that hooks hear of, since the present event began.
    pub(crate) hooked_moves: usize,
    /// The first connection of the event whose move no hook heard of.
    pub(crate) untold_move: Option<ConnId>,
    /// Connections that are open no more and whose hook must be called.
    pub(crate) departures: Vec<ConnId>,
    /// Connections to remove: nothing can be sent to them.
    pub(crate) dead: Vec<ConnId>,
    /// Connections that the last flush found too slow.
    pub(crate) overdue: Vec<ConnId>,
    /// Connections that made no progress or were silent for too long, as far as the
    /// engine knows: the flush asks the driver.
    pub(crate) suspects: Vec<ConnId>,
    pub(crate) draining: bool,
    /// The slot at which the next slice of a drain begins.
    pub(crate) drained_to: usize,
}

/// A connection joined or left a room.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) id: ConnId,
    pub(crate) joined: bool,
    pub(crate) room: Arc<str>,
    /// How many hooks of moves led to it.
    pub(crate) depth: u8,
}

impl Core {
    pub(crate) fn new(shard: u8, process: Arc<Process>, now: Now) -> Self {
        let window = process.limits.window_of(process.shards);
        let windows = Windows::new(process.shards, window);
        Self {
            shard,
            limits: process.limits.clone(),
            process,
            now,
            connections: Slab::new(),
            next_generation: 0,
            rooms: Rooms::default(),
            sequence: 0,
            direct: BytesMut::new(),
            runs: Vec::new(),
            ready: Vec::new(),
            logged: 0,
            continuing: VecDeque::new(),
            work_left: 0,
            spared_until: now.tick(),
            look_again: now.tick(),
            flow: Flow::default(),
            windows,
            handle_credit: (0, 0),
            messages: 0,
            heard: None,
            wheel: Wheel::new(now.tick()),
            stats: Stats::default(),
            take_from_handles: |_| {},
            handles_have_sent: Rc::default(),
            outbound: Vec::new(),
            orders: Vec::new(),
            watch_rooms: false,
            moves: VecDeque::new(),
            move_depth: 0,
            hooked_moves: 0,
            untold_move: None,
            departures: Vec::new(),
            dead: Vec::new(),
            overdue: Vec::new(),
            suspects: Vec::new(),
            draining: false,
            drained_to: 0,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.process.pulses[usize::from(self.shard)]
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { timestamp_ms: self.now.unix_ms }
    }

    /// Adds a connection to the arena.
    pub(crate) fn insert(&mut self, peer: std::net::SocketAddr, admitted: Admit) -> Option<ConnId> {
        if self.connections.len() as u32 >= ConnId::MAX_SLOTS {
            return None;
        }
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let (dialect, policy) = (self.process.dialect, self.limits().slow_policy);
        let mut connection = Connection::new(generation, peer, admitted, dialect, policy);
        connection.last_received = self.now.tick();
        connection.accepted_ms = self.now.unix_ms;
        let slot = self.connections.insert(connection) as u32;
        Some(ConnId::new(self.shard, slot, generation))
    }

    pub(crate) fn find(&self, id: ConnId) -> Option<&Connection> {
        self.connections
            .get(id.slot() as usize)
            .filter(|found| found.generation == id.generation() && id.shard() == self.shard)
    }

    pub(crate) fn find_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let shard = self.shard;
        self.connections
            .get_mut(id.slot() as usize)
            .filter(|found| found.generation == id.generation() && id.shard() == shard)
    }

    /// The identity of the connection in `slot`, which must be taken.
    pub(crate) fn id_of(&self, slot: u32) -> ConnId {
        ConnId::new(self.shard, slot, self.connections[slot as usize].generation)
    }

    pub(crate) fn client_id(&self, id: ConnId) -> ClientId {
        ClientId::new(self.process.node, id)
    }

    /// Takes the user's name out of its connection while it is needed beside a
    /// change of the rest; [`Core::return_user`] puts it back.
    pub(crate) fn lend_user(&mut self, id: ConnId) -> Option<Box<str>> {
        self.connections[id.slot() as usize].extra.as_mut()?.user.take()
    }

    pub(crate) fn return_user(&mut self, id: ConnId, user: Option<Box<str>>) {
        if user.is_some() {
            self.connections[id.slot() as usize].extra().user = user;
        }
    }

    /// Whether hooks are due, or connections to be removed.
    #[inline]
    pub(crate) fn has_due(&self) -> bool {
        !self.moves.is_empty() || !self.departures.is_empty() || !self.dead.is_empty()
    }

    /// Sends `mail` to other shards, one bit each, and charges `id` for it on each way.
    pub(crate) fn post(&mut self, shards: u64, mail: Mail, id: ConnId) {
        let parcel = mail.charged_to(Origin::Connection(id));
        let mut left = shards;
        while left != 0 {
            self.windows.charge(left.trailing_zeros() as u8, id, parcel.bytes);
            left &= left - 1;
        }
        self.outbound.push((shards, parcel));
    }

    /// What `origin` was charged for has been taken.
    pub(crate) fn credit(&mut self, origin: Origin, bytes: u32) {
        match origin {
            Origin::Connection(id) => self.windows.taken(id, bytes),
            Origin::Handle => self.handle_credit.0 += bytes as usize,
            Origin::Caller => self.handle_credit.1 += bytes as usize,
            Origin::Shard => {}
        }
    }

    /// Asks `shard` to return credit at once.
    pub(crate) fn ask_credit(&mut self, shard: u8) {
        let parcel = Mail::AskCredit(self.shard).charged_to(Origin::Shard);
        self.outbound.push((1 << shard, parcel));
    }

    /// Bytes that wait for the flush.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.direct.len() + self.logged
    }

    /// Puts a connection on the list of those that the flush looks at.
    pub(crate) fn mark_ready(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.flags.ready {
            connection.flags.ready = true;
            self.ready.push(slot);
        }
    }

    /// Appends bytes that `write` makes to what `slot` is sent in this turn.
    pub(crate) fn write_direct(&mut self, slot: u32, write: impl FnOnce(&mut BytesMut)) {
        let start = self.direct.len();
        write(&mut self.direct);
        let end = self.direct.len();
        if start == end {
            return;
        }
        let published = self.sequence;
        let own = self.heard.is_some_and(|heard| heard.slot() == slot);
        let connection = &mut self.connections[slot as usize];
        if let Some(last) = self.runs.get_mut(connection.direct_tail as usize)
            && last.end == start
            && last.published == published
            && last.own == own
        {
            last.end = end;
            return;
        }
        let index = self.runs.len() as u32;
        self.runs.push(DirectRun { published, start, end, own, next: NONE });
        match self.runs.get_mut(connection.direct_tail as usize) {
            Some(last) => last.next = index,
            None => connection.direct_head = index,
        }
        connection.direct_tail = index;
        self.mark_ready(slot);
    }

    /// Sends one event to one connection, in its dialect. Nothing follows a Close
    /// frame (RFC 6455 section 5.5.1).
    pub(crate) fn tell(&mut self, slot: u32, event: &Event<'_>) {
        let connection = &self.connections[slot as usize];
        if connection.flags.departed {
            return;
        }
        let (dialect, stamp) = (connection.dialect, self.stamp());
        self.write_direct(slot, |out| {
            write_frame(out, |out| dialect.encode(event, &stamp, out));
        });
        self.stats.direct_messages += 1;
    }

    /// Sends a control frame: in order while nothing waits, past all waiting
    /// data otherwise.
    pub(crate) fn control(&mut self, slot: u32, opcode: Opcode, payload: &[u8]) {
        let connection = &mut self.connections[slot as usize];
        if connection.is_blocked() {
            let mut frame = BytesMut::new();
            write_whole(&mut frame, opcode, payload);
            let frame = frame.freeze();
            connection.lag().control(match opcode {
                Opcode::Ping => Control::Ping(frame),
                Opcode::Close => Control::Close(frame),
                _ => Control::Pong(frame),
            });
        } else {
            self.write_direct(slot, |out| write_whole(out, opcode, payload));
        }
    }

    /// Sets the connection's timer to `at`, or to the wheel's horizon if that is
    /// earlier.
    pub(crate) fn schedule(&mut self, slot: u32, at: Tick) {
        let id = self.id_of(slot);
        let tick = self.wheel.insert(id, at);
        let connection = &mut self.connections[slot as usize];
        connection.timer = tick;
        connection.flags.timed = true;
    }

    /// Remembers why a connection ends; the first reason stands.
    pub(crate) fn note_reason(&mut self, slot: u32, reason: Disconnect) {
        let extra = self.connections[slot as usize].extra();
        extra.reason.get_or_insert(reason);
    }
}

/// Appends one unmasked, unfragmented frame (RFC 6455 section 5.2) whose payload
/// `encode` writes. Nothing is appended if it says [`Encoding::Skip`].
pub(crate) fn write_frame(out: &mut BytesMut, encode: impl FnOnce(&mut BytesMut) -> Encoding) {
    // The header's length is known only after the payload: most need four
    // bytes, the others move their payload once.
    const GUESS: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; GUESS]);
    let opcode = match encode(out) {
        Encoding::Text => Opcode::Text,
        Encoding::Binary => Opcode::Binary,
        Encoding::Skip => {
            out.truncate(start);
            return;
        }
    };
    let end = out.len();
    let header = frame::encode_header(opcode, true, (end - start - GUESS) as u64);
    if header.len() < GUESS {
        out.copy_within(start + GUESS..end, start + header.len());
        out.truncate(end - (GUESS - header.len()));
    } else if header.len() > GUESS {
        let more = header.len() - GUESS;
        out.resize(end + more, 0);
        out.copy_within(start + GUESS..end, start + GUESS + more);
    }
    out[start..start + header.len()].copy_from_slice(&header);
}

/// Appends one whole frame.
pub(crate) fn write_whole(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    let header = frame::encode_header(opcode, true, payload.len() as u64);
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}
