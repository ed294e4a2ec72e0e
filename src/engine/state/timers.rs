//! When each connection is looked at next, and how far deadlines move because the
//! process stood still.

use super::{connection::Connection, wheel::Wheel};
use crate::{
    engine::types::time::{Tick, reached},
    id::ConnId,
};

/// The timers of a shard.
#[derive(Debug)]
pub(crate) struct Timers {
    pub(crate) wheel: Wheel,
    /// The end of the grace period after a standstill of the process: no connection is
    /// ended before that for having taken too long.
    grace_until: Tick,
}

impl Timers {
    pub(crate) fn new(now: Tick) -> Self {
        Self { wheel: Wheel::new(now), grace_until: now }
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self, now: Tick) {
        self.wheel.catch_up(now);
        // Ticks wrap: one that is long past must not come to lie in the future.
        if reached(self.grace_until, now) {
            self.grace_until = now;
        }
    }

    /// No connection is ended before `until` for having taken too long.
    pub(crate) fn extend_grace(&mut self, until: Tick) {
        self.grace_until = until;
    }

    /// Whether deadlines are extended at `now`.
    pub(crate) fn in_grace(&self, now: Tick) -> bool {
        !reached(self.grace_until, now)
    }

    /// A deadline, as far as it moves because the process stood still.
    pub(crate) fn extended(&self, deadline: Tick) -> Tick {
        if reached(deadline, self.grace_until) { self.grace_until } else { deadline }
    }

    /// Sets the connection's timer to `at`, or to the wheel's horizon if that is
    /// earlier.
    pub(crate) fn schedule(&mut self, connection: &mut Connection, id: ConnId, at: Tick) {
        connection.timer = self.wheel.insert(id, at);
        connection.flags.timer_set = true;
    }

    /// Makes sure that the connection's timer comes up no later than `at`.
    pub(crate) fn schedule_by(&mut self, connection: &mut Connection, id: ConnId, at: Tick) {
        if !connection.flags.timer_set || !reached(connection.timer, at) {
            self.schedule(connection, id, at);
        }
    }
}
