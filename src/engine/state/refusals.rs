//! Connections that a full server takes in only to tell them so. Each shard has its
//! part of the places for them, so that no lock is needed and no shard's can be taken
//! by what meets another.
//!
//! A new one always finds a place: whoever has been here longest goes. A silent
//! connection thus keeps nobody from being told that the server is full, nor a load
//! balancer from asking for the health.

use std::collections::VecDeque;

use super::arena::Arena;
use crate::{engine::process::admission::Admit, id::ConnId};

/// The refused connections of one shard, the oldest first.
#[derive(Debug)]
pub(crate) struct Refusals {
    max: usize,
    /// At most `max`, those that are gone included.
    ids: VecDeque<ConnId>,
}

impl Refusals {
    /// One shard's part of what the process allows; at least one, unless nothing is
    /// allowed.
    pub(crate) fn new(max_of_process: usize, shards: usize) -> Self {
        Self { max: max_of_process.div_ceil(shards.max(1)), ids: VecDeque::new() }
    }

    /// Whether any are taken in, to be told.
    pub(crate) fn are_admitted(&self) -> bool {
        self.max > 0
    }

    /// Takes `id` in. If all places are taken, it gets that of the one that is here
    /// longest, of those whose answer is not about to leave if there is one. Returns
    /// that one: it must go.
    pub(crate) fn take_in(&mut self, id: ConnId, connections: &Arena) -> Option<ConnId> {
        let refused = |id: ConnId| connections.find(id).filter(|one| one.admitted == Admit::Refuse);
        if self.ids.len() >= self.max {
            self.ids.retain(|&id| refused(id).is_some());
        }
        let mut oldest = None;
        if self.ids.len() >= self.max {
            let unanswered = self.ids.iter().position(|&id| {
                refused(id).is_none_or(|one| !one.flags.ready && !one.is_blocked())
            });
            oldest = self.ids.remove(unanswered.unwrap_or(0));
        }
        self.ids.push_back(id);
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_a_place_to_tell_unless_nobody_is_told() {
        assert!(Refusals::new(1, 64).are_admitted());
        assert!(!Refusals::new(0, 64).are_admitted());
    }
}
