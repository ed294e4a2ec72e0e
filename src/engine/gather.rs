//! Merging what one connection has coming from several sides (its rooms' logs,
//! its own queue, this turn's direct sends) into one batch, in the order in
//! which the shard accepted it.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    connection::{Connection, Membership, NONE},
    core::Core,
    lag::{Order, order_of_direct, order_of_publication},
    room_log::{Cursor, Slices},
};
use crate::batch::Slice;

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
    /// Frames of the connection's own queue in it.
    pub(crate) queued: usize,
    /// The first direct send that is not in it.
    pub(crate) next_run: u32,
    /// The new cursor of each membership that had something coming.
    pub(crate) cursors: SmallVec<[(Membership, Cursor); 4]>,
}

impl Gathered<'_> {
    /// Ends the borrow, keeping what must be noted if the batch is sent.
    pub(crate) fn taken(self) -> Taken {
        self.taken
    }
}

/// The side with the earliest frame.
#[derive(Clone, Copy, Debug)]
enum Side {
    Queue,
    Direct,
    Member(usize),
}

/// Gathers one batch for `slot`: `control` first, then up to about `batch_bytes`
/// of the rest. The logs of its rooms must be frozen.
pub(crate) fn gather<'a>(
    core: &'a Core,
    slot: u32,
    turn: &'a Bytes,
    control: &'a [Option<Bytes>; 3],
) -> Gathered<'a> {
    let connection = &core.connections[slot as usize];
    let mut gathering = Gathering {
        core,
        connection,
        slot,
        turn,
        slices: Slices::new(),
        taken: Taken {
            bytes: 0,
            deliveries: 0,
            queued: 0,
            next_run: connection.direct_head,
            cursors: SmallVec::new(),
        },
    };
    for frame in control.iter().flatten() {
        gathering.taken.bytes += frame.len();
        gathering.slices.push(Slice::whole(frame));
    }
    gathering.find_members();
    let most = core.limits().batch_bytes;
    while gathering.taken.bytes < most {
        let Some((side, until)) = gathering.earliest() else { break };
        gathering.take(side, until);
    }
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
    /// The memberships whose logs have something for this connection.
    fn find_members(&mut self) {
        for membership in &self.connection.memberships {
            let channel = self.core.rooms.channel(membership.channel);
            let member = channel.members[membership.position as usize];
            if member.cursor != channel.log.end() {
                self.taken.cursors.push((*membership, member.cursor));
            }
        }
    }

    /// The order of the next frame of a side, if it has one.
    fn head(&self, side: Side) -> Option<Order> {
        match side {
            Side::Queue => {
                let lag = self.connection.lag.as_ref()?;
                lag.nth(self.taken.queued).map(|queued| queued.order)
            }
            Side::Direct => {
                let run = self.core.runs.get(self.taken.next_run as usize)?;
                Some(order_of_direct(run.published))
            }
            Side::Member(index) => {
                let (membership, cursor) = self.taken.cursors[index];
                let log = &self.core.rooms.channel(membership.channel).log;
                log.entry(cursor).map(|entry| order_of_publication(entry.sequence))
            }
        }
    }

    /// The side with the earliest frame, and the order of the earliest frame of
    /// all others. Of two equal ones the queue's is older.
    fn earliest(&self) -> Option<(Side, Order)> {
        let members = (0..self.taken.cursors.len()).map(Side::Member);
        let mut first: Option<(Side, Order)> = None;
        let mut second = Order::MAX;
        for side in [Side::Queue, Side::Direct].into_iter().chain(members) {
            let Some(order) = self.head(side) else { continue };
            match first {
                Some((_, earliest)) if earliest <= order => second = second.min(order),
                Some((_, earliest)) => {
                    second = earliest;
                    first = Some((side, order));
                }
                None => first = Some((side, order)),
            }
        }
        first.map(|(side, _)| (side, second))
    }

    fn take(&mut self, side: Side, until: Order) {
        match side {
            Side::Queue => self.take_queued(until),
            Side::Direct => self.take_direct(until),
            Side::Member(index) => self.take_entries(index, until),
        }
    }

    fn take_queued(&mut self, until: Order) {
        let Some(lag) = self.connection.lag.as_ref() else { return };
        while let Some(queued) = lag.nth(self.taken.queued) {
            if queued.order > until || self.taken.bytes >= self.core.limits().batch_bytes {
                break;
            }
            self.taken.bytes += queued.bytes.len();
            self.taken.deliveries += u64::from(queued.channel.is_some());
            self.taken.queued += 1;
            self.slices.push(Slice::whole(&queued.bytes));
        }
    }

    fn take_direct(&mut self, until: Order) {
        while let Some(run) = self.core.runs.get(self.taken.next_run as usize) {
            if order_of_direct(run.published) > until {
                break;
            }
            let range = run.start..run.end;
            self.taken.bytes += range.len();
            self.taken.next_run = run.next;
            self.slices.push(Slice::new(self.turn, range));
        }
        debug_assert!(self.taken.next_run == NONE || !self.core.runs.is_empty());
    }

    fn take_entries(&mut self, index: usize, until: Order) {
        let (membership, from) = self.taken.cursors[index];
        let log = &self.core.rooms.channel(membership.channel).log;
        let most = self.core.limits().batch_bytes;
        let mut to = from;
        let mut excepted = 0;
        while let Some(entry) = log.entry(to)
            && order_of_publication(entry.sequence) <= until
            && self.taken.bytes + log.bytes_between(from, to) < most
        {
            to = to.wrapping_add(1);
            excepted += u64::from(entry.except == self.slot);
        }
        self.taken.bytes += if excepted == 0 {
            log.slices(from, to, &mut self.slices)
        } else {
            log.slices_except(from, to, self.slot, &mut self.slices)
        };
        self.taken.deliveries += u64::from(to.wrapping_sub(from)) - excepted;
        self.taken.cursors[index].1 = to;
    }
}
