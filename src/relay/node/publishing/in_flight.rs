//! What was given to the broker and is not answered, of channels without history: what it
//! was charged for. Knows no message.

use super::super::map::Map;
use crate::cluster::Charge;

/// The messages of one operation.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) count: u64,
    /// What they were charged for; those of one connection together.
    pub(super) charges: Vec<Charge>,
}

/// All of them, by operation.
#[derive(Default)]
pub(super) struct InFlight {
    sent: Map<u64, Sent>,
}

impl InFlight {
    /// One more message of an operation.
    pub(super) fn add(&mut self, token: u64, charge: Charge) {
        let sent = self.sent.entry(token).or_default();
        sent.count += 1;
        match sent.charges.last_mut() {
            Some(last) if last.conn == charge.conn => {
                last.bytes = last.bytes.saturating_add(charge.bytes);
            }
            _ => sent.charges.push(charge),
        }
    }

    /// The operation was answered.
    pub(super) fn remove(&mut self, token: u64) -> Option<Sent> {
        self.sent.remove(&token)
    }

    /// No answer comes any more. Returns what all were charged for, in order.
    pub(super) fn take_charges(&mut self) -> impl Iterator<Item = Charge> + use<> {
        let mut all: Vec<(u64, Sent)> = self.sent.drain().collect();
        all.sort_unstable_by_key(|(token, _)| *token);
        all.into_iter().flat_map(|(_, sent)| sent.charges)
    }
}
