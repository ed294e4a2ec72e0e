//! The end of a turn: everything that was accepted leaves, each connection
//! getting one batch of all that it has coming, in order.
//!
//! Nothing is published, joined or left during a flush; connections that must go
//! because they are too slow are only noted.

use bytes::Bytes;

use super::{scan, serve};
use crate::{
    engine::{
        state::{
            connection::{Connection, State},
            core::Core,
        },
        types::outlet::Outlet,
    },
    id::ConnId,
};

/// Whether so much is waiting that it should be flushed before more comes in: 256 KiB
/// still lie in a core's second-level cache.
pub(crate) fn wants_flush(core: &Core) -> bool {
    core.pending_bytes() >= 256 * 1024
}

/// Sends what is waiting, as far as this turn's work goes. Returns whether something is
/// left for the next turn.
pub(crate) fn flush(core: &mut Core, outlet: &mut impl Outlet) -> bool {
    let left = serve_all(core, outlet);
    // What is published next makes other runs, and needs their buffer.
    core.flush.merged.forget();
    left
}

/// The same while no log changes.
fn serve_all(core: &mut Core, outlet: &mut impl Outlet) -> bool {
    let (turn, mut ready) = core.direct.take();
    // If no room has anything for anyone, there is nothing to merge.
    let quiet = core.rooms.dirty.is_empty();
    for slot in ready.drain(..) {
        let lags = |connection: &Connection| connection.send_queue.is_some();
        if quiet && !core.connections.get(slot).is_none_or(lags) {
            serve::serve_direct(core, slot, &turn, outlet);
        } else {
            serve::serve(core, slot, None, &turn, outlet);
        }
    }
    core.direct.clear(turn, ready);
    core.flush.logged = 0;
    go_on(core, outlet);
    // Each group once at the most. One that used up the work goes to the end
    // of the line, so that a small room waits for one slice of a large one and no
    // more.
    for _ in 0..core.rooms.dirty.len() {
        if core.flush.work_left == 0 {
            break;
        }
        let Some(group) = core.rooms.dirty.pop_front() else { break };
        if !scan::pass(core, group, outlet) {
            core.rooms.dirty.push_back(group);
        }
    }
    !core.rooms.dirty.is_empty() || !core.flush.continuing.is_empty()
}

/// A turn begins: this is what its flushes may do.
pub(crate) fn begin_work(core: &mut Core) {
    core.flush.work_left = core.limits.sends_per_turn * serve::WORK_PER_SEND;
}

/// Sends more to connections whose last batch has left, with at most half of the work
/// that is left: the rooms' members have the other.
fn go_on(core: &mut Core, outlet: &mut impl Outlet) {
    let kept = if core.rooms.dirty.is_empty() { 0 } else { core.flush.work_left / 2 };
    let none = Bytes::new();
    for _ in 0..core.flush.continuing.len() {
        if core.flush.work_left <= kept {
            break;
        }
        let Some(slot) = core.flush.continuing.pop_front() else { break };
        serve::serve(core, slot, None, &none, outlet);
    }
}

/// Everything that earlier batches left with the driver has left: the connection gets
/// what came meanwhile.
pub(crate) fn on_sent(core: &mut Core, id: ConnId) {
    let tick = core.now.tick();
    let Some(connection) = core.find_mut(id) else { return };
    if let Some(send_queue) = &mut connection.send_queue {
        send_queue.in_flight = false;
    }
    if connection.flags.pinged && connection.state == State::Open {
        // The ping may have left just now: its answer has all its time from here.
        connection.deadline = tick;
    }
    core.flush.continuing.push_back(id.slot());
}
