//! Joining and leaving: keeps a connection's list of memberships, the channels'
//! lists of members and the directory's counts in step.

use std::sync::Arc;

use super::{
    connection::{Membership, State},
    core::{Core, Move},
    directory::{Shared, Space},
    limits::Limits,
    publish::Target,
    rooms::Reclaimed,
};
use crate::{dialect::Refusal, id::ConnId};

impl Core {
    /// Makes `id` a member. Joining twice is the same as once.
    pub(crate) fn join(
        &mut self,
        id: ConnId,
        target: Target<'_>,
    ) -> Result<Arc<Shared>, Refusal<'static>> {
        let slot = id.slot();
        self.check_name(target)?;
        if self.connections[slot as usize].state != State::Open {
            return Err(Refusal::Other("the connection is closing"));
        }
        if let Some(membership) = self.membership(slot, target) {
            let room = self.rooms.channel(membership.channel).room;
            return Ok(Arc::clone(&self.rooms.room(room).shared));
        }
        if target.space() == Space::Room
            && self.rooms_of(slot).count() >= self.limits().rooms_per_connection
        {
            return Err(Refusal::TooManyRooms);
        }
        let room = self.enter(target)?;
        let shared = Arc::clone(&self.rooms.room(room).shared);
        let variant = self.connections[slot as usize].dialect as u8;
        let channel = self.rooms.channel_for(room, variant);
        let position = self.rooms.add(channel, slot);
        let memberships = &mut self.connections[slot as usize].memberships;
        memberships.push(Membership { channel, position });
        self.note_move(id, true, &shared);
        Ok(shared)
    }

    fn check_name(&self, target: Target<'_>) -> Result<(), Refusal<'static>> {
        match target {
            Target::Room("") => Err(Refusal::RoomRequired),
            Target::User("") => Err(Refusal::Other("user name is required")),
            Target::Room(name) if name.len() > self.limits().name_bytes => {
                Err(Refusal::RoomNameTooLong)
            }
            Target::User(name) if name.len() > self.limits().name_bytes => {
                Err(Refusal::Other("user name is too long"))
            }
            Target::Everyone | Target::Room(_) | Target::User(_) => Ok(()),
        }
    }

    /// Counts one more member of the room and returns its place on this shard.
    fn enter(&mut self, target: Target<'_>) -> Result<u32, Refusal<'static>> {
        let (space, name) = (target.space(), target.name());
        let most = match space {
            Space::Everyone => return Ok(self.everyone()),
            Space::Room => self.limits().members_per_room,
            Space::User => self.limits().connections,
        };
        if let Some(room) = self.rooms.find(space, name) {
            let fits = self.rooms.room(room).shared.add_member(most);
            return if fits { Ok(room) } else { Err(Refusal::RoomFull) };
        }
        let entered = self.process.directory.enter(space, name, self.shard, most);
        entered.map(|shared| self.rooms.create(shared)).ok_or(Refusal::RoomFull)
    }

    fn everyone(&mut self) -> u32 {
        let known = self.rooms.find(Space::Everyone, "");
        known.unwrap_or_else(|| self.rooms.create(Arc::new(Shared::everyone())))
    }

    /// The membership of `slot` in that room, if it has one.
    pub(crate) fn membership(&self, slot: u32, target: Target<'_>) -> Option<Membership> {
        let room = self.rooms.find(target.space(), target.name())?;
        let memberships = &self.connections[slot as usize].memberships;
        let found = memberships
            .iter()
            .find(|membership| self.rooms.channel(membership.channel).room == room);
        found.copied()
    }

    /// The rooms that `slot` is in, not counting its user and everyone.
    pub(crate) fn rooms_of(&self, slot: u32) -> impl Iterator<Item = &Arc<str>> {
        let memberships = &self.connections[slot as usize].memberships;
        memberships.iter().filter_map(|membership| {
            let room = self.rooms.channel(membership.channel).room;
            let shared = &self.rooms.room(room).shared;
            (shared.space == Space::Room).then_some(&shared.name)
        })
    }

    /// Ends a membership. What was published before still reaches `id`. Returns
    /// whether there was one.
    pub(crate) fn leave(&mut self, id: ConnId, target: Target<'_>) -> bool {
        let Some(membership) = self.membership(id.slot(), target) else { return false };
        self.end_membership(id, membership, true);
        true
    }

    /// Ends all memberships; what waits in the rooms' logs is kept or dropped.
    pub(crate) fn leave_all(&mut self, id: ConnId, keep_backlog: bool) {
        while let Some(membership) = self.connections[id.slot() as usize].memberships.last() {
            self.end_membership(id, *membership, keep_backlog);
        }
    }

    fn end_membership(&mut self, id: ConnId, membership: Membership, keep_backlog: bool) {
        let slot = id.slot();
        let Membership { channel, position } = membership;
        let entry = self.rooms.channel(channel);
        let room = entry.room;
        if keep_backlog && entry.members[position as usize].cursor != entry.log.end() {
            self.detach_membership(slot, channel, position);
            self.mark_ready(slot);
        }
        let memberships = &mut self.connections[slot as usize].memberships;
        memberships.retain(|other| other.channel != channel);
        let shared = Arc::clone(&self.rooms.room(room).shared);
        let connections = &mut self.connections;
        self.rooms.remove(channel, position, |slot, position| {
            let memberships = &mut connections[slot as usize].memberships;
            if let Some(other) = memberships.iter_mut().find(|other| other.channel == channel) {
                other.position = position;
            }
        });
        let mut owed = Vec::new();
        let reclaimed = self.rooms.reclaim(channel, &mut owed);
        for owed in owed {
            self.credit(owed.origin, owed.bytes);
        }
        if reclaimed != Reclaimed::Nothing {
            self.flow.forget(channel);
        }
        let gone = reclaimed == Reclaimed::Room;
        if shared.space != Space::Everyone {
            if gone {
                self.process.directory.exit(&shared, self.shard);
            } else {
                shared.remove_member();
            }
        }
        self.note_move(id, false, &shared);
    }

    fn note_move(&mut self, id: ConnId, joined: bool, shared: &Shared) {
        let depth = self.move_depth;
        if !self.watch_rooms || shared.space != Space::Room {
            return;
        }
        // Hooks that join and leave in answer to joins and leaves could go on for
        // ever, or branch out: neither their depth nor their number is theirs to
        // choose.
        if depth > 0 {
            if depth > Limits::HOOKED_MOVES_DEEP
                || self.hooked_moves >= Limits::HOOKED_MOVES_PER_EVENT
            {
                self.untold_move.get_or_insert(id);
                return;
            }
            self.hooked_moves += 1;
        }
        let room = Arc::clone(&shared.name);
        self.moves.push_back(Move { id, joined, room, depth });
    }

    /// Makes `id` act for `user`: messages to that user reach it from now on.
    pub(crate) fn set_user(&mut self, id: ConnId, user: &str) -> Result<(), Refusal<'static>> {
        let slot = id.slot();
        let before = self.connections[slot as usize].user().map(str::to_owned);
        if before.as_deref() == Some(user) {
            return Ok(());
        }
        self.join(id, Target::User(user))?;
        if let Some(before) = before {
            self.leave(id, Target::User(&before));
        }
        self.connections[slot as usize].extra().user = Some(user.into());
        Ok(())
    }
}
