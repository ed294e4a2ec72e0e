//! How many connections there are, in all and per address, over all shards.
//! Touched when a connection comes and goes, never for a message.

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hashbrown::HashMap;

/// What to do with a socket that was just accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admit {
    /// Within the limits.
    Yes,
    /// The server is full, but this one can still be told so.
    Refuse,
    /// Close it at once.
    Drop,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: usize,
    refused: usize,
    by_address: HashMap<IpAddr, u32, foldhash::fast::RandomState>,
}

/// The count of connections of the process.
#[derive(Debug)]
pub(crate) struct Admission {
    most: usize,
    most_per_address: usize,
    most_refusals: usize,
    counts: Mutex<Counts>,
    /// The process is to be drained.
    closed: AtomicBool,
    /// One bit for each shard that takes in nothing more and has sent all mail.
    quiet: AtomicU64,
}

impl Admission {
    pub(crate) fn new(most: usize, most_per_address: usize, most_refusals: usize) -> Self {
        Self {
            most,
            most_per_address,
            most_refusals,
            counts: Mutex::default(),
            closed: AtomicBool::new(false),
            quiet: AtomicU64::new(0),
        }
    }

    /// Nobody comes in any more, and all who are in are to go: each shard sees it
    /// at its next turn.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether [`Admission::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: what was sent to the shards before the close is seen with it.
        self.closed.load(Ordering::Acquire)
    }

    /// The shard takes in nothing more from clients, and its mail to the others
    /// is in their mailboxes.
    pub(crate) fn quiesce(&self, shard: u8) {
        self.quiet.fetch_or(1 << shard, Ordering::SeqCst);
    }

    /// The shards that have said so. Whoever sees them all finds all mail in its
    /// mailbox.
    pub(crate) fn quiet_shards(&self) -> u64 {
        self.quiet.load(Ordering::Acquire)
    }

    /// Counts a new connection. What is answered `Yes` or `Refuse` must be given
    /// back by [`Admission::leave`] with the same answer.
    pub(crate) fn enter(&self, address: IpAddr) -> Admit {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.admitted >= self.most {
            if counts.refused >= self.most_refusals {
                return Admit::Drop;
            }
            counts.refused += 1;
            return Admit::Refuse;
        }
        let here = counts.by_address.entry(address).or_insert(0);
        if *here as usize >= self.most_per_address {
            return Admit::Drop;
        }
        *here += 1;
        counts.admitted += 1;
        Admit::Yes
    }

    /// Takes a connection off the count.
    pub(crate) fn leave(&self, address: IpAddr, was: Admit) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match was {
            Admit::Yes => {
                counts.admitted -= 1;
                if let Some(here) = counts.by_address.get_mut(&address) {
                    *here -= 1;
                    if *here == 0 {
                        counts.by_address.remove(&address);
                    }
                }
            }
            Admit::Refuse => counts.refused -= 1,
            Admit::Drop => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_limit_some_are_told_and_the_rest_dropped() {
        let admission = Admission::new(1, 10, 1);
        let address = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(admission.enter(address), Admit::Yes);
        assert_eq!(admission.enter(address), Admit::Refuse);
        assert_eq!(admission.enter(address), Admit::Drop);
        admission.leave(address, Admit::Refuse);
        assert_eq!(admission.enter(address), Admit::Refuse);
        admission.leave(address, Admit::Yes);
        assert_eq!(admission.enter(address), Admit::Yes);
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let admission = Admission::new(10, 1, 1);
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(admission.enter(a), Admit::Yes);
        assert_eq!(admission.enter(a), Admit::Drop);
        assert_eq!(admission.enter(b), Admit::Yes);
        admission.leave(a, Admit::Yes);
        assert_eq!(admission.enter(a), Admit::Yes);
    }
}
