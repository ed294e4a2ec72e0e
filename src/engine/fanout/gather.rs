//! Merging what one connection has to send from several sides (its rooms' logs,
//! its own queue, this turn's direct sends) into one batch, in the order in
//! which the shard accepted it.
//!
//! The sides' next frames are kept in a heap, so that a run of frames costs the
//! logarithm of the number of rooms, not that number.

use bytes::Bytes;

use crate::{
    batch::Slice,
    engine::{
        backpressure::pending_logs::PendingLogs,
        state::{
            connection::Connection,
            core::Core,
            heads::{Heads, Side},
            room_log::Slices,
            waiting::{Sequence, sequence_of_direct, sequence_of_publication},
        },
        types::limits::Limits,
    },
};

/// A batch, and how far it takes each side.
pub(crate) struct Gathered<'a> {
    pub(crate) slices: Slices<'a>,
    taken: Taken,
}

/// How far a batch takes each side; see [`Gathered::taken`].
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) bytes: usize,
    /// Publications in it.
    pub(crate) deliveries: u64,
    /// Entries of the connection's own queue in it.
    pub(crate) queued: usize,
    /// The first direct send that is not in it.
    pub(crate) next_run: u32,
    /// The new cursor of each membership in whose log something was pending.
    pub(crate) cursors: PendingLogs,
    /// The batch is full, and something is left.
    pub(crate) more: bool,
}

impl Gathered<'_> {
    /// Ends the borrow, keeping what must be noted if the batch is sent.
    pub(crate) fn taken(self) -> Taken {
        self.taken
    }
}

/// The connection's own queue.
const QUEUE: Side = 0;
/// This turn's direct sends.
const DIRECT: Side = 1;
/// The first membership in whose log something is pending.
const FIRST_MEMBER: Side = 2;

/// Gathers one batch for `slot`: `control` first, then up to about `batch_bytes`
/// of the rest, in not many more than [`Limits::SLICES_PER_BATCH`] slices. The
/// logs of `pending` and the connection's own queue must be frozen.
pub(crate) fn gather<'a>(
    core: &'a Core,
    slot: u32,
    turn: &'a Bytes,
    control: &'a [Option<Bytes>; 3],
    pending: PendingLogs,
) -> Gathered<'a> {
    let connection = &core.connections[slot];
    let mut gathering = Gathering {
        core,
        connection,
        slot,
        turn,
        slices: Slices::new(),
        taken: Taken {
            bytes: 0,
            deliveries: 0,
            queued: connection
                .send_queue
                .as_ref()
                .map_or(0, |send_queue| send_queue.queue.next_alive(0)),
            next_run: connection.direct_head,
            cursors: pending,
            more: false,
        },
    };
    for frame in control.iter().flatten() {
        gathering.taken.bytes += frame.len();
        gathering.slices.push(Slice::whole(frame));
    }
    let mut heads = Heads::default();
    for side in 0..FIRST_MEMBER + gathering.taken.cursors.len() as Side {
        heads.add(side, gathering.head(side));
    }
    while !gathering.is_full()
        && let Some((side, until)) = heads.first()
    {
        gathering.take(side, until);
        heads.replace_first(gathering.head(side));
    }
    gathering.taken.more = !heads.is_empty();
    Gathered { slices: gathering.slices, taken: gathering.taken }
}

struct Gathering<'a> {
    core: &'a Core,
    connection: &'a Connection,
    slot: u32,
    turn: &'a Bytes,
    slices: Slices<'a>,
    taken: Taken,
}

impl Gathering<'_> {
    fn is_full(&self) -> bool {
        self.taken.bytes >= self.core.limits.batch_of(self.connection.policy)
            || self.slices.len() >= Limits::SLICES_PER_BATCH
    }

    /// The sequence of the next frame of a side, if it has one.
    fn head(&self, side: Side) -> Option<Sequence> {
        match side {
            QUEUE => {
                let send_queue = self.connection.send_queue.as_ref()?;
                send_queue.queue.at(self.taken.queued).map(|waiting| waiting.sequence)
            }
            DIRECT => {
                let run = self.core.direct.run(self.taken.next_run)?;
                Some(sequence_of_direct(run.published))
            }
            member => {
                let (membership, cursor) = self.taken.cursors[(member - FIRST_MEMBER) as usize];
                let log = &self.core.rooms.group(membership.group).log;
                log.entries().publication(cursor).map(sequence_of_publication)
            }
        }
    }

    fn take(&mut self, side: Side, until: Sequence) {
        match side {
            QUEUE => self.take_queued(until),
            DIRECT => self.take_direct(until),
            member => self.take_entries((member - FIRST_MEMBER) as usize, until),
        }
    }

    fn take_queued(&mut self, until: Sequence) {
        let Some(send_queue) = self.connection.send_queue.as_ref() else { return };
        let max = (self.core.limits.batch_bytes - self.taken.bytes, Limits::SLICES_PER_BATCH);
        let (next, bytes, publications) =
            send_queue.queue.slices(self.taken.queued, until, max, &mut self.slices);
        self.taken.bytes += bytes;
        self.taken.deliveries += publications;
        self.taken.queued = next;
    }

    fn take_direct(&mut self, until: Sequence) {
        while let Some(run) = self.core.direct.run(self.taken.next_run) {
            if sequence_of_direct(run.published) > until || self.is_full() {
                break;
            }
            let range = run.start..run.end;
            self.taken.bytes += range.len();
            self.taken.next_run = run.next;
            self.slices.push(Slice::new(self.turn, range));
        }
    }

    fn take_entries(&mut self, index: usize, until: Sequence) {
        let (membership, from) = self.taken.cursors[index];
        let log = &self.core.rooms.group(membership.group).log;
        let entries = log.entries();
        let max = self.core.limits.batch_bytes - self.taken.bytes;
        let start = entries.offset(from);
        let fits = |cursor| {
            let sequence = entries.publication(cursor).map(sequence_of_publication);
            sequence.is_some_and(|sequence| sequence <= until)
                && ((entries.offset(cursor) - start) as usize) < max
        };
        let mut to = entries.seek(from, fits);
        let mut excepted = 0;
        if self.connection.flags.excepted {
            let holes = Limits::SLICES_PER_BATCH - self.slices.len();
            (to, excepted) = entries.before_hole(from, to, self.slot, holes as u32);
        }
        self.taken.bytes += if excepted == 0 {
            log.slices(from, to, &mut self.slices)
        } else {
            log.slices_except(from, to, self.slot, &mut self.slices)
        };
        self.taken.deliveries += u64::from(to.wrapping_sub(from) - excepted);
        self.taken.cursors[index].1 = to;
    }
}
