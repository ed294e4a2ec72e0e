//! What handlers return when they do not do what was asked of them.

use std::{borrow::Cow, error::Error, fmt};

use crate::dialect::Refusal;

/// Why a handler did not do what was asked of it.
///
/// Any error type converts into [`HandlerError::Internal`] with `?`. That is why this
/// type is none itself (`std::error::Error`): its cause is told by
/// [`HandlerError::source`].
#[derive(Debug)]
#[non_exhaustive]
pub enum HandlerError {
    /// The client asked for what is refused; it is told so in the text of its dialect.
    Refused(Refusal<'static>),
    /// The client is told this text.
    Reply(Cow<'static, str>),
    /// The client is told that there was an internal error; the error hook is
    /// told which.
    Internal(Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// An error whose text the client is told.
    pub fn reply(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Reply(text.into())
    }

    /// The error that an internal one was made of, for logs and for `downcast_ref`.
    pub fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Internal(error) => Some(&**error),
            Self::Refused(_) | Self::Reply(_) => None,
        }
    }

    /// What to tell the client.
    pub(crate) fn refusal(&self) -> Refusal<'_> {
        match self {
            Self::Refused(refusal) => *refusal,
            Self::Reply(text) => Refusal::Other(text),
            Self::Internal(_) => Refusal::Internal,
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::Reply(text) => f.write_str(text),
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_error_that_a_handler_passed_on_can_be_found_again() {
        let failed = || -> HandlerResult { Err(io::Error::from(io::ErrorKind::TimedOut))? };
        let error = failed().unwrap_err();
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::TimedOut));
        assert!(HandlerError::reply("no").source().is_none());
    }
}
