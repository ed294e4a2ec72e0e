//! A question to the shards, and waiting for its answer: blocking or not.

use std::{
    cell::Cell,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
};

use async_channel::Receiver;

thread_local! {
    static ON_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as a shard's, where waiting for a shard would never end.
pub(crate) fn mark_as_shard() {
    ON_SHARD.with(|flag| flag.set(true));
}

/// Whether this thread may wait for a shard.
pub(crate) fn may_wait() -> Result<(), QueryError> {
    if ON_SHARD.with(Cell::get) { Err(QueryError::OnShardThread) } else { Ok(()) }
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A shard has ended, or its mailbox is full.
    Unanswered,
    /// It was asked from within a handler, on a shard's own thread, where
    /// waiting would keep the shard from answering.
    OnShardThread,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unanswered => "a shard has ended or is too busy to answer",
            Self::OnShardThread => "a handler must not wait for a shard's answer",
        })
    }
}

impl std::error::Error for QueryError {}

/// A question that was sent to one or more shards.
///
/// [`Query::wait`] blocks the calling thread; `.await` does not.
#[must_use = "the answer comes by `wait` or `await`"]
pub struct Query<T> {
    receiver: Receiver<T>,
    expected: usize,
    merge: fn(T, T) -> T,
    nothing: T,
}

impl<T: Send + 'static> Query<T> {
    /// `expected` answers will come through `receiver`; `nothing` is the answer
    /// of no shard at all.
    pub(crate) fn new(
        receiver: Receiver<T>,
        expected: usize,
        nothing: T,
        merge: fn(T, T) -> T,
    ) -> Self {
        Self { receiver, expected, merge, nothing }
    }

    /// Blocks until every shard has answered.
    ///
    /// # Errors
    /// [`QueryError::OnShardThread`] in a handler; [`QueryError::Unanswered`] if
    /// a shard has ended or is overloaded.
    pub fn wait(self) -> Result<T, QueryError> {
        may_wait()?;
        let mut answer = self.nothing;
        for _ in 0..self.expected {
            let part = self.receiver.recv_blocking().map_err(|_| QueryError::Unanswered)?;
            answer = (self.merge)(answer, part);
        }
        Ok(answer)
    }
}

impl<T: Send + 'static> IntoFuture for Query<T> {
    type Output = Result<T, QueryError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            may_wait()?;
            let mut answer = self.nothing;
            for _ in 0..self.expected {
                let part = self.receiver.recv().await.map_err(|_| QueryError::Unanswered)?;
                answer = (self.merge)(answer, part);
            }
            Ok(answer)
        })
    }
}

impl<T> fmt::Debug for Query<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("expected", &self.expected).finish_non_exhaustive()
    }
}
