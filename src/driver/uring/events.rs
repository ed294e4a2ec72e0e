//! What comes next of a turn, and what is done when operations have come to an end.
//! Knows the order of events; not how any of them comes about.

use super::{
    accepting::Acceptor,
    ring::Completion,
    state::{Step, UringDriver},
};
use crate::driver::STEPS_PER_ACCEPT;

impl UringDriver {
    /// Submits what is queued, without waiting, and looks at what came of it.
    pub(super) fn submit(&mut self) {
        self.ring.submit();
        self.settle();
    }

    /// Acts on what came of operations; what was received waits to be lent.
    pub(super) fn settle(&mut self) {
        while let Some(completion) = self.ring.next_completion() {
            match completion {
                Completion::Accepted(socket) => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.on_accepted(socket, &mut self.ring);
                    }
                }
                Completion::AcceptEnded(error) => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.on_ended(&error);
                    }
                }
                Completion::Refused(tag, Ok(tail)) => self.on_refused(tag, tail),
                Completion::Sent(tag, Ok(taken)) => self.on_taken(tag, taken),
                Completion::Refused(tag, Err(error)) | Completion::Sent(tag, Err(error)) => {
                    self.on_send_failed(tag, &error);
                }
                Completion::LingerOver(tag) => {
                    if let Some(connection) = self.lingering.remove(&tag) {
                        self.close_now(connection);
                    }
                }
                Completion::FailureSeen(tag) => self.on_failure_seen(tag),
            }
        }
    }

    /// Takes back what the last event lent. It may be the last buffer, for which
    /// receives wait.
    pub(super) fn take_back(&mut self) {
        if let Some(chunk) = self.lent.take() {
            self.ring.put_back(chunk);
        }
        self.lent_portion = Vec::new();
    }

    pub(super) fn step(&mut self) -> Option<Step> {
        // Busy connections must not keep new ones waiting, nor these the others.
        self.steps = (self.steps + 1) % STEPS_PER_ACCEPT;
        if self.steps == 1
            && let Some((socket, peer)) = self.acceptor.as_mut().and_then(Acceptor::next)
        {
            return Some(Step::Accepted(socket, peer));
        }
        while let Some(id) = self.sent.pop_front() {
            if self.table.find(id).is_some() {
                return Some(Step::Sent(id));
            }
        }
        if let Some(step) = self.next_failed().or_else(|| self.next_data()) {
            return Some(step);
        }
        let (socket, peer) = self.acceptor.as_mut()?.next()?;
        Some(Step::Accepted(socket, peer))
    }

    /// The next data or end: of what holds kept back, and of what has arrived.
    fn next_data(&mut self) -> Option<Step> {
        if self.held {
            return None;
        }
        if self.steps.is_multiple_of(2)
            && let Some(step) = self.next_released()
        {
            return Some(step);
        }
        self.next_arrived().or_else(|| self.next_released())
    }
}
