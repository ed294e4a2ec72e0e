//! What became of something that was asked of one connection: may be waited for,
//! blocking or not, or ignored.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
};

use async_channel::Receiver;

use super::query::{QueryError, may_wait};
use crate::{dialect::Refusal, engine::Joined};

/// Why a join that was accepted did not make a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The connection was not open, or not any more.
    Gone,
    /// It was refused; the client has been told so.
    Refused(Refusal<'static>),
    /// What became of it cannot be known.
    Unknown(QueryError),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the connection is not open"),
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::Unknown(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unknown(error) => Some(error),
            Self::Gone | Self::Refused(_) => None,
        }
    }
}

impl From<QueryError> for JoinError {
    fn from(error: QueryError) -> Self {
        Self::Unknown(error)
    }
}

/// The result in the terms of whoever asked.
pub(crate) fn of_join(joined: Joined) -> Result<(), JoinError> {
    joined.ok_or(JoinError::Gone)?.map_err(JoinError::Refused)
}

/// What will be known once the shard has done what was asked of it.
///
/// The request is on its way, and is carried out whether or not anybody waits:
/// dropping this is no cancellation. [`Reply::wait`] blocks the calling thread;
/// `.await` does not.
pub struct Reply<T, E = QueryError>(Receiver<Result<T, E>>);

impl<T, E> Reply<T, E>
where
    T: Send + 'static,
    E: From<QueryError> + Send + 'static,
{
    /// A reply, and what gives it.
    pub(crate) fn pair() -> (Self, impl FnOnce(Result<T, E>) + Send + 'static) {
        let (sender, receiver) = async_channel::bounded(1);
        let give = move |result| {
            // Nobody waits: no matter.
            let _ = sender.try_send(result);
        };
        (Self(receiver), give)
    }

    /// Blocks until it is done.
    ///
    /// # Errors
    /// What went wrong; [`QueryError::OnShardThread`] in a handler, and
    /// [`QueryError::Unanswered`] if the shard ended before.
    pub fn wait(self) -> Result<T, E> {
        may_wait()?;
        self.0.recv_blocking().unwrap_or_else(|_| Err(QueryError::Unanswered.into()))
    }
}

impl<T, E> IntoFuture for Reply<T, E>
where
    T: Send + 'static,
    E: From<QueryError> + Send + 'static,
{
    type Output = Result<T, E>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            may_wait()?;
            self.0.recv().await.unwrap_or_else(|_| Err(QueryError::Unanswered.into()))
        })
    }
}

impl<T, E> fmt::Debug for Reply<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}
