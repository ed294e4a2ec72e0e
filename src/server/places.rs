//! Who has which of the places for HTTP connections. One address has a share of them
//! at the most, and whoever has few takes a place from whoever has many, so that all
//! places may be taken and yet nobody is locked out. Knows neither sockets nor time:
//! how long a connection has stood still is told by a number.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The part of all places that one address may have.
const SHARE: usize = 10;

/// And as many in any case: probes of one host may overlap.
const LEAST_SHARE: usize = 4;

/// As many of `most` as one address may have.
pub(super) fn share_of(most: usize) -> usize {
    (most / SHARE).max(LEAST_SHARE).min(most)
}

/// What is known of a connection that has a place.
pub(super) trait Occupant {
    /// When something last moved on it: the larger the later.
    fn last_progress(&self) -> u64;
}

/// The places and who has them.
#[derive(Debug)]
pub(super) struct Places<T> {
    most: usize,
    share: usize,
    taken: HashMap<u64, (IpAddr, Arc<T>)>,
    by_address: HashMap<IpAddr, usize>,
    next_number: u64,
}

impl<T: Occupant> Places<T> {
    /// `most` places, of which one address may have `share`.
    pub(super) fn new(most: usize, share: usize) -> Self {
        let (taken, by_address) = (HashMap::new(), HashMap::new());
        Self { most, share, taken, by_address, next_number: 0 }
    }

    /// Gives `address` a place for `occupant`: its number, and whose place it was if
    /// one had to be taken. That one is closed by the caller.
    ///
    /// It is the one without progress for longest among those of the address itself
    /// if that has its share, otherwise of the address with the most places.
    pub(super) fn enter(&mut self, address: IpAddr, occupant: Arc<T>) -> (u64, Option<Arc<T>>) {
        let evicted = self.whose_place(address).and_then(|number| self.leave(number));
        let number = self.next_number;
        self.next_number += 1;
        *self.by_address.entry(address).or_insert(0) += 1;
        self.taken.insert(number, (address, occupant));
        (number, evicted)
    }

    /// Whether `address` has a place and would get another only by taking one away.
    pub(super) fn is_short_of(&self, address: IpAddr) -> bool {
        let own = self.by_address.get(&address).copied().unwrap_or(0);
        own > 0 && (own >= self.share || self.taken.len() >= self.most)
    }

    /// Frees a place; nothing if it was taken away before.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<T>> {
        let (address, occupant) = self.taken.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(occupant)
    }

    /// The place that is to be freed for `address`.
    fn whose_place(&self, address: IpAddr) -> Option<u64> {
        let count = |address| self.by_address.get(&address).copied().unwrap_or(0);
        let own = count(address);
        if own < self.share && self.taken.len() < self.most {
            return None;
        }
        let largest = self.by_address.values().copied().max().unwrap_or(0);
        let keep_to_itself = own >= self.share || own == largest;
        let candidates = self.taken.iter().filter(|(_, (other, _))| {
            if keep_to_itself { *other == address } else { count(*other) == largest }
        });
        let oldest = candidates.min_by_key(|(number, (_, one))| (one.last_progress(), **number));
        oldest.map(|(number, _)| *number)
    }
}

/// Locks what is whole between any two calls, also after a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Occupant for u64 {
        fn last_progress(&self) -> u64 {
            *self
        }
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// The one whose place it was.
    fn enter(places: &mut Places<u64>, from: u8, progress: u64) -> Option<u64> {
        places.enter(address(from), Arc::new(progress)).1.map(|evicted| *evicted)
    }

    #[test]
    fn an_address_with_its_share_loses_what_stood_still_longest() {
        let mut places = Places::new(10, 2);
        assert_eq!(enter(&mut places, 1, 8), None);
        assert_eq!(enter(&mut places, 1, 7), None);
        assert_eq!(enter(&mut places, 2, 1), None);
        assert_eq!(enter(&mut places, 1, 9), Some(7));
        assert_eq!(enter(&mut places, 1, 10), Some(8));
        assert_eq!(enter(&mut places, 2, 2), None);
    }

    #[test]
    fn an_address_that_has_none_gets_a_place_of_the_one_that_has_most() {
        let mut places = Places::new(5, 3);
        for (from, progress) in [(1, 1), (2, 5), (2, 4), (3, 2), (3, 3)] {
            assert_eq!(enter(&mut places, from, progress), None);
        }
        // Of the two that have most, what stood still longest.
        assert_eq!(enter(&mut places, 4, 6), Some(2));
        assert_eq!(enter(&mut places, 5, 7), Some(4));
        // All have one: any stands back for one who has none.
        assert_eq!(enter(&mut places, 6, 8), Some(1));
        // And nobody for one who has as many.
        assert_eq!(enter(&mut places, 6, 9), Some(8));
    }

    #[test]
    fn a_place_that_was_left_is_free_and_left_once() {
        let mut places = Places::new(1, 1);
        let (number, _) = places.enter(address(1), Arc::new(0));
        assert!(places.leave(number).is_some());
        assert!(places.leave(number).is_none());
        assert_eq!(enter(&mut places, 2, 0), None);
        assert!(places.by_address.len() == 1 && places.taken.len() == 1);
    }

    #[test]
    fn a_share_is_a_tenth_and_never_none() {
        assert_eq!([1024, 12, 3, 1].map(share_of), [102, 4, 3, 1]);
    }
}
