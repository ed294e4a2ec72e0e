//! What the embedding program registers, and the calls of it: hooks and handlers, and
//! what may go wrong in them. Shared by all shards, called on the thread of the shard
//! whose connection it is about; a handler must not block.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use hashbrown::HashMap;

use super::conn::Conn;
use crate::{
    dialect::Event,
    engine::{
        lifecycle::closing,
        state::{connection::State, core::Core},
        types::{
            disconnect::Disconnect,
            errors::{HandlerError, HandlerResult},
            message::Message,
        },
    },
    id::ConnId,
};

/// Something went wrong that the embedding program may want to know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault<'a> {
    /// A handler or hook returned an error.
    Failed {
        /// The event that it handled, or the hook's name.
        what: &'a str,
        /// What it returned.
        error: &'a HandlerError,
    },
    /// A handler or hook panicked; the connection is being closed with 1011.
    Panicked {
        /// The event that it handled, or the hook's name.
        what: &'a str,
        /// The panic's message.
        message: &'a str,
    },
    /// Join and leave hooks joined and left in answer to each other further than
    /// [`Limits::HOOK_CHANGES_PER_EVENT`](crate::Limits::HOOK_CHANGES_PER_EVENT)
    /// or [`Limits::HOOK_CHANGES_DEPTH`](crate::Limits::HOOK_CHANGES_DEPTH):
    /// what they did was done, but they were told no more of it. Told once for each
    /// event.
    RoomHooksStopped,
    /// The peer broke the protocol; the connection is being closed.
    Protocol {
        /// The close code.
        code: u16,
        /// Which rule it broke.
        reason: &'a str,
    },
}

type ConnectHook = Box<dyn Fn(&mut Conn<'_>) -> HandlerResult + Send + Sync>;
type DisconnectHook = Box<dyn Fn(&mut Conn<'_>, &Disconnect) + Send + Sync>;
type MessageHook = Box<dyn Fn(&mut Conn<'_>, &Message<'_>) -> HandlerResult + Send + Sync>;
type RoomHook = Box<dyn Fn(&mut Conn<'_>, &str) + Send + Sync>;
type ErrorHook = Box<dyn Fn(ConnId, &Fault<'_>) + Send + Sync>;
type TextHandler = Box<dyn Fn(&mut Conn<'_>, &str) -> HandlerResult + Send + Sync>;
type BinaryHandler = Box<dyn Fn(&mut Conn<'_>, &[u8]) -> HandlerResult + Send + Sync>;

/// Everything that the embedding program registered.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) connect: Vec<ConnectHook>,
    pub(crate) disconnect: Vec<DisconnectHook>,
    pub(crate) message: Vec<MessageHook>,
    pub(crate) error: Vec<ErrorHook>,
    pub(crate) join: Vec<RoomHook>,
    pub(crate) leave: Vec<RoomHook>,
    pub(crate) events: HashMap<Box<str>, MessageHook, foldhash::fast::RandomState>,
    pub(crate) text: Option<TextHandler>,
    pub(crate) binary: Option<BinaryHandler>,
    /// Requests that are no upgrade are handed out instead of refused.
    pub(crate) hands_off_http: bool,
}

impl App {
    /// The handler registered for an event.
    pub(crate) fn event(&self, name: &str) -> Option<&MessageHook> {
        if self.events.is_empty() { None } else { self.events.get(name) }
    }

    pub(crate) fn report(&self, id: ConnId, fault: &Fault<'_>) {
        for hook in &self.error {
            // A hook that panics while it is told of a fault has nobody left to
            // be told.
            let _ = catch_unwind(AssertUnwindSafe(|| hook(id, fault)));
        }
    }
}

/// Why a call of foreign code was no success.
pub(crate) enum Failure {
    Error(HandlerError),
    /// With the panic's message.
    Panic(String),
}

/// Calls foreign code. Boxed, a failure costs a success nothing.
#[inline]
pub(crate) fn call(run: impl FnOnce() -> HandlerResult) -> Result<(), Box<Failure>> {
    let mut failed = None;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        if let Err(error) = run() {
            failed = Some(Box::new(Failure::Error(error)));
        }
    }));
    match (ended, failed) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(failure)) => Err(failure),
        (Err(panic), _) => Err(Box::new(Failure::Panic(message_of(&*panic)))),
    }
}

#[cold]
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

/// What a hook's or handler's failure brings about: an error is reported and told to
/// the client, a panic closes the connection.
#[cold]
pub(crate) fn on_failure(core: &mut Core, app: &App, id: ConnId, what: &str, failure: &Failure) {
    match failure {
        Failure::Error(error) => {
            app.report(id, &Fault::Failed { what, error });
            if core.find(id).is_some_and(|connection| connection.state == State::Open) {
                core.send_event(id.slot(), &Event::Refused { refusal: error.refusal(), id: None });
            }
        }
        Failure::Panic(message) => {
            core.stats.handler_panics += 1;
            app.report(id, &Fault::Panicked { what, message });
            closing::disconnect(core, id, Disconnect::HandlerPanic);
        }
    }
}

/// Runs the hooks that are due, and what they bring about, until nothing is.
///
/// Each connection ends once, and of the changes that hooks make in answer to changes
/// a bounded number is told for each event, so this ends.
pub(crate) fn run_pending(core: &mut Core, app: &App) {
    loop {
        // What a handler did before it closed its connection is told before
        // the end of the connection is.
        if let Some(change) = core.changes.begin_next() {
            run_room_hooks(core, app, change.id, change.joined, &change.room);
            core.changes.end_current();
            continue;
        }
        if let Some(id) = core.changes.end_event() {
            app.report(id, &Fault::RoomHooksStopped);
        }
        let Some(id) = core.endings.pending_disconnects.pop() else { break };
        run_disconnect_hooks(core, app, id);
        closing::begin_close(core, id);
    }
    closing::reap(core);
}

/// Runs the connect hooks; the first that refuses ends the connection.
pub(crate) fn run_connect_hooks(core: &mut Core, app: &App, id: ConnId) {
    let connection = &mut core.connections[id.slot()];
    connection.flags.connect_hook_ran = true;
    let dialect = connection.dialect;
    for hook in &app.connect {
        let Err(failure) = call(|| hook(&mut Conn::new(core, id))) else { continue };
        on_failure(core, app, id, "connect", &failure);
        if let Failure::Error(error) = *failure {
            let text = dialect.error_text(&error.refusal()).to_owned();
            closing::disconnect(core, id, Disconnect::Refused(text.into()));
        }
        return;
    }
}

fn run_disconnect_hooks(core: &mut Core, app: &App, id: ConnId) {
    let Some(connection) = core.find_mut(id) else { return };
    if !std::mem::take(&mut connection.flags.connect_hook_ran) {
        return;
    }
    let reason = connection.reason();
    for hook in &app.disconnect {
        let called = call(|| {
            hook(&mut Conn::new(core, id), &reason);
            Ok(())
        });
        if let Err(failure) = called {
            on_failure(core, app, id, "disconnect", &failure);
        }
    }
}

fn run_room_hooks(core: &mut Core, app: &App, id: ConnId, joined: bool, room: &str) {
    let (what, hooks) = if joined { ("join", &app.join) } else { ("leave", &app.leave) };
    for hook in hooks {
        if core.find(id).is_none() {
            return;
        }
        let called = call(|| {
            hook(&mut Conn::new(core, id), room);
            Ok(())
        });
        if let Err(failure) = called {
            on_failure(core, app, id, what, &failure);
        }
    }
}
