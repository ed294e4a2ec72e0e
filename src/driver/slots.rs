//! The table that a driver finds its connections in, by slot, and the flags that each
//! of them has. Knows identities and bits; no socket.

use crate::id::ConnId;

/// What stands in a slot.
pub(super) trait Identified {
    fn id(&self) -> ConnId;
}

/// All connections of one driver, by slot.
#[derive(Debug)]
pub(super) struct Slots<T>(Vec<Option<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Identified> Slots<T> {
    /// The connection `id`, unless it has left its slot.
    pub(super) fn find(&mut self, id: ConnId) -> Option<&mut T> {
        self.at(id.slot()).filter(|connection| connection.id() == id)
    }

    /// The connection in `slot`, whichever that is.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut T> {
        self.0.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn insert(&mut self, connection: T) {
        let slot = connection.id().slot() as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        debug_assert!(self.0[slot].is_none(), "the slot of {:?} is in use", connection.id());
        self.0[slot] = Some(connection);
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<T> {
        self.0.get_mut(id.slot() as usize)?.take_if(|connection| connection.id() == id)
    }
}

/// What is known of a connection, as bits so that its slot stays small. The first bits
/// are in [`flag`], each driver has more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags(u16);

impl Flags {
    /// Whether one of `bits` is set.
    pub(super) const fn any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    pub(super) const fn set(&mut self, bits: u16) {
        self.0 |= bits;
    }

    pub(super) const fn clear(&mut self, bits: u16) {
        self.0 &= !bits;
    }

    /// Clears `bits` and says whether one of them was set.
    pub(super) const fn take(&mut self, bits: u16) -> bool {
        let was = self.any(bits);
        self.clear(bits);
        was
    }
}

/// The flags that connections of every driver have.
pub(super) mod flag {
    /// `Gone` has been reported.
    pub(in crate::driver) const GONE_REPORTED: u16 = 1;
    /// Nothing is lent.
    pub(in crate::driver) const HELD: u16 = 1 << 1;
    /// How many bits are taken.
    pub(in crate::driver) const TAKEN: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Identified for ConnId {
        fn id(&self) -> ConnId {
            *self
        }
    }

    #[test]
    fn a_slot_is_found_only_by_the_generation_that_is_in_it() {
        let mut slots = Slots::default();
        let [first, second] = [1, 2].map(|generation| ConnId::new(0, 7, generation));
        slots.insert(first);
        assert_eq!(slots.find(first).copied(), Some(first));
        assert!(slots.find(second).is_none() && slots.remove(second).is_none());
        assert_eq!(slots.remove(first), Some(first));
        slots.insert(second);
        assert!(slots.find(first).is_none());
        assert_eq!(slots.at(7).copied(), Some(second));
        assert_eq!(slots.at(8), None);
    }
}
