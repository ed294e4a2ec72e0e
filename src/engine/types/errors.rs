//! What handlers return when they do not do what was asked of them.

use std::{borrow::Cow, error::Error, fmt};

use crate::dialect::Refusal;

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
