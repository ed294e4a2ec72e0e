//! What waits for a connection that cannot take it now: putting it aside,
//! counting it, and applying the connection's policy when it is too much.
//!
//! Knows logs and cursors; sends nothing.

use bytes::Bytes;

use super::{
    connection::{NONE, State},
    core::Core,
    lag::{Queued, order_of_publication},
    limits::SlowPolicy,
    room_log::Slices,
};
use crate::batch::Slice;

impl Core {
    /// The direct sends of a blocked connection wait with it; the turn's buffer
    /// does not.
    pub(crate) fn put_aside(&mut self, slot: u32, turn: &Bytes) {
        if self.connections[slot as usize].direct_head == NONE {
            return;
        }
        let frames = self.take_runs(slot, turn);
        self.connections[slot as usize].lag().merge(frames);
    }

    /// Applies the policy to a blocked connection for which too much waits.
    pub(crate) fn check_budget(&mut self, slot: u32) {
        let connection = &self.connections[slot as usize];
        let mut waiting = connection.lag.as_ref().map_or(0, |lag| lag.bytes());
        for membership in &connection.memberships {
            let channel = self.rooms.channel(membership.channel);
            let cursor = channel.members[membership.position as usize].cursor;
            waiting += channel.log.bytes_behind(cursor);
        }
        let budget = self.limits().queue_bytes;
        if waiting <= budget || connection.state != State::Open {
            return;
        }
        let policy = connection.policy;
        if policy == SlowPolicy::Close {
            self.overdue.push(self.id_of(slot));
            return;
        }
        self.detach_backlog(slot);
        let dropped = self.connections[slot as usize].lag().enforce(policy, budget);
        self.stats.messages_dropped += dropped as u64;
    }

    /// Brings what waits for `slot` in its rooms' logs into its own queue.
    pub(crate) fn detach_backlog(&mut self, slot: u32) {
        let memberships = self.connections[slot as usize].memberships.clone();
        for membership in memberships {
            self.detach_membership(slot, membership.channel, membership.position);
        }
    }

    /// The same for one room.
    pub(crate) fn detach_membership(&mut self, slot: u32, index: u32, position: u32) {
        let channel = self.rooms.channel_mut(index);
        channel.log.freeze();
        let (end, serial) = (channel.log.end(), channel.serial);
        let mut at = channel.members[position as usize].cursor;
        let mut frames = Vec::new();
        while at != end {
            let next = at.wrapping_add(1);
            if let Some(entry) = channel.log.entry(at)
                && entry.except != slot
            {
                let mut slices = Slices::new();
                channel.log.slices(at, next, &mut slices);
                let order = order_of_publication(entry.sequence);
                let key = entry.key.clone();
                // One entry lies in one segment.
                frames.extend(slices.iter().map(|slice| Queued {
                    order,
                    bytes: own(slice),
                    channel: Some(serial),
                    key: key.clone(),
                }));
            }
            at = next;
        }
        self.rooms.advance(index, position, end);
        if !frames.is_empty() {
            self.connections[slot as usize].lag().merge(frames);
        }
    }
}

/// The same bytes to keep while they wait: a copy unless they are a good part of
/// their buffer, so that a few waiting bytes do not keep alive what a whole turn
/// sent to everybody.
pub(crate) fn own(slice: &Slice<'_>) -> Bytes {
    if slice.len() > 4096 && slice.len() >= slice.owner_len() / 4 {
        slice.to_bytes()
    } else {
        Bytes::copy_from_slice(slice.as_slice())
    }
}
