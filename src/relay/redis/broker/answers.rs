//! What answers mean for the broker: what is told to the node, what is tried again, and
//! what the server refuses because of its state.

use redis::Value;

use super::RedisBroker;
use crate::relay::redis::{
    link::{REPLICA, is_denied},
    pending::{self, Again, Meaning, Pending, RefusalCause},
    scripts::Scripts,
};

/// How soon an operation that was not done is tried again, in milliseconds.
pub(super) const AGAIN_MS: u64 = 25;
/// How long a refusal counts as the server's state if none follows, in milliseconds.
const REFUSAL_MS: u64 = 5000;

impl RedisBroker {
    pub(super) fn on_answers(
        &mut self,
        batch: Vec<Pending>,
        answers: Option<Vec<Value>>,
        now: u64,
    ) {
        let mut answers = answers.unwrap_or_default().into_iter();
        for pending in batch {
            let partition = &mut self.partitions[usize::from(pending.partition)];
            partition.in_flight -= 1;
            let is_last = partition.in_flight == 0;
            if let Some(answer) = answers.next() {
                self.on_answer(pending, answer, now);
            } else {
                // What is behind it must not overtake it when the node repeats it.
                partition.is_closed &= !is_last;
                self.drop_held(pending.partition);
                self.drop_pending(&pending);
            }
        }
    }

    /// Gives up all that waits for a partition.
    pub(super) fn drop_held(&mut self, partition: u16) {
        let held = std::mem::take(&mut self.partitions[usize::from(partition)].held);
        for pending in held.values() {
            self.drop_pending(pending);
        }
    }

    /// It was not done, as far as is known.
    pub(super) fn drop_pending(&mut self, pending: &Pending) {
        self.outstanding -= pending::weight(&pending.operation);
        self.give_up(&pending.operation);
    }

    fn on_answer(&mut self, pending: Pending, answer: Value, now: u64) {
        let arrival = match pending::meaning(&pending.operation, answer) {
            Meaning::Done(arrival) => {
                let partition = &mut self.partitions[usize::from(pending.partition)];
                if !partition.held.is_empty() {
                    (partition.is_open, partition.again_at) = (true, now);
                }
                partition.is_closed &= partition.in_flight > 0;
                if pending::stores(&pending.operation) {
                    self.accepted("storage");
                }
                arrival
            }
            Meaning::Refused(arrival, cause, why) => {
                self.refused(cause, why, now);
                arrival
            }
            Meaning::Again(again) => return self.again(pending, again, now),
        };
        self.outstanding -= pending::weight(&pending.operation);
        self.arrivals.extend(arrival);
    }

    fn again(&mut self, pending: Pending, again: Again, now: u64) {
        let id = self.partitions[usize::from(pending.partition)].link;
        match (again, id) {
            (Again::Moved, _) => self.plan_soon(now),
            (Again::Scripts, Some(id)) => {
                if let Some(link) = self.link(id) {
                    link.send(Scripts::load(), Vec::new());
                }
            }
            (Again::Replica, Some(id)) => self.on_lost(id, REPLICA, now),
            _ => {}
        }
        let partition = &mut self.partitions[usize::from(pending.partition)];
        partition.is_open = false;
        partition.again_at = now + AGAIN_MS;
        self.hold(pending, now);
    }

    pub(super) fn on_subscribed(&mut self, _: u64, answers: Vec<Value>, now: u64) {
        for answer in answers {
            let Value::ServerError(error) = answer else { continue };
            let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
            if is_denied(&error) {
                let why = format!("Redis does not permit to subscribe: {text}");
                self.refused(RefusalCause::Permission, why, now);
            } else {
                // The subscription is asked for again until it is confirmed.
                self.plan_soon(now);
            }
        }
    }

    fn refused(&mut self, cause: RefusalCause, why: String, now: u64) {
        let name = match cause {
            RefusalCause::Storage => "storage",
            RefusalCause::Permission => "permission",
            RefusalCause::Key => {
                tracing::debug!("{why}");
                return;
            }
        };
        // The state's first text stays, so that each change is one line.
        if self.refusals.insert(name, now + REFUSAL_MS).is_none() {
            tracing::warn!("{why}");
            self.status.set(name, Some(why));
        }
    }

    fn accepted(&mut self, name: &'static str) {
        if self.refusals.remove(name).is_some() {
            self.status.set(name, None);
            tracing::info!("Redis takes again what it refused ({name})");
        }
    }

    /// Refusals that none has followed for long are no state of the server any more.
    pub(super) fn forget_refusals(&mut self, now: u64) {
        let over: Vec<_> = self
            .refusals
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(name, _)| *name)
            .collect();
        for name in over {
            self.accepted(name);
        }
    }
}
