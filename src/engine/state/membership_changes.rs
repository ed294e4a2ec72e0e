//! Joins and leaves that the embedding program's hooks have not heard of. Hooks that
//! join and leave in answer to joins and leaves could go on for ever, or branch out:
//! neither their depth nor their number is theirs to choose.

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

/// Those that hooks are to hear of, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct MembershipChanges {
    /// Whether there are hooks that want to hear of any.
    pub(crate) are_watched: bool,
    changes: VecDeque<MembershipChange>,
    /// How many hooks' doing the changes are that happen now.
    depth: u8,
    /// Changes by hooks that hooks hear of, since the present event began.
    by_hooks: usize,
    /// The first connection of the event whose change no hook heard of.
    untold: Option<ConnId>,
}

impl MembershipChanges {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// `id` joined or left `room`.
    pub(crate) fn note(&mut self, id: ConnId, joined: bool, room: &Arc<str>) {
        if !self.are_watched {
            return;
        }
        if self.depth > 0 {
            if self.depth > Limits::HOOKED_MOVES_DEEP
                || self.by_hooks >= Limits::HOOKED_MOVES_PER_EVENT
            {
                self.untold.get_or_insert(id);
                return;
            }
            self.by_hooks += 1;
        }
        let (room, depth) = (Arc::clone(room), self.depth);
        self.changes.push_back(MembershipChange { id, joined, room, depth });
    }

    /// The next that hooks are to hear of: what happens until
    /// [`MembershipChanges::heard`] is their doing.
    pub(crate) fn begin_next(&mut self) -> Option<MembershipChange> {
        let change = self.changes.pop_front()?;
        self.depth = change.depth + 1;
        Some(change)
    }

    /// All hooks have heard of it.
    pub(crate) fn heard(&mut self) {
        self.depth = 0;
    }

    /// The event that led to all changes is over. Returns the first connection of which
    /// hooks were told no more.
    pub(crate) fn end_event(&mut self) -> Option<ConnId> {
        self.by_hooks = 0;
        self.untold.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_that_answer_joins_by_joins_are_told_of_so_many_and_no_more() {
        let mut changes = MembershipChanges { are_watched: true, ..Default::default() };
        let (id, room) = (ConnId::new(0, 0, 0), "r".into());
        let mut told = 0;
        changes.note(id, true, &room);
        while changes.begin_next().is_some() {
            told += 1;
            changes.note(id, true, &room);
            changes.heard();
        }
        // The first is nobody's doing.
        assert_eq!(told, 1 + usize::from(Limits::HOOKED_MOVES_DEEP));
        assert_eq!(changes.end_event(), Some(id));
        assert_eq!(changes.end_event(), None);
    }
}
