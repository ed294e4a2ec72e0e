//! Clients that publish: who may, what a repeat of the same request does, and what they
//! are told. Knows the request's id and what the relay made of it; not who gets a message.

use std::fmt::Write;

use super::subscribing::is_or_becomes_member;
use crate::{
    cluster::{Outcome, Receipt},
    dialect::{Event, MESSAGE_EVENT, Payload, Refusal},
    engine::{
        fanout::{
            publish::Outgoing,
            send::{self, Asked},
        },
        state::{connection::State, core::Core},
        types::{audience::Target, limits::Limits},
    },
    id::ConnId,
};

/// Publishes to the members of `room`, and acknowledges a request that has an id.
pub(crate) fn publish(
    core: &mut Core,
    id: ConnId,
    room: &str,
    data: Option<Payload<'_>>,
    request: Option<&str>,
) -> Result<(), Refusal<'static>> {
    let dialect = core.connections[id.slot()].dialect;
    if dialect.rules().publish_needs_membership && !is_or_becomes_member(core, id, room) {
        return Err(Refusal::NotSubscribed);
    }
    send(core, id, Target::Room(room), data, request);
    Ok(())
}

/// Sends to everyone, and acknowledges a request that has an id.
pub(crate) fn broadcast(
    core: &mut Core,
    id: ConnId,
    data: Option<Payload<'_>>,
    request: Option<&str>,
) {
    send(core, id, Target::Everyone, data, request);
}

fn send(
    core: &mut Core,
    id: ConnId,
    target: Target<'_>,
    data: Option<Payload<'_>>,
    request: Option<&str>,
) {
    let user = core.lend_user(id);
    let message = Outgoing {
        event: MESSAGE_EVENT,
        data,
        from: Some(core.client_id(id)),
        user: user.as_deref(),
        except: None,
        key: None,
    };
    match request {
        None => send::publish(core, id, target, &message),
        Some(request) => send_once(core, id, target, &message, request),
    }
    core.return_user(id, user);
}

/// Sends what was not sent before to the same audience by a request with the same id: of
/// the same user (or connection, if it has no user), or of anybody if the id is so long
/// that it is nobody else's by chance.
fn send_once(
    core: &mut Core,
    id: ConnId,
    target: Target<'_>,
    message: &Outgoing<'_>,
    request: &str,
) {
    let room = core.rooms.find(target.space(), target.name());
    let mut key = String::new();
    let _ = match message.user {
        _ if request.len() >= Limits::UNIQUE_ID_BYTES => write!(key, "*"),
        Some(user) => write!(key, "u{}:{user}", user.len()),
        None => write!(key, "c{}", core.client_id(id)),
    };
    let receipt = Receipt { conn: id, id: request.into() };
    if core.has_history(target, room) {
        // Its place in the history knows its key, on whichever node it is repeated.
        let _ = write!(key, " {request}");
        let asked = Asked { receipt: Some(receipt), once: Some(key.into()) };
        return send::publish_relayed(core, id, target, message, asked);
    }
    let _ = write!(key, " {:?}{}:{} {request}", target.space(), target.name().len(), target.name());
    if !core.process.once.is_first(&key, core.now.unix_ms) {
        on_receipt(core, &receipt, Outcome::Repeated(None));
    } else if core.process.relay.is_some() {
        let asked = Asked { receipt: Some(receipt), once: None };
        send::publish_relayed(core, id, target, message, asked);
    } else {
        send::publish(core, id, target, message);
        on_receipt(core, &receipt, Outcome::Accepted(None));
    }
}

/// Tells a connection what became of what it published.
pub(crate) fn on_receipt(core: &mut Core, receipt: &Receipt, outcome: Outcome) {
    let Receipt { conn, id } = receipt;
    if core.find(*conn).is_none_or(|found| found.state != State::Open) {
        return;
    }
    let event = match outcome {
        Outcome::Accepted(position) => Event::Ack { id, position, repeated: false },
        Outcome::Repeated(position) => Event::Ack { id, position, repeated: true },
        Outcome::Dropped => Event::Refused { refusal: Refusal::Dropped, id: Some(id) },
        Outcome::Refused => Event::Refused { refusal: Refusal::RefusedByRelay, id: Some(id) },
    };
    core.send_event(conn.slot(), &event);
}
