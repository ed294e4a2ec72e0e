//! What is due for a connection when its timer comes up: handshake, ping, pong,
//! write and close time-outs.

use std::time::Duration;

use super::{
    connection::State,
    core::Core,
    disconnect::Disconnect,
    flush::Outlet,
    timers::{TICK_MS, Tick, reached},
};
use crate::{id::ConnId, proto::frame::Opcode};

fn ticks(wait: Duration) -> Tick {
    (wait.as_millis() as u64).div_ceil(TICK_MS).min(u64::from(u32::MAX / 4)) as Tick
}

/// How often in the time that a connection may go without progress the driver is
/// asked whether there was any.
pub(crate) const PROGRESS_LOOKS: u32 = 4;

/// When a connection that is held or has unsent data is looked at again: its silence
/// does not count meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Core {
    /// Handles one timer that came up at `tick`. An entry that does not count
    /// any more is dropped here.
    pub(crate) fn on_timer(&mut self, id: ConnId, tick: Tick) {
        let now = self.now.tick();
        let Some(connection) = self.find_mut(id) else { return };
        if !connection.flags.timed || connection.timer != tick {
            return;
        }
        connection.flags.timed = false;
        if connection.is_blocked() {
            self.suspects.push(id);
        }
        let connection = &self.connections[id.slot() as usize];
        let next = match connection.state {
            State::Handshake => {
                let deadline = self.moved(connection.deadline);
                if reached(deadline, now) {
                    self.on_handshake_timeout(id);
                    return;
                }
                Some(deadline)
            }
            State::Open => self.heartbeat(id),
            State::Closing | State::Lingering | State::Finished => {
                let awaited = connection.flags.awaited;
                let deadline = self.moved(connection.deadline);
                if awaited && reached(deadline, now) {
                    self.disconnect(id, Disconnect::Lost);
                    return;
                }
                awaited.then_some(deadline)
            }
        };
        self.reschedule(id, next);
    }

    /// Sets the next look: at `next`, or earlier if a batch is out.
    fn reschedule(&mut self, id: ConnId, next: Option<Tick>) {
        let Some(connection) = self.find(id) else { return };
        let look = ticks(self.limits.write_timeout / PROGRESS_LOOKS).max(1);
        let write = connection.is_blocked().then(|| self.now.tick().wrapping_add(look));
        let at = match (next, write) {
            (Some(next), Some(write)) if reached(write, next) => Some(write),
            (None, write) => write,
            (next, _) => next,
        };
        // Without heartbeats there is nothing to look at.
        if let Some(at) = at {
            self.schedule_by(id.slot(), at);
        }
    }

    /// Pings a quiet connection, or suspects it to be dead. Returns when to look
    /// again.
    fn heartbeat(&mut self, id: ConnId) -> Option<Tick> {
        let now = self.now.tick();
        let (ping, pong) = (self.limits.ping_interval, self.limits.pong_timeout);
        if ping.is_zero() && pong.is_zero() {
            return None;
        }
        let slot = id.slot();
        let connection = &mut self.connections[slot as usize];
        // Nothing is read of it, or no ping can leave.
        if connection.flags.held || connection.is_blocked() {
            return Some(now.wrapping_add(ticks(LOOK_AGAIN)));
        }
        let ping_at = connection.last_received.wrapping_add(ticks(ping));
        if !ping.is_zero() && !reached(ping_at, now) {
            return Some(ping_at);
        }
        // Without a pong time-out pings go on: they keep what lies between open.
        if !ping.is_zero() && (!connection.flags.pinged || pong.is_zero()) {
            connection.flags.pinged = true;
            connection.deadline = now;
            self.control(slot, Opcode::Ping, b"");
        }
        if pong.is_zero() {
            return Some(now.wrapping_add(ticks(ping)));
        }
        let dead = self.dead_at(slot);
        if reached(dead, now) {
            self.suspects.push(id);
            return Some(now.wrapping_add(ticks(LOOK_AGAIN)));
        }
        // An answer may make the next ping due long before.
        let next_ping = now.wrapping_add(ticks(ping));
        let is_sooner = !ping.is_zero() && reached(next_ping, dead);
        Some(if is_sooner { next_ping } else { dead })
    }

    /// When the silence of `slot` is too long: nothing has come for the pong time-out,
    /// and our ping has been out for the time that it leaves for an answer.
    fn dead_at(&self, slot: u32) -> Tick {
        let connection = &self.connections[slot as usize];
        let (ping, pong) = (ticks(self.limits.ping_interval), ticks(self.limits.pong_timeout));
        let silent = connection.last_received.wrapping_add(pong);
        if ping == 0 {
            return self.moved(silent);
        }
        let unanswered = connection.deadline.wrapping_add(pong.wrapping_sub(ping));
        self.moved(if reached(silent, unanswered) { unanswered } else { silent })
    }

    /// A deadline, as far as it moves because the process stood still.
    fn moved(&self, deadline: Tick) -> Tick {
        if reached(deadline, self.spared_until) { self.spared_until } else { deadline }
    }

    /// Ticks wrap: one that is long past must not come to lie in the future.
    pub(crate) fn keep_spared_until_near(&mut self) {
        if reached(self.spared_until, self.now.tick()) {
            self.spared_until = self.now.tick();
        }
    }

    /// Asks the driver about connections that seem to stand still: one whose kernel
    /// took nothing for the write time-out is lost; one that is silent is dead only if
    /// its socket holds nothing unread. Comes in a flush: those that are dead are
    /// noted.
    pub(crate) fn judge_suspects(&mut self, outlet: &mut impl Outlet) {
        for id in std::mem::take(&mut self.suspects) {
            let now = self.now.tick();
            let Some(connection) = self.find(id) else { continue };
            if connection.is_blocked() {
                self.judge_progress(id, outlet.unsent_bytes(id));
            } else if connection.state == State::Open
                && !connection.flags.held
                && reached(self.dead_at(id.slot()), now)
                && !outlet.has_unread(id)
            {
                self.disconnect(id, Disconnect::NoPong);
            }
        }
    }

    fn judge_progress(&mut self, id: ConnId, unsent: usize) {
        let now = self.now.tick();
        let timeout = ticks(self.limits.write_timeout);
        let is_spared = !reached(self.spared_until, now);
        let connection = &mut self.connections[id.slot() as usize];
        let is_open = connection.state == State::Open;
        let Some(lag) = &mut connection.lag else { return };
        let before = std::mem::replace(&mut lag.unsent, unsent);
        if unsent < before || is_spared {
            lag.since = now;
        } else if reached(lag.since.wrapping_add(timeout), now) {
            self.stats.slow_disconnects += u64::from(is_open);
            self.disconnect(id, Disconnect::Lost);
        }
    }

    /// Starts the heartbeat of a connection that has just been opened.
    pub(crate) fn start_heartbeat(&mut self, id: ConnId) {
        let next = self.heartbeat(id);
        self.reschedule(id, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_ticks() {
        assert_eq!(ticks(Duration::from_millis(1)), 1);
        assert_eq!(ticks(Duration::from_millis(16)), 1);
        assert_eq!(ticks(Duration::from_millis(17)), 2);
    }
}
