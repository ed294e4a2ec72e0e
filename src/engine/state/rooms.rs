//! The rooms of one shard: names, members and logs. Joining and leaving cost the
//! same in a room of ten and of ten thousand. Knows connections only by slot.
//!
//! A room has one *group* for each form of frames that its members on this
//! shard want (dialect, compressed or not). A group is what is flushed: a list
//! of members with a cursor each, and a log of frames ready to leave.

use std::{cell::Cell, collections::VecDeque, hash::BuildHasher, sync::Arc};

use bytes::BytesMut;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::room_log::{Cursor, RoomLog};
use crate::engine::{
    process::{mail::Origin, shared_room::SharedRoom},
    types::{audience::Space, limits::Limits},
};

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The connection's slot.
    pub(crate) slot: u32,
    /// The first entry of the log that it has not been given.
    pub(crate) cursor: Cursor,
}

/// Something that came from another shard or a handle, and whose origin is charged
/// for it until the members have taken the log up to `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) end: u64,
    pub(crate) origin: Origin,
    pub(crate) bytes: u32,
}

/// The members of a room that want the same form of frames.
///
/// `settled` is how far the log has been taken by three quarters of the members that
/// read at all, and nearly by each of them, in what its entries cost from its beginning on: what
/// lies behind it *waits*. A member is slow for what lies before it alone. Invariant:
/// it is never behind the log's end.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
pub(crate) struct SubscriberGroup {
    /// Its room.
    pub(crate) room: u32,
    /// Never given to another group, unlike its place in the table.
    pub(crate) serial: u64,
    pub(crate) variant: u8,
    /// On the list of groups to flush.
    pub(crate) dirty: bool,
    /// How far the present pass of the flush has come among the members.
    pub(crate) scan_position: u32,
    /// The log's end when the pass began.
    pub(crate) scan_end: Cursor,
    /// The lowest cursor among the members passed so far.
    pub(crate) scan_lowest: Cursor,
    /// Members that the last whole pass left behind.
    pub(crate) behind: u32,
    /// Those of the present pass that are behind and have taken something of late.
    pub(crate) paced: u32,
    /// One of those would be closed as a slow reader if more were counted against it.
    pub(crate) has_pressed: bool,
    /// A member that the present pass had left behind has caught up or gone.
    pub(crate) caught_up: bool,
    /// The last whole pass left more than a quarter of the members behind that read, or
    /// one that is pressed.
    pub(crate) is_lagging: bool,
    /// It is on the list of those that were lagging when it was last looked at.
    pub(crate) is_listed: bool,
    /// More waits than the room's share, or did and half of it has not gone yet.
    pub(crate) is_congested: bool,
    pub(crate) settled: u64,
    /// In order of `end`.
    pub(crate) owed: VecDeque<Owed>,
    pub(crate) members: Vec<Member>,
    pub(crate) log: RoomLog,
}

/// A room with members on this shard.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) shared: Arc<SharedRoom>,
    /// One for each form in use.
    pub(crate) groups: SmallVec<[u32; 2]>,
    /// Members on this shard.
    pub(crate) members: u32,
}

/// What [`Rooms::reclaim`] has forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reclaimed {
    Nothing,
    SubscriberGroup,
    /// The group, and the room too.
    Room,
}

impl SubscriberGroup {
    /// Bytes of the log that wait for most members.
    pub(crate) fn waiting(&self) -> usize {
        (self.log.entries().cost_at(self.log.end()) - self.settled) as usize
    }

    /// Takes the present pass past members that have all of the log, of at most `max`
    /// members. Returns how many those were.
    pub(crate) fn skip_served(&mut self, max: usize) -> usize {
        let end = self.log.end();
        let ahead = &self.members[self.scan_position as usize..];
        let served = ahead.iter().take(max).take_while(|member| member.cursor == end).count();
        self.scan_position += served as u32;
        served
    }
}

/// Write buffers of quiet groups that are kept for the next busy ones.
const KEPT_BUFFERS: usize = 64;

/// A write buffer that has grown beyond this is not kept.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// The rooms of a shard.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    table: Slab<Room>,
    names: HashTable<u32>,
    /// The room that was found last: a publish asks for its room more than once.
    found: Cell<u32>,
    hasher: foldhash::fast::RandomState,
    groups: Slab<SubscriberGroup>,
    groups_made: u64,
    /// Groups with something to send, in the order in which they got it.
    pub(crate) dirty: VecDeque<u32>,
    /// Bytes that wait in all groups.
    pub(crate) waiting: usize,
    /// How many groups are congested.
    pub(crate) congested: usize,
    /// Groups whose members were left behind, by most of them.
    pub(crate) lagging: Vec<u32>,
    buffers: Vec<BytesMut>,
}

impl Rooms {
    fn hash(&self, space: Space, name: &str) -> u64 {
        self.hasher.hash_one((space, name))
    }

    /// The room of that name, if it has members on this shard.
    pub(crate) fn find(&self, space: Space, name: &str) -> Option<u32> {
        let is_it = |room: &Room| room.shared.space == space && *room.shared.name == *name;
        let last = self.found.get();
        if self.table.get(last as usize).is_some_and(is_it) {
            return Some(last);
        }
        let hash = self.hash(space, name);
        let found = *self.names.find(hash, |room| is_it(&self.table[*room as usize]))?;
        self.found.set(found);
        Some(found)
    }

    pub(crate) fn room(&self, room: u32) -> &Room {
        &self.table[room as usize]
    }

    pub(crate) fn group(&self, group: u32) -> &SubscriberGroup {
        &self.groups[group as usize]
    }

    pub(crate) fn group_mut(&mut self, group: u32) -> &mut SubscriberGroup {
        &mut self.groups[group as usize]
    }

    /// Adds a room that is entered by its first member on this shard.
    pub(crate) fn create(&mut self, shared: Arc<SharedRoom>) -> u32 {
        let hash = self.hash(shared.space, &shared.name);
        let room = Room { shared, groups: SmallVec::new(), members: 0 };
        let index = self.table.insert(room) as u32;
        let (table, hasher) = (&self.table, &self.hasher);
        self.names.insert_unique(hash, index, |room| {
            let shared = &table[*room as usize].shared;
            hasher.hash_one((shared.space, &*shared.name))
        });
        index
    }

    /// The room's group for `variant`, made if it is the first of its kind.
    pub(crate) fn group_for(&mut self, room: u32, variant: u8) -> u32 {
        let known = &self.table[room as usize].groups;
        if let Some(group) =
            known.iter().find(|group| self.groups[**group as usize].variant == variant)
        {
            return *group;
        }
        self.groups_made += 1;
        let group = self.groups.insert(SubscriberGroup {
            room,
            serial: self.groups_made,
            variant,
            dirty: false,
            scan_position: 0,
            scan_end: 0,
            scan_lowest: 0,
            behind: 0,
            paced: 0,
            has_pressed: false,
            caught_up: false,
            is_lagging: false,
            is_listed: false,
            is_congested: false,
            settled: 0,
            owed: VecDeque::new(),
            members: Vec::new(),
            log: RoomLog::default(),
        }) as u32;
        self.table[room as usize].groups.push(group);
        group
    }

    /// Adds a member, who is sent what is published from now on. Returns its
    /// place.
    pub(crate) fn add(&mut self, group: u32, slot: u32) -> u32 {
        let group = &mut self.groups[group as usize];
        self.table[group.room as usize].members += 1;
        group.members.push(Member { slot, cursor: group.log.end() });
        group.members.len() as u32 - 1
    }

    /// Removes the member at `position`. Tells `moved` of each member that now has
    /// another place: its slot and that place.
    pub(crate) fn remove(&mut self, index: u32, position: u32, mut moved: impl FnMut(u32, u32)) {
        let group = &mut self.groups[index as usize];
        self.table[group.room as usize].members -= 1;
        // The members that the present pass has reached stay in front: the hole
        // among them is filled by the last of them, whose place the group's last
        // member gets.
        let mut hole = position as usize;
        if position < group.scan_position {
            group.scan_position -= 1;
            let last_passed = group.scan_position as usize;
            group.members.swap(hole, last_passed);
            if hole != last_passed {
                moved(group.members[hole].slot, hole as u32);
            }
            hole = last_passed;
        }
        let gone = group.members.swap_remove(hole);
        if let Some(member) = group.members.get(hole) {
            moved(member.slot, hole as u32);
        }
        let (len, capacity) = (group.members.len(), group.members.capacity());
        if capacity > 32 && len < capacity / 4 {
            group.members.shrink_to(len * 2);
        }
        if gone.cursor != group.log.end() && (!group.dirty || position < group.scan_position + 1) {
            self.one_less_behind(index);
        }
    }

    /// Moves a member's cursor: it has been given the entries before `cursor`.
    pub(crate) fn advance(&mut self, index: u32, position: u32, cursor: Cursor) {
        let group = &mut self.groups[index as usize];
        let member = &mut group.members[position as usize];
        let before = std::mem::replace(&mut member.cursor, cursor);
        let caught_up = before != cursor && cursor == group.log.end();
        if caught_up && (!group.dirty || position < group.scan_position) {
            self.one_less_behind(index);
        }
    }

    /// A member that the last pass left behind has caught up or gone. After the
    /// last of them nobody needs the log: the next pass trims it.
    fn one_less_behind(&mut self, index: u32) {
        let group = &mut self.groups[index as usize];
        group.behind = group.behind.saturating_sub(1);
        group.caught_up = true;
        let most_have_it = group.behind as usize * 4 <= group.members.len();
        if !group.log.is_empty() && (group.behind == 0 || (group.is_lagging && most_have_it)) {
            self.mark_dirty(index);
        }
    }

    /// Appends an entry to the group's log by `append`. The group is to be flushed, and
    /// if now more waits than its share, it is congested.
    pub(crate) fn append(
        &mut self,
        index: u32,
        limits: &Limits,
        append: impl FnOnce(&mut RoomLog),
    ) {
        let group = &mut self.groups[index as usize];
        let before = group.waiting();
        append(&mut group.log);
        let waiting = group.waiting();
        self.waiting += waiting - before;
        let left = limits.shard_share_bytes.saturating_sub(self.waiting) / 4;
        let share = limits.room_share().min(left.max(Limits::MIN_ROOM_SHARE_BYTES));
        if !group.is_congested && waiting > share {
            group.is_congested = true;
            self.congested += 1;
        }
        if !group.dirty {
            group.dirty = true;
            self.dirty.push_back(index);
        }
    }

    /// Most members have taken the group's log up to `end`. If some that read have
    /// not, only a quarter of a budget more is counted against them at a time. Returns
    /// whether the group was congested and is so no more.
    pub(crate) fn settle(&mut self, index: u32, end: Cursor, limits: &Limits) -> bool {
        let group = &mut self.groups[index as usize];
        let all = group.log.entries().cost_at(end).max(group.settled);
        let step = if group.paced == 0 { u64::MAX } else { limits.queue_bytes as u64 / 4 };
        let settled = all.min(group.settled.saturating_add(step));
        group.is_lagging |= settled < all;
        self.waiting -= (settled - group.settled) as usize;
        group.settled = settled;
        let relieved = group.is_congested && group.waiting() <= limits.room_share() / 2;
        if relieved {
            group.is_congested = false;
            self.congested -= 1;
        }
        relieved
    }

    /// The group of the room for whose members most waits, if anything waits for any.
    pub(crate) fn most_waiting(&self, room: u32) -> Option<u32> {
        let groups = self.table[room as usize].groups.iter().copied();
        groups
            .map(|group| (self.groups[group as usize].waiting(), group))
            .max()
            .and_then(|(waiting, group)| (waiting > 0).then_some(group))
    }

    /// `origin` is to be credited when most members have taken what the log has now.
    pub(crate) fn owe(&mut self, group: u32, origin: Origin, bytes: u32) {
        let group = &mut self.groups[group as usize];
        let end = group.log.entries().cost_at(group.log.end());
        group.owed.push_back(Owed { end, origin, bytes });
    }

    /// Takes what is owed for the part of the log that is settled.
    pub(crate) fn take_owed(&mut self, group: u32) -> Option<Owed> {
        let group = &mut self.groups[group as usize];
        let settled = group.settled;
        group.owed.pop_front_if(|owed| owed.end <= settled)
    }

    /// Puts a group that waits for members that read on the list of those that are
    /// looked at again.
    pub(crate) fn list_if_lagging(&mut self, index: u32) {
        let group = &mut self.groups[index as usize];
        if group.is_lagging && !std::mem::replace(&mut group.is_listed, true) {
            self.lagging.push(index);
        }
    }

    /// Whether more waits for the group's members than should.
    pub(crate) fn is_congested(&self, group: u32) -> bool {
        self.groups.get(group as usize).is_some_and(|group| group.is_congested)
    }

    /// A group of the room that is congested.
    pub(crate) fn congested_group(&self, room: u32) -> Option<u32> {
        let groups = self.table[room as usize].groups.iter();
        groups.copied().find(|group| self.groups[*group as usize].is_congested)
    }

    /// Puts the group on the list of those to flush.
    pub(crate) fn mark_dirty(&mut self, group: u32) {
        let entry = &mut self.groups[group as usize];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push_back(group);
        }
    }

    /// Forgets the group if it has no members, and then the room if it has
    /// none on this shard. What is still owed for the group's log is added to `owed`.
    pub(crate) fn reclaim(&mut self, group: u32, owed: &mut Vec<Owed>) -> Reclaimed {
        if !self.groups[group as usize].members.is_empty() {
            return Reclaimed::Nothing;
        }
        let mut gone = self.groups.remove(group as usize);
        if gone.dirty {
            self.dirty.retain(|dirty| *dirty != group);
        }
        if gone.is_listed {
            self.lagging.retain(|lagging| *lagging != group);
        }
        self.waiting -= gone.waiting();
        self.congested -= usize::from(gone.is_congested);
        owed.extend(gone.owed.drain(..));
        let room = gone.room;
        let entry = &mut self.table[room as usize];
        entry.groups.retain(|other| *other != group);
        if entry.members > 0 {
            return Reclaimed::SubscriberGroup;
        }
        let shared = self.table.remove(room as usize).shared;
        let hash = self.hash(shared.space, &shared.name);
        if let Ok(entry) = self.names.find_entry(hash, |other| *other == room) {
            entry.remove();
        }
        Reclaimed::Room
    }

    /// A write buffer for a group that becomes busy.
    pub(crate) fn acquire_buffer(&mut self, group: u32) {
        let log = &mut self.groups[group as usize].log;
        if !log.has_buffer() {
            log.lend_buffer(self.buffers.pop().unwrap_or_default());
        }
    }

    /// Takes the write buffer of a group that has become quiet.
    pub(crate) fn release_buffer(&mut self, group: u32) {
        let mut buffer = self.groups[group as usize].log.take_buffer();
        if self.buffers.len() < KEPT_BUFFERS
            && buffer.try_reclaim(1024)
            && buffer.capacity() <= KEPT_BUFFER_BYTES
        {
            self.buffers.push(buffer);
        }
    }

    /// Whether no room has members on this shard.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.groups.is_empty() && self.dirty.is_empty()
    }

    /// Bytes of memory that all logs keep.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.log.kept_bytes()).sum()
    }

    /// Bytes in all logs.
    #[cfg(test)]
    pub(crate) fn logged_bytes(&self) -> usize {
        let whole = |group: &SubscriberGroup| {
            let first = group.log.end().wrapping_sub(group.log.len() as u32);
            group.log.bytes_behind(first)
        };
        self.groups.iter().map(|(_, group)| whole(group)).sum()
    }
}
