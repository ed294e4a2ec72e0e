//! What is due for a connection when its timer comes up: handshake, ping, pong,
//! write and close time-outs.

use std::time::Duration;

use super::{
    connection::State,
    core::Core,
    disconnect::Disconnect,
    timers::{TICK_MS, Tick, reached},
};
use crate::{id::ConnId, proto::frame::Opcode};

fn ticks(wait: Duration) -> Tick {
    (wait.as_millis() as u64).div_ceil(TICK_MS).min(u64::from(u32::MAX / 4)) as Tick
}

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
        let connection = &self.connections[id.slot() as usize];
        let write_timeout = ticks(self.limits().write_timeout);
        if let Some(lag) = connection.lag.as_ref().filter(|lag| lag.in_flight)
            && reached(lag.since.wrapping_add(write_timeout), now)
        {
            if connection.state == State::Open {
                self.stats.slow_disconnects += 1;
            }
            self.disconnect(id, Disconnect::Lost);
            return;
        }
        let next = match connection.state {
            State::Handshake => {
                if reached(connection.deadline, now) {
                    self.on_handshake_timeout(id);
                    return;
                }
                Some(connection.deadline)
            }
            State::Open => self.heartbeat(id),
            State::Closing | State::Lingering | State::Finished => {
                let awaited = connection.flags.awaited;
                if awaited && reached(connection.deadline, now) {
                    self.disconnect(id, Disconnect::Lost);
                    return;
                }
                awaited.then_some(connection.deadline)
            }
        };
        self.reschedule(id, next, write_timeout);
    }

    /// Sets the next look: at `next`, or earlier if a batch is out.
    fn reschedule(&mut self, id: ConnId, next: Option<Tick>, write_timeout: Tick) {
        let Some(connection) = self.find(id) else { return };
        let lag = connection.lag.as_ref().filter(|lag| lag.in_flight);
        let write = lag.map(|lag| lag.since.wrapping_add(write_timeout));
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

    /// Pings or closes a quiet connection. Returns when to look again.
    fn heartbeat(&mut self, id: ConnId) -> Option<Tick> {
        let now = self.now.tick();
        let (ping, pong) = (self.limits().ping_interval, self.limits().pong_timeout);
        let slot = id.slot();
        let connection = &mut self.connections[slot as usize];
        let last = connection.last_received;
        if !pong.is_zero() {
            let dead = last.wrapping_add(ticks(pong));
            if reached(dead, now) {
                self.disconnect(id, Disconnect::NoPong);
                return None;
            }
        }
        let ping_at = last.wrapping_add(ticks(ping));
        let due = !ping.is_zero() && reached(ping_at, now);
        // Without a pong time-out pings go on: they keep what lies between open.
        if due && (!connection.flags.pinged || pong.is_zero()) {
            connection.flags.pinged = true;
            self.control(slot, Opcode::Ping, b"");
        }
        match (ping.is_zero(), pong.is_zero()) {
            (true, true) => None,
            (false, _) if !due => Some(ping_at),
            (_, false) => Some(last.wrapping_add(ticks(pong))),
            (false, true) => Some(now.wrapping_add(ticks(ping))),
        }
    }

    /// Starts the heartbeat of a connection that has just been opened.
    pub(crate) fn start_heartbeat(&mut self, id: ConnId) {
        let next = self.heartbeat(id);
        self.reschedule(id, next, 0);
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
