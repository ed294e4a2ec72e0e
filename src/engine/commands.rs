//! From a message to what it brings about: the embedding program's handler if
//! there is one of that name, else the built-in command.

use super::{
    conn::Conn,
    connection::State,
    flow::Deferred,
    handler::guard,
    message::Message,
    publish::{Outgoing, Target},
    shard_engine::ShardEngine,
};
use crate::{
    dialect::{Command, Dialect, Event, Incoming, MESSAGE_EVENT, Payload, Refusal},
    id::ConnId,
};

/// A whole message arrived on an open connection. If it publishes to members who
/// have not taken what was published before, it must wait: the connection is held,
/// and the message kept with it.
pub(crate) fn on_message(engine: &mut ShardEngine, id: ConnId, incoming: Incoming<'_>) {
    let dialect = engine.core.connections[id.slot() as usize].dialect;
    let command = match dialect.parse(incoming) {
        Ok(command) => command,
        Err(refusal) => {
            engine.core.tell(id.slot(), &Event::Refused(refusal));
            return;
        }
    };
    if engine.core.is_pressed()
        && let Some(target) = published_to(engine, &command)
        && let Some(cause) = engine.core.pressure(id, target)
    {
        engine.core.hold(id, cause);
        engine.core.defer(id, Deferred::of(incoming));
        return;
    }
    if !engine.app.message.is_empty() && !run_message_hooks(engine, id, &command) {
        return;
    }
    if dialect == Dialect::Raw {
        run_raw(engine, id, &command);
    } else if !run_handler(engine, id, &command) {
        run_built_in(engine, id, &command);
    }
}

/// Whom a built-in command sends to.
fn published_to<'m>(engine: &ShardEngine, command: &'m Command<'_>) -> Option<Target<'m>> {
    let target = match command {
        Command::Publish { room, .. } => Target::Room(room),
        Command::Broadcast { .. } => Target::Everyone,
        _ => return None,
    };
    // What a handler of that name does is its own affair.
    engine.app.event(Message::of(command).event()).is_none().then_some(target)
}

/// Returns whether the message may go on.
fn run_message_hooks(engine: &mut ShardEngine, id: ConnId, command: &Command<'_>) -> bool {
    let message = Message::of(command);
    for index in 0..engine.app.message.len() {
        let hook = &engine.app.message[index];
        let result = guard(|| hook(&mut Conn::new(&mut engine.core, id), &message));
        if !engine.after_hook(id, "message", result) {
            return false;
        }
    }
    engine.core.find(id).is_some_and(|connection| connection.state == State::Open)
}

/// Returns whether there was a handler.
fn run_handler(engine: &mut ShardEngine, id: ConnId, command: &Command<'_>) -> bool {
    let message = Message::of(command);
    let Some(handler) = engine.app.event(message.event()) else { return false };
    let result = guard(|| handler(&mut Conn::new(&mut engine.core, id), &message));
    if !matches!(result, Ok(Ok(()))) {
        engine.after_hook(id, message.event(), result);
    }
    true
}

fn run_raw(engine: &mut ShardEngine, id: ConnId, command: &Command<'_>) {
    let app = &engine.app;
    let conn = &mut Conn::new(&mut engine.core, id);
    let (what, result) = match (Message::of(command).data(), &app.text, &app.binary) {
        (Some(Payload::Text(text)), Some(handler), _) => ("text", guard(|| handler(conn, text))),
        (Some(Payload::Binary(bytes)), _, Some(handler)) => {
            ("binary", guard(|| handler(conn, bytes)))
        }
        _ => return,
    };
    if !matches!(result, Ok(Ok(()))) {
        engine.after_hook(id, what, result);
    }
}

fn run_built_in(engine: &mut ShardEngine, id: ConnId, command: &Command<'_>) {
    let refused = match command {
        Command::Subscribe { room } => subscribe(engine, id, room),
        Command::Unsubscribe { room } => unsubscribe(engine, id, room),
        Command::Publish { room, data } => publish(engine, id, room, *data),
        Command::Broadcast { data } => {
            send(engine, id, Target::Everyone, *data);
            Ok(())
        }
        Command::Ping => {
            engine.core.tell(id.slot(), &Event::Pong);
            Ok(())
        }
        Command::Custom { .. } => Err(Refusal::UnknownType),
    };
    if let Err(refusal) = refused {
        engine.core.tell(id.slot(), &Event::Refused(refusal));
    }
}

fn subscribe(engine: &mut ShardEngine, id: ConnId, room: &str) -> Result<(), Refusal<'static>> {
    let members = engine.core.join(id, Target::Room(room))?.members();
    engine.core.tell(id.slot(), &Event::Subscribed { room, members });
    Ok(())
}

fn unsubscribe(engine: &mut ShardEngine, id: ConnId, room: &str) -> Result<(), Refusal<'static>> {
    let was_member = engine.core.leave(id, Target::Room(room));
    let dialect = engine.core.connections[id.slot() as usize].dialect;
    if !was_member && dialect.rules().unsubscribe_needs_membership {
        return Err(Refusal::NotSubscribed);
    }
    engine.core.tell(id.slot(), &Event::Unsubscribed { room });
    Ok(())
}

fn publish(
    engine: &mut ShardEngine,
    id: ConnId,
    room: &str,
    data: Option<Payload<'_>>,
) -> Result<(), Refusal<'static>> {
    let dialect = engine.core.connections[id.slot() as usize].dialect;
    if dialect.rules().publish_needs_membership
        && engine.core.membership(id.slot(), Target::Room(room)).is_none()
    {
        return Err(Refusal::NotSubscribed);
    }
    send(engine, id, Target::Room(room), data);
    Ok(())
}

fn send(engine: &mut ShardEngine, id: ConnId, target: Target<'_>, data: Option<Payload<'_>>) {
    let user = engine.core.lend_user(id);
    let message = Outgoing {
        event: MESSAGE_EVENT,
        data,
        from: Some(engine.core.client_id(id)),
        user: user.as_deref(),
        except: None,
        key: None,
    };
    engine.core.publish(id, target, &message);
    engine.core.return_user(id, user);
}
