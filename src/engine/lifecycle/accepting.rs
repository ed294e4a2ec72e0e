//! A socket was accepted: whether it may stay, and how long it may take to its
//! request.

use std::{net::SocketAddr, time::Duration};

use super::closing;
use crate::{
    engine::{
        process::admission::Admit,
        state::{connection::Connection, core::Core},
        types::disconnect::Disconnect,
    },
    id::ConnId,
};

/// How long a connection may take to its request that will be refused anyway.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes a new connection in. Returns the identity to attach it under, or `None` if
/// it must be closed at once because a limit is reached.
pub(crate) fn on_accepted(core: &mut Core, peer: SocketAddr) -> Option<ConnId> {
    core.stats.accepted += 1;
    core.turn.messages += core.limits.messages_at_once();
    let admitted =
        if core.drain.is_closing() { Admit::Drop } else { core.process.admission.enter(peer.ip()) };
    if admitted != Admit::Yes {
        core.stats.connections_refused += 1;
    }
    if admitted == Admit::Drop || (admitted == Admit::Refuse && !core.refusals.are_admitted()) {
        return None;
    }
    let Some(id) = insert(core, peer, admitted) else {
        core.process.admission.leave(peer.ip(), admitted);
        return None;
    };
    let timeout = match admitted {
        Admit::Yes => core.limits.handshake_timeout,
        // Who will only be told that the server is full must not keep others
        // from being told so.
        _ => core.limits.handshake_timeout.min(REFUSAL_TIMEOUT),
    };
    let deadline = core.now.tick_after(timeout);
    core.connections[id.slot()].deadline = deadline;
    core.schedule(id.slot(), deadline);
    if admitted == Admit::Refuse {
        // Behind the insert: the new connection must not get the slot of one
        // whose socket is not closed yet.
        if let Some(oldest) = core.refusals.take_in(id, &core.connections) {
            closing::disconnect(core, oldest, Disconnect::Lost);
        }
    }
    Some(id)
}

fn insert(core: &mut Core, peer: SocketAddr, admitted: Admit) -> Option<ConnId> {
    let (dialect, policy) = (core.process.dialect, core.limits.slow_policy);
    let (tick, unix_ms) = (core.now.tick(), core.now.unix_ms);
    core.connections.insert(|generation| {
        let mut connection = Connection::new(generation, peer, admitted, dialect, policy);
        connection.last_received = tick;
        connection.accepted_ms = unix_ms;
        connection
    })
}
