//! A query of the shards, and waiting for its answer: blocking or not.

use std::{
    cell::Cell,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
};

use async_channel::{Receiver, Sender};

use super::mailbox::MailboxSender;
use crate::engine::{Answer, ConnInfo, Mail, Origin, Page, Query as ShardQuery};

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

/// Why a query has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

/// What one shard answers, or a part of it.
#[derive(Debug)]
pub(crate) struct Part<T> {
    value: T,
    /// Nothing more comes from this shard.
    is_last: bool,
}

impl<T> Part<T> {
    /// All that a shard has to say.
    pub(crate) fn whole(value: T) -> Self {
        Self { value, is_last: true }
    }
}

/// A query that was sent to one or more shards.
///
/// [`Query::wait`] blocks the calling thread; `.await` does not.
#[must_use = "the answer comes by `wait` or `await`"]
pub struct Query<T> {
    receiver: Receiver<Part<T>>,
    expected: usize,
    merge: fn(T, T) -> T,
    nothing: T,
}

impl<T: Send + 'static> Query<T> {
    /// `expected` shards will answer through `receiver`; `nothing` is the answer
    /// of no shard at all.
    pub(crate) fn new(
        receiver: Receiver<Part<T>>,
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
    pub fn wait(mut self) -> Result<T, QueryError> {
        may_wait()?;
        while self.expected > 0 {
            let part = self.receiver.recv_blocking().map_err(|_| QueryError::Unanswered)?;
            self = self.with(part);
        }
        Ok(self.nothing)
    }

    /// The same query when a part of its answer has come.
    fn with(mut self, part: Part<T>) -> Self {
        self.expected -= usize::from(part.is_last);
        self.nothing = (self.merge)(self.nothing, part.value);
        self
    }
}

impl<T: Send + 'static> IntoFuture for Query<T> {
    type Output = Result<T, QueryError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            may_wait()?;
            while self.expected > 0 {
                let part = self.receiver.recv().await.map_err(|_| QueryError::Unanswered)?;
                self = self.with(part);
            }
            Ok(self.nothing)
        })
    }
}

impl<T> fmt::Debug for Query<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// A query of one shard that is answered a page in each turn: after a page the
/// shard puts the query for the next into its own mailbox, behind what waits
/// there.
pub(crate) struct Paged<F> {
    pub(crate) shard: MailboxSender,
    pub(crate) answers: Sender<Part<Vec<ConnInfo>>>,
    /// The page that begins with a slot.
    pub(crate) page: F,
}

impl<F: Fn(u32, Answer<Page>) -> ShardQuery + Clone + Send + 'static> Paged<F> {
    /// Asks for the page that begins with the slot `from`, and for all that follow.
    pub(crate) fn ask(self, from: u32) {
        let (shard, page) = (self.shard.clone(), self.page.clone());
        let answer = move |(value, next): Page| {
            let part = Part { value, is_last: next.is_none() };
            let is_awaited = self.answers.try_send(part).is_ok();
            if let Some(next) = next
                && is_awaited
            {
                self.ask(next);
            }
        };
        // An undelivered query drops its sender: whoever waits learns of it.
        let mail = Mail::Ask(page(from, Box::new(answer)));
        let _ = if from == 0 {
            shard.send_from_handle(mail).is_ok()
        } else {
            shard.send(mail.charged_to(Origin::Shard)).is_ok()
        };
    }
}

#[cfg(test)]
mod tests;
