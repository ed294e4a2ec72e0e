//! From the first byte to the upgrade: collects the request head, answers it,
//! or hands the socket out if the request is no WebSocket handshake.

use super::hooks::{self, App};
use crate::{
    dialect::{Dialect, Event, Refusal},
    engine::{
        lifecycle::{closing, deadlines, membership},
        process::admission::Admit,
        state::{connection::State, core::Core},
        types::{audience::Target, disconnect::Disconnect, limits::Limits, outlet::SocketAction},
    },
    id::ConnId,
    proto::{
        error::HandshakeError,
        handshake::{self, Head, HeadLimits, head_end},
    },
};

/// What a request head asks for.
enum Decision {
    /// Upgrade: the response, and the dialect that was agreed on.
    Accept(Vec<u8>, Dialect),
    /// Say no in HTTP, and close.
    Refuse(Vec<u8>),
    /// A plain HTTP request, for whoever serves those.
    HandOff,
}

/// Where the client's first frames are, once its connection is open.
pub(crate) enum FirstFrames {
    /// In the bytes that have just arrived, from there on.
    Arrived(usize),
    /// Behind the head, which came in pieces.
    Kept(Vec<u8>, usize),
}

/// Bytes arrived on a connection whose request head is not complete. Returns what
/// follows the head of an upgrade that was accepted.
pub(crate) fn on_bytes(
    core: &mut Core,
    app: &App,
    id: ConnId,
    bytes: &mut [u8],
) -> Option<FirstFrames> {
    let max = core.limits.head_bytes;
    let connection = &mut core.connections[id.slot()];
    let kept = connection.extra.as_mut().map(|extra| std::mem::take(&mut extra.head));
    let mut head = kept.unwrap_or_default();
    if head.is_empty() {
        return match head_end(bytes, 0) {
            Some(end) if end <= max => {
                on_head(core, app, id, bytes, end).then_some(FirstFrames::Arrived(end))
            }
            None if bytes.len() <= max => keep(core, id, bytes.to_vec()),
            _ => refuse(core, id, HandshakeError::HeadTooLong),
        };
    }
    let searched = head.len().saturating_sub(3);
    head.extend_from_slice(bytes);
    match head_end(&head, searched) {
        Some(end) if end <= max => {
            on_head(core, app, id, &head, end).then_some(FirstFrames::Kept(head, end))
        }
        None if head.len() <= max => keep(core, id, head),
        _ => refuse(core, id, HandshakeError::HeadTooLong),
    }
}

fn keep(core: &mut Core, id: ConnId, head: Vec<u8>) -> Option<FirstFrames> {
    core.connections[id.slot()].extra().head = head;
    None
}

/// The head is `bytes[..end]`. Returns whether it was an upgrade and accepted.
fn on_head(core: &mut Core, app: &App, id: ConnId, bytes: &[u8], end: usize) -> bool {
    let slot = id.slot();
    core.turn.messages += 2 * core.limits.messages_at_once();
    let head_limits = HeadLimits { head_bytes: core.limits.head_bytes, headers: Limits::HEADERS };
    let decision = match handshake::parse(&bytes[..end], &head_limits) {
        Ok(Some(head)) => decide(core, app, &head),
        Ok(None) => Decision::Refuse(error_response(HandshakeError::RequestLineInvalid)),
        Err(error) => Decision::Refuse(error_response(error)),
    };
    forget_head(core, slot);
    match decision {
        Decision::Accept(response, dialect) => {
            core.connections[slot].dialect = dialect;
            core.write_direct(slot, |out| out.extend_from_slice(&response));
            open(core, app, id);
            return true;
        }
        Decision::Refuse(response) => respond(core, id, &response),
        Decision::HandOff => hand_off(core, id, bytes),
    }
    false
}

/// Opens an upgraded connection: greets it and runs the connect hooks.
fn open(core: &mut Core, app: &App, id: ConnId) {
    let slot = id.slot();
    let connection = &mut core.connections[slot];
    connection.state = State::Open;
    let (dialect, admitted) = (connection.dialect, connection.admitted);
    core.stats.upgraded += 1;
    core.stats.connections += 1;
    if admitted == Admit::Refuse {
        core.send_event(slot, &Event::Refused { refusal: Refusal::ServerFull, id: None });
        closing::disconnect(core, id, Disconnect::ServerFull);
        return;
    }
    // Never full: it is not counted.
    let _ = membership::join(core, id, Target::Everyone);
    deadlines::start_heartbeat(core, id);
    if dialect.rules().greets {
        let client_id = core.client_id(id);
        core.send_event(slot, &Event::Connected { client_id });
    }
    hooks::run_connect_hooks(core, app, id);
}

/// Frees what only the handshake needed.
fn forget_head(core: &mut Core, slot: u32) {
    let connection = &mut core.connections[slot];
    if let Some(extra) = &mut connection.extra {
        extra.head = Vec::new();
        if extra.user.is_none() && extra.metadata.is_empty() && extra.reason.is_none() {
            connection.extra = None;
        }
    }
}

fn decide(core: &Core, app: &App, head: &Head<'_>) -> Decision {
    let path = &core.process.path;
    if app.hands_off_http && !is_handshake(head, path) {
        return Decision::HandOff;
    }
    let dialect = dialect_of_path(path, head.path);
    let Some(dialect) = dialect else {
        return Decision::Refuse(NOT_FOUND.to_vec());
    };
    let upgrade = match head.upgrade() {
        Ok(upgrade) => upgrade,
        Err(error) => return Decision::Refuse(error_response(error)),
    };
    // The path names a dialect, or else the first offered subprotocol that is
    // one does.
    let offered = upgrade.protocols().find_map(|offer| {
        let known = Dialect::ALL.iter().find(|known| known.subprotocol() == offer)?;
        dialect.named.is_none_or(|named| named == *known).then_some(*known)
    });
    let chosen = offered.or(dialect.named).unwrap_or(core.process.dialect);
    let mut response = Vec::with_capacity(256);
    handshake::write_accept(&mut response, upgrade.key, offered.map(Dialect::subprotocol));
    Decision::Accept(response, chosen)
}

/// Whether a shard answers this request itself, be it right or wrong: an upgrade to
/// WebSocket, at `websocket_path` or at one of a dialect below it. All others are
/// handed out.
pub(crate) fn is_handshake(head: &Head<'_>, websocket_path: &str) -> bool {
    head.wants_websocket() && dialect_of_path(websocket_path, head.path).is_some()
}

/// That a path is one of upgrades, and the dialect that it names.
struct UpgradePath {
    named: Option<Dialect>,
}

/// `/ws` or `/ws/<dialect>`, for the configured `/ws`.
fn dialect_of_path(websocket_path: &str, path: &str) -> Option<UpgradePath> {
    let rest = path.strip_prefix(websocket_path)?;
    match rest {
        "" | "/" => Some(UpgradePath { named: None }),
        _ => {
            let named = Dialect::by_name(rest.strip_prefix('/')?)?;
            Some(UpgradePath { named: Some(named) })
        }
    }
}

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 34\r\n\r\n\
    there is no WebSocket at this path";

fn error_response(error: HandshakeError) -> Vec<u8> {
    let mut response = Vec::with_capacity(256);
    handshake::write_error(&mut response, &error);
    response
}

fn refuse(core: &mut Core, id: ConnId, error: HandshakeError) -> Option<FirstFrames> {
    respond(core, id, &error_response(error));
    None
}

/// Sends an HTTP error and closes.
fn respond(core: &mut Core, id: ConnId, response: &[u8]) {
    core.stats.handshakes_failed += 1;
    core.write_direct(id.slot(), |out| out.extend_from_slice(response));
    closing::linger(core, id);
}

fn hand_off(core: &mut Core, id: ConnId, bytes: &[u8]) {
    let gone = core.connections.remove(id.slot());
    core.process.admission.leave(gone.peer.address().ip(), gone.admitted);
    core.socket_actions.push(SocketAction::HandOff(id, bytes.to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_fixed_response_is_true() {
        let text = std::str::from_utf8(NOT_FOUND).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
