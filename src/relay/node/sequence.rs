//! What has arrived in one channel of each node that publishes there, and what has not:
//! gaps are found by the next message, and by what heartbeats announce. Knows no room and
//! no heartbeat.

use super::{
    super::wire::{Number, Numbered},
    map::Map,
    settings::{ARRIVAL_MS, NODES},
};

/// What another node has published in the channel. All numbers below `next` have arrived
/// or are counted as lost.
struct Seen {
    next: u64,
    /// The first number that arrived, as long as it is open whether there was another
    /// before it that should have.
    begun_at: Option<u64>,
    /// A number that is announced, and since when it is waited for.
    awaited: Option<(u64, u64)>,
    /// The highest number that is announced.
    announced: u64,
}

/// The messages of one channel.
#[derive(Default)]
pub(super) struct Sequences {
    nodes: Map<u64, Seen>,
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new, and so many before it are lost.
    New(u64),
    /// It, or the word that it is lost, was delivered before.
    Repeat,
}

impl Sequences {
    /// A message has arrived.
    pub(super) fn on_message(&mut self, node: u64, number: Number) -> Verdict {
        let Number { sequence, since_first } = number;
        if sequence == 0 {
            return Verdict::New(0);
        }
        let Some(seen) = self.nodes.get_mut(&node) else {
            let begun_at = (since_first > 0).then_some(sequence);
            self.insert(
                node,
                Seen { next: sequence.saturating_add(1), begun_at, awaited: None, announced: 0 },
            );
            return Verdict::New(0);
        };
        if sequence < seen.next {
            return Verdict::Repeat;
        }
        let expected = seen.next.max(sequence - since_first.min(sequence));
        seen.next = sequence.saturating_add(1);
        Verdict::New(sequence - expected)
    }

    fn insert(&mut self, node: u64, seen: Seen) {
        if self.nodes.len() < NODES {
            self.nodes.insert(node, seen);
        }
    }

    /// A node says how far it has counted. `stood_since` is when the subscription stood
    /// first, with a margin for what was on its way. Returns how many are lost before the
    /// first that arrived.
    pub(super) fn on_announced(
        &mut self,
        node: u64,
        numbered: &Numbered,
        stood_since: u64,
        now: u64,
    ) -> u64 {
        let is_ours = |age: u64| now.saturating_sub(age) > stood_since;
        // What was published while the subscription stood should have arrived.
        let base = match numbered {
            _ if is_ours(numbered.first_age_ms) => Some(numbered.first),
            _ if is_ours(numbered.before_age_ms) => Some(numbered.before.saturating_add(1)),
            _ => None,
        };
        let Some(seen) = self.nodes.get_mut(&node) else {
            if let Some(base) = base {
                let awaited = (numbered.last >= base).then_some((numbered.last, now));
                let seen = Seen { next: base, begun_at: None, awaited, announced: numbered.last };
                self.insert(node, seen);
            }
            return 0;
        };
        let mut lost = 0;
        if let Some(begun_at) = seen.begun_at.take_if(|begun_at| *begun_at <= numbered.last) {
            lost = base.map_or(0, |base| begun_at.saturating_sub(base));
        }
        seen.next = seen.next.max(numbered.first);
        seen.announced = seen.announced.max(numbered.last);
        if seen.awaited.is_none() && seen.next <= seen.announced {
            seen.awaited = Some((seen.announced, now));
        }
        lost
    }

    /// How many are lost because they were announced and have not come in time, and
    /// whether more are waited for.
    pub(super) fn overdue(&mut self, now: u64) -> (u64, bool) {
        let (mut lost, mut waits) = (0, false);
        for seen in self.nodes.values_mut() {
            if let Some((last, since)) = seen.awaited
                && since.saturating_add(ARRIVAL_MS) <= now
            {
                if seen.next <= last {
                    lost += last - seen.next + 1;
                    seen.next = last.saturating_add(1);
                }
                let is_more = seen.next <= seen.announced;
                seen.awaited = is_more.then_some((seen.announced, now));
            }
            waits |= seen.awaited.is_some();
        }
        (lost, waits)
    }

    /// The node is known no more.
    pub(super) fn forget(&mut self, node: u64) {
        self.nodes.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(sequence: u64, first: u64) -> Number {
        Number { sequence, since_first: sequence - first }
    }

    fn announced(first: u64, before: u64, last: u64) -> Numbered {
        Numbered { first, first_age_ms: 100, before, before_age_ms: 10, last }
    }

    #[test]
    fn the_next_message_tells_how_many_are_lost_before_it() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.on_message(1, number(5, 2)), Verdict::New(0));
        assert_eq!(sequences.on_message(2, number(1, 1)), Verdict::New(0));
        assert_eq!(sequences.on_message(1, number(9, 2)), Verdict::New(3));
        assert_eq!(sequences.on_message(1, number(8, 2)), Verdict::Repeat);
        // Another numbering: what of the one before is missing cannot be told.
        assert_eq!(sequences.on_message(1, number(22, 20)), Verdict::New(2));
    }

    #[test]
    fn the_loss_of_the_last_message_is_found_by_an_announcement() {
        let mut sequences = Sequences::default();
        sequences.on_message(1, number(1, 1));
        assert_eq!(sequences.on_announced(1, &announced(1, 1, 3), 0, 1_000), 0);
        assert_eq!(sequences.overdue(1_499), (0, true));
        assert_eq!(sequences.overdue(1_500), (2, false));
        assert_eq!(sequences.on_message(1, number(3, 1)), Verdict::Repeat);
        assert_eq!(sequences.on_message(1, number(4, 1)), Verdict::New(0));
    }

    #[test]
    fn all_of_a_numbering_that_began_after_the_subscription_is_expected() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.on_announced(1, &announced(3, 2, 4), 800, 1_000), 0);
        assert_eq!(sequences.overdue(1_500), (2, false));
        let mut sequences = Sequences::default();
        sequences.on_message(1, number(4, 3));
        assert_eq!(sequences.on_announced(1, &announced(3, 2, 4), 800, 1_000), 1);
    }

    #[test]
    fn what_was_published_before_the_subscription_is_not_expected() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.on_announced(1, &announced(3, 4, 5), 995, 1_000), 0);
        assert_eq!(sequences.on_message(1, number(6, 3)), Verdict::New(0));
        assert_eq!(sequences.on_announced(1, &announced(3, 5, 6), 995, 1_000), 0);
        assert_eq!(sequences.overdue(9_000), (0, false));
    }
}
