//! One room with history as one node follows it: what it has delivered, what it knows of
//! what was before, and who waits to come in. Knows no other room and no broker.
//!
//! Everything up to `delivered` was given to the shards, in order, and everything behind
//! it will be; an answer to a recovery is put into the same order, so that it and what is
//! delivered afterwards join.

mod cache;
mod recovery;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        broker::{Channel, History, HistoryLimits, Operation},
        status::RelayCounters,
    },
    outputs::Outputs,
    received,
    settings::{ARRIVAL_MS, AUDITS, RETRY_MS},
};
use crate::{
    cluster::FromRelay,
    id::ConnId,
    publication::{Position, Publication},
};

use self::{
    cache::Cache,
    recovery::{Place, Waiting},
};

/// An offset behind every history, and exact in the numbers of a script.
pub(super) const BEYOND: u64 = 90_000_000_000_000;
/// So many messages that came too early are kept; the others are read again.
const EARLY: usize = 1_024;
/// So many more than the room keeps are read at once.
const MARGIN: u64 = 256;
/// After so many reads in a row that did not bring what is known to exist, it does not.
const FRUITLESS: u32 = 3;

/// What a step needs of its node.
pub(super) struct Context<'n> {
    pub(super) out: &'n mut Outputs,
    pub(super) counters: &'n RelayCounters,
    pub(super) node: u64,
    /// Whether the room has members here.
    pub(super) is_wanted: bool,
    pub(super) now: u64,
}

/// A question to the broker that is under way.
struct Reading {
    token: u64,
    after: u64,
    /// What was delivered when it was asked.
    delivered: Option<Position>,
}

/// A room with history.
pub(super) struct Follower {
    room: Arc<str>,
    limits: HistoryLimits,
    /// `None` until the broker has said how far the room has come.
    delivered: Option<Position>,
    /// Ends at `delivered`.
    cache: Cache,
    /// What came before something that is missing, by offset, with its epoch.
    early: BTreeMap<u64, (u64, Option<Arc<Publication>>)>,
    /// The highest position that is known to exist.
    known: Option<Position>,
    /// A position that another node announced, and since when it is waited for.
    awaited: Option<(Position, u64)>,
    /// The last position that was announced.
    announced: Option<Position>,
    reading: Option<Reading>,
    retry_at: Option<u64>,
    /// Reads in a row that brought nothing although something is known to be there.
    fruitless: u32,
    is_standing: bool,
    waiting: Vec<Waiting>,
    /// Somebody was let in without a position: what it misses cannot be counted.
    has_unplaced: bool,
    /// How many audits are still to be made since something came.
    audits_left: u8,
}

impl Follower {
    pub(super) fn new(room: Arc<str>, limits: HistoryLimits) -> Self {
        Self {
            cache: Cache::new(limits.count),
            room,
            limits,
            delivered: None,
            early: BTreeMap::new(),
            known: None,
            awaited: None,
            announced: None,
            reading: None,
            retry_at: None,
            fruitless: 0,
            is_standing: false,
            waiting: Vec::new(),
            has_unplaced: false,
            audits_left: AUDITS,
        }
    }

    /// The subscription stands: what is published from now on arrives, what was before is
    /// read.
    pub(super) fn on_standing(&mut self, context: &mut Context<'_>) {
        self.is_standing = true;
        self.abandon(context.out);
        self.read(context);
    }

    /// It does not.
    pub(super) fn on_away(&mut self, out: &mut Outputs) {
        self.is_standing = false;
        self.abandon(out);
    }

    /// Forgets a question that is under way.
    pub(super) fn abandon(&mut self, out: &mut Outputs) {
        if let Some(reading) = self.reading.take() {
            out.reads.remove(&reading.token);
        }
        self.retry_at = None;
        self.waiting.iter_mut().for_each(|waiting| waiting.is_asked = false);
    }

    /// Asks for what is behind the last that was delivered, and for what those who wait
    /// have missed.
    pub(super) fn read(&mut self, context: &mut Context<'_>) {
        if !self.is_standing || self.reading.is_some() {
            return;
        }
        let delivered = self.delivered.map(|delivered| delivered.offset);
        let kept_after = delivered.unwrap_or(0).saturating_sub(self.limits.count);
        let wanted = self.waiting.iter_mut().filter_map(|waiting| {
            waiting.is_asked = true;
            waiting.since.map(|since| since.offset).filter(|offset| *offset >= kept_after)
        });
        let oldest = wanted.min();
        let after = oldest.into_iter().chain(delivered).min().unwrap_or(BEYOND).min(BEYOND);
        let token = context.out.token();
        context.out.reads.insert(token, self.room.clone());
        self.reading = Some(Reading { token, after, delivered: self.delivered });
        context.out.operations.push(Operation::Read {
            room: self.room.clone(),
            after,
            count: self.limits.count.saturating_add(MARGIN),
            limits: self.limits,
            token,
        });
    }

    /// Looks whether the history has gone on, if something came of late, or `is_due`.
    pub(super) fn audit(&mut self, is_due: bool, context: &mut Context<'_>) {
        if is_due || self.audits_left > 0 {
            self.audits_left = self.audits_left.saturating_sub(1);
            self.read(context);
        }
    }

    /// A publication has arrived; `None` for one that cannot be read.
    pub(super) fn on_message(
        &mut self,
        position: Position,
        publication: Option<Arc<Publication>>,
        context: &mut Context<'_>,
    ) {
        if let Some(delivered) = self.delivered.filter(|it| it.epoch == position.epoch) {
            if position.offset <= delivered.offset {
                return;
            }
            if position.offset == delivered.offset + 1 {
                self.deliver(position.offset, publication, context);
                self.deliver_early(context);
                return self.settle(None, context);
            }
        }
        self.exists(position);
        if self.early.len() < EARLY {
            self.early.insert(position.offset, (position.epoch, publication));
        }
        if self.delivered.is_some() {
            self.read(context);
        }
    }

    /// The position is known to exist.
    fn exists(&mut self, position: Position) {
        let is_news = self
            .known
            .is_none_or(|known| known.epoch != position.epoch || known.offset < position.offset);
        if is_news {
            self.known = Some(position);
        }
    }

    /// Another node has heard of this position.
    pub(super) fn on_announced(&mut self, position: Position, now: u64) -> bool {
        if self.lacks(position) {
            self.announced = Some(position);
            self.awaited.get_or_insert((position, now));
        }
        self.awaited.is_some()
    }

    fn lacks(&self, position: Position) -> bool {
        self.delivered.is_some_and(|delivered| {
            delivered.epoch != position.epoch || delivered.offset < position.offset
        })
    }

    /// Looks whether what was announced has come in time. Returns whether it has not, and
    /// the subscription is in doubt; and whether more is waited for.
    pub(super) fn overdue(&mut self, context: &mut Context<'_>) -> (bool, bool) {
        let due = self.awaited.take_if(|(_, since)| *since + ARRIVAL_MS <= context.now);
        let is_overdue = due.is_some_and(|(position, _)| self.lacks(position));
        if is_overdue {
            self.read(context);
        } else if due.is_some() {
            let later = self.announced.filter(|position| self.lacks(*position));
            self.awaited = later.map(|position| (position, context.now));
        }
        (is_overdue, self.awaited.is_some())
    }

    fn deliver(
        &mut self,
        offset: u64,
        publication: Option<Arc<Publication>>,
        context: &mut Context<'_>,
    ) {
        if let Some(delivered) = &mut self.delivered {
            delivered.offset = offset;
        }
        self.audits_left = AUDITS;
        if let Some(publication) = publication.clone().filter(|_| context.is_wanted) {
            context.out.give(FromRelay::Publish(publication));
        }
        self.cache.push(offset, publication);
    }

    /// Delivers what came early and follows now.
    fn deliver_early(&mut self, context: &mut Context<'_>) {
        while let (Some(delivered), Some(entry)) = (self.delivered, self.early.first_entry()) {
            let is_past = *entry.key() <= delivered.offset || entry.get().0 != delivered.epoch;
            if !is_past && *entry.key() > delivered.offset + 1 {
                return;
            }
            let (offset, (_, publication)) = entry.remove_entry();
            if !is_past {
                self.deliver(offset, publication, context);
            }
        }
    }

    fn gap(&self, lost: Option<u64>, context: &mut Context<'_>) {
        RelayCounters::add(&context.counters.gaps, 1);
        RelayCounters::add(&context.counters.lost, lost.unwrap_or(0));
        if context.is_wanted {
            context.out.give(FromRelay::Gap(self.room.clone(), lost));
        }
    }

    /// The answer to the question `token`.
    pub(super) fn on_history(
        &mut self,
        token: u64,
        history: Option<History>,
        context: &mut Context<'_>,
    ) {
        let Some(reading) = self.reading.take_if(|reading| reading.token == token) else { return };
        let Some(history) = history else {
            self.retry_at = Some(context.now + RETRY_MS);
            self.waiting.iter_mut().for_each(|waiting| waiting.is_asked = false);
            return;
        };
        let before = self.delivered;
        let last = history.last;
        let first = history.first.clamp(1, last.offset.saturating_add(1));
        let entries = self.entries(history, context);
        match self.delivered {
            None => {
                self.begin(last);
                self.cache.fill(last.offset, &entries);
                if std::mem::take(&mut self.has_unplaced) {
                    self.gap(None, context);
                }
            }
            Some(delivered) if delivered.epoch != last.epoch => {
                // Another history: all that is kept of it is new.
                self.gap(None, context);
                self.begin(Position { epoch: last.epoch, offset: first - 1 });
            }
            Some(_) if reading.delivered.is_some_and(|it| last.offset < it.offset) => {
                // It has gone back, and what was delivered is not in it.
                self.gap(None, context);
                self.begin(last);
                self.known = Some(last);
            }
            Some(delivered) => {
                self.cache.fill(delivered.offset, &entries);
                self.advance(&reading, first, last, entries, context);
            }
        }
        self.deliver_early(context);
        self.exists(last);
        self.settle(Some(last), context);
        self.go_on(last, before, context);
    }

    /// Reads on if something is known to be there that was not read.
    fn go_on(&mut self, last: Position, before: Option<Position>, context: &mut Context<'_>) {
        let is_early = self.early.values().any(|(epoch, _)| *epoch == last.epoch);
        let is_known = self.known.is_some_and(|known| known.epoch == last.epoch);
        let is_missing = is_known && self.known.is_some_and(|known| self.lacks(known));
        if !is_early && !is_missing {
            self.fruitless = 0;
        } else if self.delivered != before {
            self.fruitless = 0;
            self.read(context);
        } else if self.fruitless < FRUITLESS {
            self.fruitless += 1;
            self.retry_at = Some(context.now + RETRY_MS);
        } else {
            // The broker has lost what it gave, without another epoch.
            self.fruitless = 0;
            self.known = Some(last);
            self.early.clear();
            self.gap(None, context);
        }
    }

    /// Answers those who wait, as far as that can be done; asks for what they lack.
    pub(super) fn settle(&mut self, last: Option<Position>, context: &mut Context<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        if self.is_standing {
            let (room, cache) = (&self.room, &self.cache);
            let place =
                Place { room, delivered: self.delivered, cache, count: self.limits.count, last };
            place.serve(&mut self.waiting, context.out, context.counters);
        }
        if self.waiting.is_empty() {
            self.cache.trim();
        } else if !context.out.is_backlogged() && self.waiting.iter().any(|one| !one.is_asked) {
            self.read(context);
        }
    }

    fn begin(&mut self, position: Position) {
        self.delivered = Some(position);
        self.cache.clear();
        self.early.retain(|_, (epoch, _)| *epoch == position.epoch);
    }

    fn entries(
        &self,
        history: History,
        context: &Context<'_>,
    ) -> Vec<(u64, Option<Arc<Publication>>)> {
        let channel = Channel::Room(self.room.clone());
        let (node, counters) = (context.node, context.counters);
        let read =
            |(offset, bytes)| (offset, received::entry(&bytes, &channel, offset, node, counters));
        history.entries.into_iter().map(read).collect()
    }

    /// Delivers what was read and follows; what is kept no more is told.
    fn advance(
        &mut self,
        reading: &Reading,
        first: u64,
        last: Position,
        entries: Vec<(u64, Option<Arc<Publication>>)>,
        context: &mut Context<'_>,
    ) {
        let offset = |follower: &Self| follower.delivered.map_or(0, |it| it.offset);
        let before = offset(self);
        let skip = |follower: &mut Self, to: u64, context: &mut Context<'_>| {
            follower.gap(Some(to - offset(follower)), context);
            follower.cache.clear();
            follower.delivered = Some(Position { epoch: last.epoch, offset: to });
        };
        if before < last.offset && first > before + 1 {
            skip(self, first - 1, context);
        }
        for (at, publication) in entries {
            if at == offset(self) + 1 {
                self.deliver(at, publication, context);
            }
        }
        // The broker does not give what it says to have.
        if offset(self) == before && before < last.offset && reading.after == before {
            let next = self.early.keys().find(|at| **at > before).map_or(last.offset, |at| at - 1);
            skip(self, next.min(last.offset).max(before), context);
        }
    }

    /// Lets time pass: asks again for what was not answered, and answers those who have
    /// waited too long.
    pub(super) fn on_tick(&mut self, context: &mut Context<'_>) {
        if self.retry_at.take_if(|at| *at <= context.now).is_some() {
            self.read(context);
        }
        let (room, cache) = (&self.room, &self.cache);
        let count = self.limits.count;
        let place = Place { room, delivered: self.delivered, cache, count, last: None };
        let waiting = &mut self.waiting;
        self.has_unplaced |= place.give_up(waiting, context.out, context.counters, context.now);
        self.settle(None, context);
    }

    /// Whether time or the shards' readiness changes anything.
    pub(super) fn is_restless(&self) -> bool {
        !self.waiting.is_empty() || self.retry_at.is_some() || self.awaited.is_some()
    }

    /// A connection comes in.
    pub(super) fn recover(
        &mut self,
        conn: ConnId,
        since: Option<Position>,
        context: &mut Context<'_>,
    ) {
        self.waiting.push(Waiting { conn, since, at: context.now, is_asked: false });
        self.settle(None, context);
    }
}
