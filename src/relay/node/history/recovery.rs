//! Those who come into a room with history, and what each is told. Knows no broker.

use std::{mem, sync::Arc};

use super::{
    super::{
        super::status::RelayCounters,
        outputs::Outputs,
        settings::{READ_MS, WAITING},
    },
    cache::Cache,
};
use crate::{cluster::FromRelay, id::ConnId, publication::Position, publication::Publication};

/// Somebody who waits.
pub(super) struct Waiting {
    pub(super) conn: ConnId,
    pub(super) since: Option<Position>,
    /// When it came.
    pub(super) at: u64,
    /// Whether the broker was asked for what it lacks.
    pub(super) is_asked: bool,
}

/// How far the room has come here.
pub(super) struct Place<'f> {
    pub(super) room: &'f Arc<str>,
    pub(super) delivered: Option<Position>,
    pub(super) cache: &'f Cache,
    /// The most that one answer carries.
    pub(super) count: u64,
    /// The last position of the room, if the broker has just answered.
    pub(super) last: Option<Position>,
}

/// What can be said to one who waits.
enum Answer {
    Missed(Vec<Arc<Publication>>),
    NotRecovered,
    /// The broker has to be asked, or its answer waited for.
    NotYet,
}

impl Place<'_> {
    fn answer(&self, waiting: &Waiting) -> Answer {
        let Some(delivered) = self.delivered else { return Answer::NotYet };
        let Some(since) = waiting.since else { return Answer::Missed(Vec::new()) };
        if since.epoch != delivered.epoch {
            // The broker may be at the other epoch already.
            let is_known = waiting.is_asked && self.last.is_some();
            return if is_known { Answer::NotRecovered } else { Answer::NotYet };
        }
        if since.offset > delivered.offset {
            // Another node was faster, or there is no such place.
            let is_beyond = self.last.is_some_and(|last| since.offset > last.offset);
            return if is_beyond && waiting.is_asked {
                Answer::NotRecovered
            } else {
                Answer::NotYet
            };
        }
        let missed = delivered.offset - since.offset;
        if missed == 0 {
            return Answer::Missed(Vec::new());
        }
        if missed > self.count {
            return Answer::NotRecovered;
        }
        match self.cache.behind(since.offset) {
            Some(missed) => Answer::Missed(missed),
            None if waiting.is_asked && self.last.is_some() => Answer::NotRecovered,
            None => Answer::NotYet,
        }
    }

    fn tell(
        &self,
        conn: ConnId,
        missed: Option<Vec<Arc<Publication>>>,
        out: &mut Outputs,
        counters: &RelayCounters,
        is_asked_for: bool,
    ) {
        let counter = if missed.is_some() { &counters.recovered } else { &counters.not_recovered };
        if is_asked_for {
            RelayCounters::add(counter, 1);
        }
        let (room, position) = (self.room.clone(), self.delivered);
        out.give(FromRelay::Recovered { conn, room, position, missed });
    }

    /// Answers those who can be answered, in order, as far as the shards take it. Those who
    /// are left are to be asked for again.
    pub(super) fn serve(
        &self,
        waiting: &mut Vec<Waiting>,
        out: &mut Outputs,
        counters: &RelayCounters,
    ) {
        for one in mem::take(waiting) {
            let is_asked_for = one.since.is_some();
            let answer = if out.is_backlogged() { Answer::NotYet } else { self.answer(&one) };
            match answer {
                Answer::Missed(missed) => {
                    self.tell(one.conn, Some(missed), out, counters, is_asked_for);
                }
                Answer::NotRecovered => self.tell(one.conn, None, out, counters, is_asked_for),
                Answer::NotYet => {
                    let is_asked = one.is_asked && self.last.is_none();
                    waiting.push(Waiting { is_asked, ..one });
                }
            }
        }
    }

    /// Answers those who have waited too long, and those who are too many. Returns whether
    /// one of them has no position.
    pub(super) fn give_up(
        &self,
        waiting: &mut Vec<Waiting>,
        out: &mut Outputs,
        counters: &RelayCounters,
        now: u64,
    ) -> bool {
        let mut has_unplaced = false;
        let excess = waiting.len().saturating_sub(WAITING);
        let mut index = 0;
        waiting.retain(|one| {
            index += 1;
            if index > excess && one.at.saturating_add(READ_MS) > now {
                return true;
            }
            let missed = match self.answer(one) {
                Answer::Missed(missed) => Some(missed),
                Answer::NotRecovered | Answer::NotYet => None,
            };
            has_unplaced |= self.delivered.is_none();
            self.tell(one.conn, missed, out, counters, one.since.is_some());
            false
        });
        has_unplaced
    }
}
