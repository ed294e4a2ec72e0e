//! What is due for a connection when its timer comes up: handshake, ping, pong,
//! write and close time-outs.

use std::time::Duration;

use super::closing;
use crate::{
    engine::{
        state::{connection::State, core::Core},
        types::{
            disconnect::Disconnect,
            outlet::Outlet,
            time::{Tick, reached, ticks},
        },
    },
    id::ConnId,
    proto::frame::Opcode,
};

/// How often in the time that a connection may go without progress the driver is
/// asked whether there was any.
pub(crate) const PROGRESS_LOOKS: u32 = 4;

/// When a connection that is held, or has unsent or unread data, is looked at again: its
/// silence does not count meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Handles one timer that came up at `tick`. An entry that does not count
/// any more is dropped here.
pub(crate) fn on_timer(core: &mut Core, id: ConnId, tick: Tick) {
    let now = core.now.tick();
    let Some(connection) = core.find_mut(id) else { return };
    if !connection.flags.timer_set || connection.timer != tick {
        return;
    }
    connection.flags.timer_set = false;
    if connection.is_blocked() {
        core.endings.timed_out.push(id);
    }
    let connection = &core.connections[id.slot()];
    let next = match connection.state {
        State::Handshake => {
            let deadline = core.timers.extended(connection.deadline);
            if reached(deadline, now) {
                core.endings.timed_out.push(id);
                Some(now.wrapping_add(ticks(LOOK_AGAIN)))
            } else {
                Some(deadline)
            }
        }
        State::Open => heartbeat(core, id),
        State::Closing | State::Lingering | State::Finished => {
            let awaited = connection.flags.close_deadline_set;
            let deadline = core.timers.extended(connection.deadline);
            if awaited && reached(deadline, now) {
                closing::disconnect(core, id, Disconnect::Lost);
                return;
            }
            awaited.then_some(deadline)
        }
    };
    reschedule(core, id, next);
}

/// Sets the next look: at `next`, or earlier if a batch is out.
fn reschedule(core: &mut Core, id: ConnId, next: Option<Tick>) {
    let Some(connection) = core.find(id) else { return };
    let look = ticks(core.limits.write_timeout / PROGRESS_LOOKS).max(1);
    let write = connection.is_blocked().then(|| core.now.tick().wrapping_add(look));
    let at = match (next, write) {
        (Some(next), Some(write)) if reached(write, next) => Some(write),
        (None, write) => write,
        (next, _) => next,
    };
    // Without heartbeats there is nothing to look at.
    if let Some(at) = at {
        core.schedule_by(id.slot(), at);
    }
}

/// Pings a quiet connection, or has the flush check whether it timed out. Returns when
/// to check again.
fn heartbeat(core: &mut Core, id: ConnId) -> Option<Tick> {
    let now = core.now.tick();
    let (ping, pong) = (core.limits.ping_interval, core.limits.pong_timeout);
    if ping.is_zero() && pong.is_zero() {
        return None;
    }
    let slot = id.slot();
    let connection = &mut core.connections[slot];
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
        core.control(slot, Opcode::Ping, b"");
    }
    if pong.is_zero() {
        return Some(now.wrapping_add(ticks(ping)));
    }
    let deadline = pong_deadline(core, slot);
    if reached(deadline, now) {
        core.endings.timed_out.push(id);
        return Some(now.wrapping_add(ticks(LOOK_AGAIN)));
    }
    // An answer may make the next ping due long before.
    let next_ping = now.wrapping_add(ticks(ping));
    let is_sooner = !ping.is_zero() && reached(next_ping, deadline);
    Some(if is_sooner { next_ping } else { deadline })
}

/// When the silence of `slot` is too long: nothing has come for the pong time-out,
/// and our ping has been out for the time that it leaves for an answer.
fn pong_deadline(core: &Core, slot: u32) -> Tick {
    let connection = &core.connections[slot];
    let (ping, pong) = (ticks(core.limits.ping_interval), ticks(core.limits.pong_timeout));
    let silent = connection.last_received.wrapping_add(pong);
    if ping == 0 {
        return core.timers.extended(silent);
    }
    let unanswered = connection.deadline.wrapping_add(pong.wrapping_sub(ping));
    core.timers.extended(if reached(silent, unanswered) { unanswered } else { silent })
}

/// Asks the driver about connections that have timed out as far as the engine knows:
/// one whose kernel took nothing for the write time-out is lost; one that is silent, or
/// whose request is not there, is closed only if its socket holds nothing unread.
pub(crate) fn check_timeouts(core: &mut Core, outlet: &mut impl Outlet) {
    for id in std::mem::take(&mut core.endings.timed_out) {
        let now = core.now.tick();
        let Some(connection) = core.find(id) else { continue };
        if connection.is_blocked() {
            check_write_timeout(core, id, outlet.unsent_bytes(id));
            continue;
        }
        let deadline = match connection.state {
            State::Handshake => core.timers.extended(connection.deadline),
            State::Open => pong_deadline(core, id.slot()),
            _ => continue,
        };
        if connection.flags.held || !reached(deadline, now) || outlet.has_unread(id) {
            continue;
        }
        if connection.state == State::Handshake {
            on_handshake_timeout(core, id);
        } else {
            closing::disconnect(core, id, Disconnect::NoPong);
        }
    }
}

fn check_write_timeout(core: &mut Core, id: ConnId, unsent: usize) {
    let now = core.now.tick();
    let timeout = ticks(core.limits.write_timeout);
    let in_grace = core.timers.in_grace(now);
    let connection = &mut core.connections[id.slot()];
    let is_open = connection.state == State::Open;
    let Some(send_queue) = &mut connection.send_queue else { return };
    let before = std::mem::replace(&mut send_queue.unsent, unsent);
    if unsent < before || in_grace {
        send_queue.since = now;
    } else if reached(send_queue.since.wrapping_add(timeout), now) {
        core.stats.slow_disconnects += u64::from(is_open);
        closing::disconnect(core, id, Disconnect::Lost);
    }
}

/// Starts the heartbeat of a connection that has just been opened.
pub(crate) fn start_heartbeat(core: &mut Core, id: ConnId) {
    let next = heartbeat(core, id);
    reschedule(core, id, next);
}

/// The request head did not come in time: 408 and the end (RFC 9110 section
/// 15.5.9).
fn on_handshake_timeout(core: &mut Core, id: ConnId) {
    const RESPONSE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n\r\n\
        the request head did not come in time\n";
    core.stats.handshakes_failed += 1;
    core.write_direct(id.slot(), |out| out.extend_from_slice(RESPONSE));
    closing::linger(core, id);
}
