//! Bytes of a connection into messages, one after the other, until it is held or
//! ends; and on with those whose hold is over. Knows the protocol's sessions; not what
//! a message means.

use super::{
    commands,
    hooks::{self, App, Fault},
    opening::{self, FirstFrames},
};
use crate::{
    dialect::Incoming,
    engine::{
        backpressure::holds,
        lifecycle::closing,
        state::{
            connection::State,
            core::Core,
            hold_queue::{Cause, Resumed},
        },
        types::disconnect::Disconnect,
    },
    id::ConnId,
    proto::{
        error::ProtocolError,
        frame::Opcode,
        message::{MessageLimits, Received},
        session::Lent,
    },
};

/// Bytes arrived. They are unmasked in place.
pub(crate) fn on_data(core: &mut Core, app: &App, id: ConnId, bytes: &mut [u8]) {
    let tick = core.now.tick();
    let Some(connection) = core.find_mut(id) else { return };
    connection.last_received = tick;
    connection.flags.pinged = false;
    let (state, held) = (connection.state, connection.flags.held);
    core.stats.bytes_received += bytes.len() as u64;
    match state {
        State::Open | State::Closing if held => holds::park(core, id, bytes),
        State::Open | State::Closing => on_frames(core, app, id, bytes),
        State::Handshake => match opening::on_bytes(core, app, id, bytes) {
            Some(FirstFrames::Arrived(at)) => on_frames(core, app, id, &mut bytes[at..]),
            Some(FirstFrames::Kept(mut head, at)) => on_frames(core, app, id, &mut head[at..]),
            None => {}
        },
        State::Lingering | State::Finished => {}
    }
}

/// Takes messages off the front of `input` until it is used up or the connection
/// is held or ends. What is left of a held one is parked.
fn on_frames(core: &mut Core, app: &App, id: ConnId, input: &mut [u8]) {
    let all = input.len();
    let left = take_messages(core, app, id, input);
    if left > 0 {
        holds::park(core, id, &input[all - left..]);
    }
}

/// Takes messages off the front of `input`; how many bytes are left because the
/// connection was held.
fn take_messages(core: &mut Core, app: &App, id: ConnId, mut input: &mut [u8]) -> usize {
    let limits = MessageLimits {
        message_bytes: core.limits.message_bytes,
        frames_per_message: core.limits.frames_per_message,
    };
    let before = core.turn.receiving.replace(id);
    let max_direct = holds::room_for_answers(core, id);
    let max_messages = core.turn.messages + core.limits.messages_at_once();
    let left = loop {
        let Some(connection) = core.find_mut(id) else { break 0 };
        if !connection.takes_messages() {
            break 0;
        }
        if connection.flags.held {
            break input.len();
        }
        match connection.session.next_lent(&mut input, &limits) {
            Ok(Some(message)) => {
                if connection.state == State::Open {
                    let dialect = connection.dialect;
                    core.stats.messages_received += 1;
                    commands::on_message(core, app, (id, dialect), incoming(message));
                }
            }
            Ok(None) => match connection.session.next(&mut input, &limits) {
                Ok(None) => break 0,
                Ok(Some(received)) => on_received(core, app, id, received),
                Err(error) => {
                    on_protocol_error(core, app, id, error);
                    break 0;
                }
            },
            Err(error) => {
                on_protocol_error(core, app, id, error);
                break 0;
            }
        }
        // Each message is an event of its own to the hooks.
        if core.has_due() {
            hooks::run_pending(core, app);
        }
        core.turn.messages += 1;
        if core.direct.len() > max_direct {
            holds::hold(core, id, Cause::Answers);
        } else if core.turn.messages > max_messages && !input.is_empty() {
            holds::hold(core, id, Cause::Turn);
        }
    };
    core.turn.receiving = before;
    left
}

#[inline]
fn incoming(message: Lent<'_>) -> Incoming<'_> {
    match message {
        Lent::Text(text) => Incoming::Text(text),
        Lent::Binary(bytes) => Incoming::Binary(bytes),
    }
}

/// Goes on with the next connection whose hold is over. Returns how many bytes of
/// it were looked at, or `None` if there is no such connection.
pub(crate) fn resume_next(core: &mut Core, app: &App) -> Option<usize> {
    let Resumed { id, message, mut input, at } = holds::next_resumed(core)?;
    if let Some(message) = message
        && let Some(connection) = core.find(id)
        && connection.state == State::Open
    {
        let dialect = connection.dialect;
        let before = core.turn.receiving.replace(id);
        commands::on_message(core, app, (id, dialect), message.incoming());
        core.turn.receiving = before;
    }
    let left = take_messages(core, app, id, &mut input[at..]);
    let at_now = input.len() - left;
    if left > 0 {
        holds::park_rest(core, id, input, at_now);
    }
    holds::unpause(core, id);
    Some(at_now - at)
}

fn on_received(core: &mut Core, app: &App, id: ConnId, received: Received<'_>) {
    let connection = &core.connections[id.slot()];
    let (open, dialect) = (connection.state == State::Open, connection.dialect);
    match received {
        Received::Text(text) if open => {
            core.stats.messages_received += 1;
            commands::on_message(core, app, (id, dialect), Incoming::Text(text.as_str()));
        }
        Received::Binary(bytes) if open => {
            core.stats.messages_received += 1;
            commands::on_message(core, app, (id, dialect), Incoming::Binary(&bytes));
        }
        Received::Ping(payload) if open => {
            core.control(id.slot(), Opcode::Pong, &payload);
        }
        Received::Close(frame) => {
            let code = frame.map(|frame| frame.code.to_u16());
            core.connections[id.slot()].flags.read_closed = true;
            on_close(core, id, code);
        }
        // Once our Close is queued nothing else is answered.
        _ => {}
    }
}

/// The peer's Close frame: begins or ends the close handshake (RFC 6455
/// section 5.5.1).
fn on_close(core: &mut Core, id: ConnId, code: Option<u16>) {
    if core.connections[id.slot()].state == State::Open {
        closing::disconnect(core, id, Disconnect::ByPeer { code });
    } else {
        closing::finish(core, id);
    }
}

fn on_protocol_error(core: &mut Core, app: &App, id: ConnId, error: ProtocolError) {
    let code = error.close_code().to_u16();
    let reason = error.to_string();
    core.stats.protocol_errors += 1;
    core.connections[id.slot()].flags.read_closed = true;
    app.report(id, &Fault::Protocol { code, reason: &reason });
    if core.connections[id.slot()].state == State::Open {
        closing::disconnect(core, id, Disconnect::Protocol { code, reason: reason.into() });
    } else {
        // Our Close is out already; there is no handshake to wait for.
        closing::linger(core, id);
    }
}
