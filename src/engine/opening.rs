//! From the first byte to the upgrade: collects the request head, answers it,
//! or hands the socket out if the request is no WebSocket handshake.

use super::{
    core::{Core, Order},
    limits::Limits,
    shard_engine::ShardEngine,
};
use crate::{
    dialect::Dialect,
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

/// Bytes arrived on a connection whose request head is not complete.
pub(crate) fn on_bytes(engine: &mut ShardEngine, id: ConnId, bytes: &mut [u8]) {
    let most = engine.core.limits().head_bytes;
    let connection = &mut engine.core.connections[id.slot() as usize];
    let kept = connection.extra.as_mut().map(|extra| std::mem::take(&mut extra.head));
    let kept = kept.unwrap_or_default();
    if kept.is_empty() {
        match head_end(bytes, 0) {
            Some(end) if end <= most => on_head(engine, id, bytes, end),
            None if bytes.len() <= most => keep(&mut engine.core, id, bytes.to_vec()),
            _ => refuse(engine, id, HandshakeError::HeadTooLong),
        }
        return;
    }
    let searched = kept.len().saturating_sub(3);
    let mut head = kept;
    head.extend_from_slice(bytes);
    match head_end(&head, searched) {
        Some(end) if end <= most => on_head(engine, id, &mut head, end),
        None if head.len() <= most => keep(&mut engine.core, id, head),
        _ => refuse(engine, id, HandshakeError::HeadTooLong),
    }
}

fn keep(core: &mut Core, id: ConnId, head: Vec<u8>) {
    core.connections[id.slot() as usize].extra().head = head;
}

/// The head is `bytes[..end]`; what follows are the client's first frames.
fn on_head(engine: &mut ShardEngine, id: ConnId, bytes: &mut [u8], end: usize) {
    let slot = id.slot();
    engine.core.messages += 2 * engine.core.limits.messages_at_once();
    let head_limits =
        HeadLimits { head_bytes: engine.core.limits().head_bytes, headers: Limits::HEADERS };
    let decision = match handshake::parse(&bytes[..end], &head_limits) {
        Ok(Some(head)) => decide(engine, &head),
        Ok(None) => Decision::Refuse(error_response(HandshakeError::RequestLineInvalid)),
        Err(error) => Decision::Refuse(error_response(error)),
    };
    forget_head(&mut engine.core, slot);
    match decision {
        Decision::Accept(response, dialect) => {
            engine.core.connections[slot as usize].dialect = dialect;
            engine.core.write_direct(slot, |out| out.extend_from_slice(&response));
            engine.open(id);
            engine.on_frames(id, &mut bytes[end..]);
        }
        Decision::Refuse(response) => respond(engine, id, &response),
        Decision::HandOff => hand_off(&mut engine.core, id, bytes),
    }
}

/// Frees what only the handshake needed.
fn forget_head(core: &mut Core, slot: u32) {
    let connection = &mut core.connections[slot as usize];
    if let Some(extra) = &mut connection.extra {
        extra.head = Vec::new();
        if extra.user.is_none() && extra.metadata.is_empty() && extra.reason.is_none() {
            connection.extra = None;
        }
    }
}

fn decide(engine: &ShardEngine, head: &Head<'_>) -> Decision {
    let path = &engine.core.process.path;
    if engine.app.hands_off_http && !is_handshake(head, path) {
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
    let chosen = offered.or(dialect.named).unwrap_or(engine.core.process.dialect);
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

fn refuse(engine: &mut ShardEngine, id: ConnId, error: HandshakeError) {
    respond(engine, id, &error_response(error));
}

/// Sends an HTTP error and closes.
fn respond(engine: &mut ShardEngine, id: ConnId, response: &[u8]) {
    engine.core.stats.handshakes_failed += 1;
    engine.core.write_direct(id.slot(), |out| out.extend_from_slice(response));
    engine.core.linger(id);
}

fn hand_off(core: &mut Core, id: ConnId, bytes: &[u8]) {
    let gone = core.connections.remove(id.slot() as usize);
    core.process.admission.leave(gone.peer.address().ip(), gone.admitted);
    core.orders.push(Order::HandOff(id, bytes.to_vec()));
}

impl Core {
    /// The request head did not come in time: 408 and the end (RFC 9110 section
    /// 15.5.9).
    pub(crate) fn on_handshake_timeout(&mut self, id: ConnId) {
        const RESPONSE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n\r\n\
            the request head did not come in time\n";
        self.stats.handshakes_failed += 1;
        self.write_direct(id.slot(), |out| out.extend_from_slice(RESPONSE));
        self.linger(id);
    }
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
