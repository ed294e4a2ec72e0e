//! Joins and leaves that have not been reported to the embedding program's hooks. Hooks
//! that join and leave in answer to joins and leaves could go on for ever, or branch
//! out: so both the depth and the number are bounded. Knows no hooks.

use std::{collections::VecDeque, sync::Arc};

use crate::{engine::types::limits::Limits, id::ConnId};

/// A connection joined or left a room.
#[derive(Debug)]
pub(crate) struct MembershipChange {
    pub(crate) id: ConnId,
    pub(crate) joined: bool,
    pub(crate) room: Arc<str>,
    /// How many hooks led to it.
    depth: u8,
}

/// Those that are to be reported to hooks, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct MembershipChanges {
    /// Whether there are hooks to report to.
    pub(crate) are_reported: bool,
    changes: VecDeque<MembershipChange>,
    /// How many hooks, each called for a change by the one before, led to what changes now.
    depth: u8,
    /// Changes by hooks that were noted since the present event began.
    by_hooks: usize,
    /// The first connection of the event with a change that is not reported.
    first_unreported: Option<ConnId>,
}

impl MembershipChanges {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// `id` joined or left `room`.
    pub(crate) fn note(&mut self, id: ConnId, joined: bool, room: &Arc<str>) {
        if !self.are_reported {
            return;
        }
        if self.depth > 0 {
            if self.depth > Limits::HOOK_CHANGES_DEPTH
                || self.by_hooks >= Limits::HOOK_CHANGES_PER_EVENT
            {
                self.first_unreported.get_or_insert(id);
                return;
            }
            self.by_hooks += 1;
        }
        let (room, depth) = (Arc::clone(room), self.depth);
        self.changes.push_back(MembershipChange { id, joined, room, depth });
    }

    /// The next to be reported: what changes until
    /// [`MembershipChanges::end_current`] is due to hooks.
    pub(crate) fn begin_next(&mut self) -> Option<MembershipChange> {
        let change = self.changes.pop_front()?;
        self.depth = change.depth + 1;
        Some(change)
    }

    /// It has been reported to all hooks.
    pub(crate) fn end_current(&mut self) {
        self.depth = 0;
    }

    /// The event that led to all changes is over. Returns the first connection with
    /// a change that was not reported.
    pub(crate) fn end_event(&mut self) -> Option<ConnId> {
        self.by_hooks = 0;
        self.first_unreported.take()
    }
}
