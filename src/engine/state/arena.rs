//! The connections of a shard, by slot. A slot is used again; a generation is not,
//! so that an identity never means another connection than it did. Decides nothing
//! about a connection.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::connection::Connection;
use crate::id::ConnId;

/// All connections of one shard, in whatever state.
#[derive(Debug)]
pub(crate) struct Arena {
    shard: u8,
    slots: Slab<Connection>,
    next_generation: u32,
}

impl Arena {
    pub(crate) fn new(shard: u8) -> Self {
        Self { shard, slots: Slab::new(), next_generation: 0 }
    }

    /// Adds the connection that `make` makes for a generation. `None` if there are as
    /// many as an identity can number.
    pub(crate) fn insert(&mut self, make: impl FnOnce(u32) -> Connection) -> Option<ConnId> {
        if self.slots.len() as u32 >= ConnId::MAX_SLOTS {
            return None;
        }
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.slots.insert(make(generation)) as u32;
        Some(ConnId::new(self.shard, slot, generation))
    }

    /// Takes the connection in `slot`, which must be taken, out.
    pub(crate) fn remove(&mut self, slot: u32) -> Connection {
        self.slots.remove(slot as usize)
    }

    /// The connection of that identity, if it is still here.
    #[inline]
    pub(crate) fn find(&self, id: ConnId) -> Option<&Connection> {
        let found = self.slots.get(id.slot() as usize)?;
        (found.generation == id.generation() && id.shard() == self.shard).then_some(found)
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn find_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let found = self.slots.get_mut(id.slot() as usize)?;
        (found.generation == id.generation() && id.shard() == self.shard).then_some(found)
    }

    /// The connection in `slot`, if there is one.
    pub(crate) fn get(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize)
    }

    /// The same, to be changed.
    pub(crate) fn occupied_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)
    }

    /// The identity of the connection in `slot`, which must be taken.
    pub(crate) fn id_of(&self, slot: u32) -> ConnId {
        ConnId::new(self.shard, slot, self[slot].generation)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// No slot from here on is taken.
    pub(crate) fn end(&self) -> u32 {
        self.slots.capacity() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().map(|(_, connection)| connection)
    }
}

impl Index<u32> for Arena {
    type Output = Connection;

    /// # Panics
    /// If the slot is not taken.
    #[inline]
    fn index(&self, slot: u32) -> &Connection {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for Arena {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Connection {
        &mut self.slots[slot as usize]
    }
}
