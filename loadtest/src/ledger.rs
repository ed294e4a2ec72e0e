//! The account of deliveries: for each member and publisher the number that
//! must come next. Whatever is lost, out of order or twice shows here. Pure.

/// Deliveries of all members of all rooms.
#[derive(Debug)]
pub(crate) struct Ledger {
    publishers: usize,
    expected: Vec<u32>,
    /// Messages delivered.
    pub(crate) delivered: u64,
    /// Messages skipped: a higher number came where this one was due. One that
    /// comes late counts here and under [`Ledger::repeated`].
    pub(crate) skipped: u64,
    /// Messages whose number had already been passed: delivered twice, or late.
    pub(crate) repeated: u64,
}

impl Ledger {
    /// An account for `members`, each of which hears `publishers`.
    pub(crate) fn new(members: usize, publishers: usize) -> Self {
        Self {
            publishers,
            expected: vec![0; members * publishers],
            delivered: 0,
            skipped: 0,
            repeated: 0,
        }
    }

    /// Enters a delivery. Says whether it was the one expected.
    pub(crate) fn enter(&mut self, member: usize, publisher: usize, sequence: u32) -> bool {
        self.delivered += 1;
        if publisher >= self.publishers {
            self.repeated += 1;
            return false;
        }
        let expected = &mut self.expected[member * self.publishers + publisher];
        if sequence < *expected {
            self.repeated += 1;
            return false;
        }
        let jumped = sequence - *expected;
        self.skipped += u64::from(jumped);
        *expected = sequence + 1;
        jumped == 0
    }

    /// The number that `member` expects next from `publisher`: how many of its
    /// messages have passed.
    pub(crate) fn passed(&self, member: usize, publisher: usize) -> u32 {
        self.expected[member * self.publishers + publisher]
    }

    /// How many messages of all publishers have passed at `member`.
    pub(crate) fn passed_in_all(&self, member: usize) -> u64 {
        let own = member * self.publishers..(member + 1) * self.publishers;
        self.expected[own].iter().map(|passed| u64::from(*passed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unbroken_sequence_leaves_no_mark() {
        let mut ledger = Ledger::new(2, 2);
        for sequence in 0..5 {
            assert!(ledger.enter(0, 1, sequence));
            assert!(ledger.enter(1, 0, sequence));
        }
        assert_eq!((ledger.skipped, ledger.repeated), (0, 0));
        assert_eq!(ledger.delivered, 10);
        assert_eq!((ledger.passed(0, 1), ledger.passed(0, 0)), (5, 0));
    }

    #[test]
    fn a_loss_a_repeat_and_a_swap_each_leave_theirs() {
        let mut lost = Ledger::new(1, 1);
        assert!(!lost.enter(0, 0, 2));
        assert_eq!((lost.skipped, lost.repeated), (2, 0));

        let mut twice = Ledger::new(1, 1);
        assert!(twice.enter(0, 0, 0));
        assert!(!twice.enter(0, 0, 0));
        assert_eq!((twice.skipped, twice.repeated), (0, 1));

        let mut swapped = Ledger::new(1, 1);
        assert!(!swapped.enter(0, 0, 1));
        assert!(!swapped.enter(0, 0, 0));
        assert_eq!((swapped.skipped, swapped.repeated), (1, 1));
    }
}
