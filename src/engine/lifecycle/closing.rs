//! How connections end: the close handshake of RFC 6455 section 7 with a
//! deadline, and the cases in which there is nobody left to shake hands with.
//!
//! An end has two steps. `disconnect` notes the reason and stops the handling
//! of its messages; `begin_close`, after the disconnect hook has run, takes it out
//! of its rooms and queues the Close frame.

use super::membership;
use crate::{
    engine::{
        backpressure::holds,
        state::{
            connection::{NONE, State},
            core::Core,
            framing::write_whole,
        },
        types::{disconnect::Disconnect, outlet::SocketAction},
    },
    id::ConnId,
    proto::{
        close::{CloseCode, encode_close},
        frame::Opcode,
    },
};

/// Begins to end a connection. The first reason stands; one that is lost
/// while it is closing ends at once.
pub(crate) fn disconnect(core: &mut Core, id: ConnId, reason: Disconnect) {
    let Some(connection) = core.find_mut(id) else { return };
    let lost = reason == Disconnect::Lost;
    match connection.state {
        State::Open => {
            connection.state = if lost { State::Finished } else { State::Closing };
            core.note_reason(id.slot(), reason);
            core.endings.pending_disconnects.push(id);
            // Its Close frame may lie behind what is parked of it.
            holds::release(core, id);
        }
        _ if lost => {
            connection.state = State::Finished;
            core.endings.to_reap.push(id);
        }
        State::Handshake => finish(core, id),
        State::Closing | State::Lingering | State::Finished => {}
    }
}

/// Takes a connection out of its rooms and sends the Close frame that its
/// reason asks for.
pub(crate) fn begin_close(core: &mut Core, id: ConnId) {
    let slot = id.slot();
    let Some(connection) = core.find_mut(id) else { return };
    let reason = connection.reason();
    let half_closed = std::mem::take(&mut core.connections[slot].flags.half_closed);
    let abrupt = reason.is_abrupt() && !half_closed;
    core.stats.connections -= 1;
    membership::leave_all(core, id, !abrupt);
    if half_closed {
        // It gets what it has coming, and then the end of the stream: there is
        // nobody to shake hands with.
        core.connections[slot].flags.close_queued = true;
        finish(core, id);
        return;
    }
    if reason == Disconnect::Lost {
        core.endings.to_reap.push(id);
        return;
    }
    if reason == Disconnect::Slow {
        core.stats.slow_disconnects += 1;
    }
    if abrupt {
        drop_backlog(core, slot);
    }
    queue_close(core, slot, &reason, abrupt);
    core.connections[slot].flags.close_queued = true;
    let connection = &mut core.connections[slot];
    connection.state = match reason {
        Disconnect::ByPeer { .. } => State::Finished,
        Disconnect::Protocol { .. } | Disconnect::Slow | Disconnect::NoPong => State::Lingering,
        // The peer's own Close may have come while the hook ran.
        _ if connection.state == State::Finished => State::Finished,
        _ => State::Closing,
    };
    core.mark_ready(slot);
}

/// Throws away what waits for a connection, so that its Close frame is next.
fn drop_backlog(core: &mut Core, slot: u32) {
    let connection = &mut core.connections[slot];
    let Some(send_queue) = &mut connection.send_queue else { return };
    core.stats.messages_dropped += send_queue.clear() as u64;
    if send_queue.in_flight {
        // This turn's direct sends would only come behind the Close frame.
        connection.direct_head = NONE;
        connection.direct_tail = NONE;
    }
}

/// Queues the Close frame: past all waiting data, or behind it.
fn queue_close(core: &mut Core, slot: u32, reason: &Disconnect, abrupt: bool) {
    let payload = match reason.code() {
        Some(code) => encode_close(CloseCode::new(code), reason.reason()).to_vec(),
        None => Vec::new(),
    };
    if abrupt {
        core.control(slot, Opcode::Close, &payload);
    } else {
        core.write_direct(slot, |out| write_whole(out, Opcode::Close, &payload));
    }
}

/// Lets what is queued leave, then closes the sending side and reads on
/// until the peer closes: for answers to bad requests.
pub(crate) fn linger(core: &mut Core, id: ConnId) {
    let slot = id.slot();
    core.connections[slot].state = State::Lingering;
    core.mark_ready(slot);
}

/// Lets what is queued leave, then closes.
pub(crate) fn finish(core: &mut Core, id: ConnId) {
    let slot = id.slot();
    core.connections[slot].state = State::Finished;
    core.mark_ready(slot);
}

/// The peer will send nothing more.
pub(crate) fn on_eof(core: &mut Core, id: ConnId) {
    let Some(connection) = core.find_mut(id) else { return };
    match connection.state {
        State::Open => {
            connection.flags.half_closed = true;
            disconnect(core, id, Disconnect::Lost);
        }
        State::Handshake => core.endings.to_reap.push(id),
        State::Closing | State::Lingering | State::Finished => {
            connection.state = State::Finished;
            core.mark_ready(id.slot());
        }
    }
}

/// Removes connections that nothing can be sent to.
pub(crate) fn reap(core: &mut Core) {
    while let Some(id) = core.endings.to_reap.pop() {
        remove(core, id);
    }
}

/// Takes a connection out of the arena and has its socket closed.
pub(crate) fn remove(core: &mut Core, id: ConnId) {
    if core.find(id).is_none() {
        return;
    }
    let gone = core.connections.remove(id.slot());
    debug_assert!(gone.memberships.is_empty(), "{id:?} is removed, a member");
    core.holds.held -= usize::from(gone.flags.held);
    core.awaited.forget(id);
    core.process.admission.leave(gone.peer.address().ip(), gone.admitted);
    core.socket_actions.push(SocketAction::Close(id));
}

/// Everything, the Close frame or the last response too, has left: from now
/// on the peer has `close_timeout` to answer. Before, `write_timeout` bounds
/// every batch.
pub(crate) fn await_peer(core: &mut Core, slot: u32) {
    let connection = &mut core.connections[slot];
    if !std::mem::replace(&mut connection.flags.close_deadline_set, true) {
        let at = core.now.tick_after(core.limits.close_timeout);
        core.connections[slot].deadline = at;
        core.schedule_by(slot, at);
    }
}
