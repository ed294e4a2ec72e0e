//! The lossy policies: what is dropped for a connection for which more waits than
//! its budget allows. Knows logs, cursors and the connection's own queue.
//!
//! Each call leaves no more than three quarters of the budget (`drop-newest`: no
//! more than the budget, and then everything is dropped until a quarter is free),
//! so that each message is looked at a constant number of times. Nothing is copied
//! that is dropped by the same call.

use super::{
    backlog::low_mark,
    connection::Membership,
    core::Core,
    gather::Coming,
    heads::{Heads, Side},
    limits::SlowPolicy,
    queue::{Queue, WAITING_BYTES},
    room_log::{Cursor, RoomLog},
    waiting::{Order, Record, Tag, Waiting, order_of_publication},
};

#[cfg(test)]
mod tests;

/// The connection's own queue; the rooms are numbered from the next on.
const QUEUE: Side = 0;

/// A publication that is kept when the rest is conflated.
struct Survivor {
    order: Order,
    /// Its room's place among those that have something for the connection.
    room: usize,
    cursor: Cursor,
    record: Record,
}

impl Core {
    /// Drops what `policy` drops for `slot`, and counts it.
    pub(crate) fn shed(&mut self, slot: u32, policy: SlowPolicy, budget: usize) {
        let coming = self.coming(slot);
        let dropped = match policy {
            SlowPolicy::Close => 0,
            SlowPolicy::DropOldest => self.drop_oldest(slot, coming, budget),
            SlowPolicy::DropNewest => self.drop_newest(slot, &coming, budget),
            SlowPolicy::Conflate => {
                let replaced = self.conflate(slot, &coming);
                replaced + self.drop_oldest(slot, Coming::new(), budget)
            }
        };
        self.stats.messages_dropped += dropped as u64;
    }

    fn log(&self, membership: Membership) -> &RoomLog {
        &self.rooms.channel(membership.channel).log
    }

    /// The next frame of each side: the connection's own queue, and the rooms.
    fn heads(&self, slot: u32, coming: &Coming) -> Heads {
        let mut heads = Heads::default();
        heads.add(QUEUE, self.head_of_queue(slot, 0));
        for ((membership, cursor), side) in coming.iter().zip(1..) {
            heads.add(side, self.head_of_log(*membership, *cursor));
        }
        heads
    }

    fn head_of_queue(&self, slot: u32, index: usize) -> Option<Order> {
        let lag = self.connections[slot as usize].lag.as_ref()?;
        lag.queue.at(index).map(|waiting| waiting.order)
    }

    fn head_of_log(&self, membership: Membership, cursor: Cursor) -> Option<Order> {
        self.log(membership).entries().sequence(cursor).map(order_of_publication)
    }

    /// Drops the oldest over all sides. What is kept stays where it is: in a log,
    /// dropping is moving the cursor. Returns how many messages were dropped.
    fn drop_oldest(&mut self, slot: u32, mut coming: Coming, budget: usize) -> usize {
        let (mut logged, low) = (0, self.lowest_mark(slot, &coming, budget));
        for (membership, cursor) in &coming {
            logged += self.log(*membership).cost_behind(*cursor);
        }
        let mut heads = self.heads(slot, &coming);
        let mut dropped = 0;
        while let Some((side, until)) = heads.first() {
            let queue = &mut self.connections[slot as usize].lag().queue;
            let waiting = queue.kept_bytes() + logged;
            if waiting <= low {
                break;
            }
            if side == QUEUE {
                while queue.kept_bytes() + logged > low
                    && queue.at(0).is_some_and(|first| first.order <= until)
                {
                    dropped += queue.pop_front().unwrap_or_default();
                }
                heads.replace_first(self.head_of_queue(slot, 0));
                continue;
            }
            let (membership, from) = coming[side as usize - 1];
            let log = self.log(membership);
            let (entries, start) = (log.entries(), log.entries().cost_at(from));
            let to = entries.seek(from, |cursor| {
                let order = entries.sequence(cursor).map(order_of_publication);
                order.is_some_and(|order| order <= until)
                    && ((entries.cost_at(cursor) - start) as usize) < waiting - low
            });
            logged -= log.cost_between(from, to);
            dropped += self.messages_between(slot, log, from, to);
            coming[side as usize - 1].1 = to;
            heads.replace_first(self.head_of_log(membership, to));
        }
        self.connections[slot as usize].lag().queue.give_back();
        for (membership, cursor) in coming {
            self.rooms.advance(membership.channel, membership.position, cursor);
        }
        dropped
    }

    /// What may be left after dropping the oldest: three quarters of the budget, or
    /// the newest frame if it is larger and fits into the budget.
    fn lowest_mark(&self, slot: u32, coming: &Coming, budget: usize) -> usize {
        let queue = self.connections[slot as usize].lag.as_ref().map(|lag| &lag.queue);
        let mut newest = queue.and_then(Queue::newest).unwrap_or_default();
        for (membership, _) in coming {
            let log = self.log(*membership);
            let last = log.end().wrapping_sub(1);
            if let Some(order) = self.head_of_log(*membership, last) {
                newest = newest.max((order, log.cost_behind(last)));
            }
        }
        low_mark(budget).max(newest.1.min(budget))
    }

    /// Keeps as much as the budget allows of the oldest over all sides, in the
    /// connection's own queue, and drops the rest. Returns how many messages.
    fn drop_newest(&mut self, slot: u32, coming: &Coming, budget: usize) -> usize {
        let mut next: Vec<Cursor> = coming.iter().map(|(_, cursor)| *cursor).collect();
        let mut heads = self.heads(slot, coming);
        let (mut kept, mut queued, mut fresh) = (0, 0, Vec::new());
        while kept <= budget
            && let Some((side, until)) = heads.first()
        {
            if side == QUEUE {
                let queue = &self.connections[slot as usize].lag().queue;
                while kept <= budget
                    && let Some(entry) = queue.at(queued).filter(|entry| entry.order <= until)
                {
                    kept += queue.cost(entry);
                    queued += 1;
                }
                heads.replace_first(self.head_of_queue(slot, queued));
                continue;
            }
            let (membership, _) = coming[side as usize - 1];
            let at = &mut next[side as usize - 1];
            let log = &self.rooms.channel(membership.channel).log;
            let queue = &mut self.connections[slot as usize].lag().queue;
            while kept <= budget
                && let Some(sequence) = log.entries().sequence(*at)
                && order_of_publication(sequence) <= until
            {
                if log.entries().except(*at) != slot {
                    let frame = log.frame(*at);
                    kept += frame.len() + WAITING_BYTES;
                    fresh.push(queue.store(order_of_publication(sequence), &frame, Tag::NONE));
                }
                *at = at.wrapping_add(1);
            }
            let at = *at;
            heads.replace_first(self.head_of_log(membership, at));
        }
        let mut dropped = self.cut(slot, queued, fresh, budget);
        for ((membership, _), from) in coming.iter().zip(next) {
            let log = self.log(*membership);
            let end = log.end();
            dropped += self.messages_between(slot, log, from, end);
            self.rooms.advance(membership.channel, membership.position, end);
        }
        dropped
    }

    /// Keeps the first `queued` entries of the connection's own queue and those that
    /// were stored, as far as the budget allows. Returns how many messages were
    /// dropped.
    fn cut(&mut self, slot: u32, queued: usize, fresh: Vec<Waiting>, budget: usize) -> usize {
        let lag = self.connections[slot as usize].lag();
        let mut dropped = 0;
        while lag.queue.len() > queued {
            dropped += lag.queue.pop_back().unwrap_or_default();
        }
        lag.queue.merge(fresh);
        while lag.queue.kept_bytes() > budget
            && let Some(messages) = lag.queue.pop_back()
        {
            dropped += messages;
        }
        lag.queue.give_back();
        lag.is_full = true;
        // At least something must be read first, whatever the last to go took along.
        lag.refill_at = low_mark(budget).min(lag.bytes().saturating_sub(1));
        dropped
    }

    /// Keeps the newest publication for each channel and key, in the connection's
    /// own queue, and every direct send. Returns how many were replaced.
    fn conflate(&mut self, slot: u32, coming: &Coming) -> usize {
        let mut replaced = self.connections[slot as usize].lag().queue.settle();
        let mut survivors = Vec::new();
        for (room, (membership, from)) in coming.iter().enumerate() {
            let before = survivors.len();
            self.find_survivors(slot, room, (*membership, *from), &mut survivors);
            let log = self.log(*membership);
            replaced += self.messages_between(slot, log, *from, log.end());
            replaced -= survivors.len() - before;
        }
        // Each room's are in descending order, which a merging sort makes use of.
        survivors.sort_by_key(|survivor| survivor.order);
        let lag = self.connections[slot as usize].lag();
        let mut fresh = Vec::with_capacity(survivors.len());
        for survivor in &survivors {
            let (membership, _) = coming[survivor.room];
            let frame = self.rooms.channel(membership.channel).log.frame(survivor.cursor);
            fresh.push(lag.queue.store(survivor.order, &frame, Tag::record(survivor.record)));
        }
        lag.queue.merge(fresh.iter().copied());
        for (survivor, waiting) in survivors.iter().zip(fresh) {
            lag.queue.latest.get_or_insert_default().enters(survivor.record);
            replaced += usize::from(lag.queue.replace(survivor.record, waiting));
        }
        lag.queue.compact();
        for (membership, _) in coming {
            let end = self.log(*membership).end();
            self.rooms.advance(membership.channel, membership.position, end);
        }
        replaced
    }

    /// The newest for each key of one room's log, the newest of all first.
    fn find_survivors(
        &mut self,
        slot: u32,
        room: usize,
        (membership, from): (Membership, Cursor),
        survivors: &mut Vec<Survivor>,
    ) {
        let channel = self.rooms.channel(membership.channel);
        let (entries, serial) = (channel.log.entries(), channel.serial);
        let queue = &mut self.connections[slot as usize].lag().queue;
        let latest = queue.latest.get_or_insert_default();
        let mut cursor = entries.end();
        while cursor != from {
            cursor = cursor.wrapping_sub(1);
            let Some(sequence) = entries.sequence(cursor) else { break };
            if entries.except(cursor) == slot {
                continue;
            }
            let order = order_of_publication(sequence);
            let record = latest.record(serial, entries.key(cursor));
            if latest.claim(record, order) {
                survivors.push(Survivor { order, room, cursor, record });
            }
            if !entries.has_keys() {
                break;
            }
        }
    }
}
