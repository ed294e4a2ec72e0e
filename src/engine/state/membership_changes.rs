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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_that_answer_joins_by_joins_are_told_of_so_many_and_no_more() {
        let mut changes = MembershipChanges { are_reported: true, ..Default::default() };
        let (id, room) = (ConnId::new(0, 0, 0), "r".into());
        let mut told = 0;
        changes.note(id, true, &room);
        while changes.begin_next().is_some() {
            told += 1;
            changes.note(id, true, &room);
            changes.end_current();
        }
        // The first is nobody's doing.
        assert_eq!(told, 1 + usize::from(Limits::HOOK_CHANGES_DEPTH));
        assert_eq!(changes.end_event(), Some(id));
        assert_eq!(changes.end_event(), None);
    }
}
