//! What the embedding program registers: hooks and handlers, and what may go
//! wrong in them. Shared by all shards, called on the thread of the shard whose
//! connection it is about; a handler must not block.

use std::{borrow::Cow, error::Error, fmt, panic::AssertUnwindSafe};

use hashbrown::HashMap;

use super::{conn::Conn, disconnect::Disconnect, message::Message};
use crate::{dialect::Refusal, id::ConnId};

/// Why a handler did not do what was asked of it.
///
/// Any error type converts into [`HandlerError::Internal`] with `?`.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandlerError {
    /// The client asked for what is refused; it is told so in its dialect's words.
    Refused(Refusal<'static>),
    /// The client is told these words.
    Reply(Cow<'static, str>),
    /// The client is told that there was an internal error; the error hook is
    /// told which.
    Internal(Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// An error whose words the client is told.
    pub fn reply(words: impl Into<Cow<'static, str>>) -> Self {
        Self::Reply(words.into())
    }

    /// What to tell the client.
    pub(crate) fn refusal(&self) -> Refusal<'_> {
        match self {
            Self::Refused(refusal) => *refusal,
            Self::Reply(words) => Refusal::Other(words),
            Self::Internal(_) => Refusal::Internal,
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::Reply(words) => f.write_str(words),
            Self::Internal(error) => error.fmt(f),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::Internal(Box::new(error))
    }
}

/// What handlers and most hooks return.
pub type HandlerResult = Result<(), HandlerError>;

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
    /// [`Limits::HOOKED_MOVES_PER_EVENT`](super::limits::Limits::HOOKED_MOVES_PER_EVENT)
    /// or [`Limits::HOOKED_MOVES_DEEP`](super::limits::Limits::HOOKED_MOVES_DEEP):
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
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| hook(id, fault)));
        }
    }
}

/// Runs foreign code. A panic in it is its result.
pub(crate) fn guard<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "a panic without a message".to_owned())
    })
}
