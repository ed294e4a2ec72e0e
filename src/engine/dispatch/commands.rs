//! From a message to what it brings about: the embedding program's handler if
//! there is one of that name, else the built-in command.

use super::{
    conn::Conn,
    hooks::{App, call, on_failure},
    publishing, subscribing,
};
use crate::{
    dialect::{Command, Dialect, Event, Incoming, Parsed, Refusal},
    engine::{
        backpressure::holds,
        state::{connection::State, core::Core, hold_queue::Deferred},
        types::{audience::Target, message::Message},
    },
    id::ConnId,
};

/// A whole message arrived on an open connection.
#[inline(always)]
#[expect(clippy::inline_always, reason = "on the path of every message; measured")]
pub(crate) fn on_message(
    core: &mut Core,
    app: &App,
    (id, dialect): (ConnId, Dialect),
    incoming: Incoming<'_>,
) {
    if dialect == Dialect::Raw && app.message.is_empty() {
        // It has no envelope, and no command that publishes.
        run_raw(core, app, id, incoming);
    } else {
        on_envelope(core, app, (id, dialect), incoming);
    }
}

/// A message that is to be read as its dialect demands. If it publishes to members who
/// have not taken what was published before, it must wait: the connection is held,
/// and the message kept with it.
fn on_envelope(
    core: &mut Core,
    app: &App,
    (id, dialect): (ConnId, Dialect),
    incoming: Incoming<'_>,
) {
    let Parsed { command, id: request_id } = dialect.parse(incoming);
    let command = match command {
        Ok(command) => command,
        Err(refusal) => {
            core.send_event(id.slot(), &Event::Refused { refusal, id: request_id });
            return;
        }
    };
    if holds::may_have_cause(core)
        && let Some(target) = published_to(app, &command)
        && let Some(cause) = holds::cause_for(core, id, target)
    {
        holds::hold(core, id, cause);
        holds::defer(core, id, Deferred::of(incoming));
        return;
    }
    if !app.message.is_empty() && !run_message_hooks(core, app, id, &command) {
        return;
    }
    if dialect == Dialect::Raw {
        run_raw(core, app, id, incoming);
    } else if !run_handler(core, app, id, &command) {
        run_built_in(core, id, &command, request_id);
    }
}

/// Whom a built-in command sends to.
fn published_to<'m>(app: &App, command: &'m Command<'_>) -> Option<Target<'m>> {
    let target = match command {
        Command::Publish { room, .. } => Target::Room(room),
        Command::Broadcast { .. } => Target::Everyone,
        _ => return None,
    };
    // What a handler of that name does is its own affair.
    app.event(Message::of(command).event()).is_none().then_some(target)
}

/// Returns whether the message may go on.
fn run_message_hooks(core: &mut Core, app: &App, id: ConnId, command: &Command<'_>) -> bool {
    let message = Message::of(command);
    for hook in &app.message {
        if let Err(failure) = call(|| hook(&mut Conn::new(core, id), &message)) {
            on_failure(core, app, id, "message", &failure);
            return false;
        }
    }
    core.find(id).is_some_and(|connection| connection.state == State::Open)
}

/// Returns whether there was a handler.
fn run_handler(core: &mut Core, app: &App, id: ConnId, command: &Command<'_>) -> bool {
    let message = Message::of(command);
    let Some(handler) = app.event(message.event()) else { return false };
    if let Err(failure) = call(|| handler(&mut Conn::new(core, id), &message)) {
        on_failure(core, app, id, message.event(), &failure);
    }
    true
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "on the path of every message; measured")]
fn run_raw(core: &mut Core, app: &App, id: ConnId, incoming: Incoming<'_>) {
    let (what, called) = match (incoming, &app.text, &app.binary) {
        (Incoming::Text(text), Some(handler), _) => {
            ("text", call(|| handler(&mut Conn::new(core, id), text)))
        }
        (Incoming::Binary(bytes), _, Some(handler)) => {
            ("binary", call(|| handler(&mut Conn::new(core, id), bytes)))
        }
        _ => return,
    };
    if let Err(failure) = called {
        on_failure(core, app, id, what, &failure);
    }
}

fn run_built_in(core: &mut Core, id: ConnId, command: &Command<'_>, request: Option<&str>) {
    let refused = match command {
        Command::Subscribe { room, recover } => {
            subscribing::subscribe(core, id, room, *recover, request)
        }
        Command::Unsubscribe { room } => subscribing::unsubscribe(core, id, room),
        Command::Publish { room, data } => publishing::publish(core, id, room, *data, request),
        Command::Broadcast { data } => {
            publishing::broadcast(core, id, *data, request);
            Ok(())
        }
        Command::Ping => {
            core.send_event(id.slot(), &Event::Pong);
            Ok(())
        }
        Command::Presence { room, limit, after } => {
            subscribing::ask_presence(core, id, room, *limit, after.as_deref())
        }
        Command::Custom { .. } => Err(Refusal::UnknownType),
    };
    if let Err(refusal) = refused {
        core.send_event(id.slot(), &Event::Refused { refusal, id: request });
    }
}
