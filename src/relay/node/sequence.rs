//! What has arrived in one channel of each node that publishes there, and what has not:
//! gaps are found by the next message, and by what heartbeats announce. Knows no room and
//! no heartbeat.

use super::{
    super::wire::{Number, Numbered},
    map::Map,
    settings::{ARRIVAL_MS, NODES},
};

/// So many looks, [`ARRIVAL_MS`] apart, are waited for an announcement that says whether
/// there was another message before the first that arrived: the node may have ended. 5 s:
/// longer than a node is known after its last heartbeat.
const LOOKS: u8 = 10;

/// What another node has published in the channel. All numbers below `next` have arrived
/// or are counted as lost, but those from `open_from`, which may still come.
///
/// `open_from <= next`.
struct Seen {
    next: u64,
    open_from: u64,
    /// As long as it is open whether there was another before the first that arrived that
    /// should have.
    begun: Option<Box<Begun>>,
    /// A number that is announced, and since when it is waited for.
    awaited: Option<(u64, u64)>,
    /// The highest number that is announced.
    announced: u64,
}

/// What is known of the time before the first number that arrived.
struct Begun {
    /// That number.
    at: u64,
    /// The lowest number that should have arrived, as announcements of lower ones say.
    base: Option<u64>,
    /// Whether one of them has left it open which should have.
    is_unknown: bool,
    /// How often it was looked whether this is still open.
    looks: u8,
}

impl Begun {
    /// Takes in an announcement. Returns what is known if it is of all before the first
    /// that arrived.
    fn on_announced(&mut self, last: u64, base: Option<u64>, is_unknown: bool) -> Option<Shown> {
        self.is_unknown |= is_unknown;
        self.base = self.base.into_iter().chain(base).min();
        let shown = if self.is_unknown {
            Shown::Unknown
        } else {
            Shown::Lost(self.base.map_or(0, |base| self.at.saturating_sub(base)))
        };
        (self.at <= last).then_some(shown)
    }
}

impl Seen {
    fn from(next: u64) -> Self {
        Self { next, open_from: next, begun: None, awaited: None, announced: 0 }
    }
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
    /// It is the first of its node, and it is open whether some before it are lost.
    First,
    /// It, or the word that it is lost, was delivered before.
    Repeat,
}

/// What has not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overdue {
    /// So many that were announced are lost.
    pub(super) lost: u64,
    /// Some may be before the first that arrived: nothing has said that none are.
    pub(super) is_unknown: bool,
    /// More is waited for.
    pub(super) waits: bool,
}

/// What an announcement has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// So many are lost before the first that arrived.
    Lost(u64),
    /// Some may be.
    Unknown,
}

/// What is known of the time before the first message or announcement of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// What was published later should have arrived.
    pub(super) stood_since: u64,
    /// Whether an announcement may have been lost since then.
    pub(super) is_unheard: bool,
}

impl Sequences {
    /// A message has arrived.
    pub(super) fn on_message(&mut self, node: u64, number: Number) -> Verdict {
        let Number { sequence, since_first } = number;
        if sequence == 0 {
            return Verdict::New(0);
        }
        let after = sequence.saturating_add(1);
        let Some(seen) = self.nodes.get_mut(&node) else {
            let mut seen = Seen::from(after);
            if since_first > 0 {
                let begun = Begun { at: sequence, base: None, is_unknown: false, looks: 0 };
                seen.begun = Some(Box::new(begun));
            }
            self.insert(node, seen);
            return if since_first > 0 { Verdict::First } else { Verdict::New(0) };
        };
        if sequence < seen.open_from {
            return Verdict::Repeat;
        }
        seen.open_from = after;
        if sequence < seen.next {
            return Verdict::New(0);
        }
        let expected = seen.next.max(sequence - since_first.min(sequence));
        seen.next = after;
        Verdict::New(sequence - expected)
    }

    fn insert(&mut self, node: u64, seen: Seen) {
        if self.nodes.len() < NODES {
            self.nodes.insert(node, seen);
        }
    }

    /// A node says how far it has counted.
    pub(super) fn on_announced(
        &mut self,
        node: u64,
        numbered: &Numbered,
        past: Past,
        now: u64,
    ) -> Shown {
        let is_ours = |age: u64| now.saturating_sub(age) > past.stood_since;
        let after = numbered.last.saturating_add(1);
        // What was published while the subscription stood should have arrived.
        let is_whole = is_ours(numbered.first_age_ms);
        let base = if is_whole {
            Some(numbered.first)
        } else if numbered.before < numbered.last && is_ours(numbered.next_age_ms) {
            Some(numbered.before.saturating_add(1))
        } else {
            None
        };
        // Some of what was given since the last announcement may be ours, and some not.
        let is_mixed = base.is_none() && is_ours(numbered.last_age_ms);
        let is_unknown =
            is_mixed && numbered.before < numbered.last || past.is_unheard && !is_whole;
        let Some(seen) = self.nodes.get_mut(&node) else {
            let mut seen = Seen::from(base.unwrap_or(after));
            seen.announced = numbered.last;
            seen.awaited = (seen.next < after).then_some((numbered.last, now));
            if base.is_none() {
                // The last may still be on its way.
                seen.open_from = 0;
            }
            self.insert(node, seen);
            return if is_unknown { Shown::Unknown } else { Shown::Lost(0) };
        };
        let begun = seen.begun.as_mut();
        let shown = begun.and_then(|begun| begun.on_announced(numbered.last, base, is_unknown));
        if shown.is_some() {
            seen.begun = None;
        }
        let shown = shown.unwrap_or(Shown::Lost(0));
        if seen.next < numbered.first {
            (seen.next, seen.open_from) = (numbered.first, numbered.first);
        }
        seen.announced = seen.announced.max(numbered.last);
        if seen.awaited.is_none() && seen.next <= seen.announced {
            seen.awaited = Some((seen.announced, now));
        }
        shown
    }

    /// What has not come in time. Announcements come now if `is_heard`.
    pub(super) fn overdue(&mut self, is_heard: bool, now: u64) -> Overdue {
        let (mut lost, mut is_unknown, mut waits) = (0, false, false);
        for seen in self.nodes.values_mut() {
            if let Some(begun) = &mut seen.begun {
                begun.looks += u8::from(is_heard);
                if begun.looks >= LOOKS {
                    (seen.begun, is_unknown) = (None, true);
                }
            }
            if let Some((last, since)) = seen.awaited
                && since.saturating_add(ARRIVAL_MS) <= now
            {
                if seen.next <= last {
                    lost += last - seen.next + 1;
                    seen.next = last.saturating_add(1);
                    seen.open_from = seen.next;
                }
                let is_more = seen.next <= seen.announced;
                seen.awaited = is_more.then_some((seen.announced, now));
            }
            waits |= seen.awaited.is_some() || seen.begun.is_some();
        }
        Overdue { lost, is_unknown, waits }
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
        Numbered { first, first_age_ms: 100, before, next_age_ms: 10, last, last_age_ms: 10 }
    }

    fn past(stood_since: u64) -> Past {
        Past { stood_since, is_unheard: false }
    }

    fn overdue(lost: u64, waits: bool) -> Overdue {
        Overdue { lost, is_unknown: false, waits }
    }

    #[test]
    fn a_first_message_whose_node_says_no_more_may_have_had_others_before_it() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.on_message(1, number(5, 2)), Verdict::First);
        for now in 0..20 {
            // Nothing can be heard.
            assert_eq!(sequences.overdue(false, now), overdue(0, true));
        }
        for now in 1..u64::from(LOOKS) {
            assert_eq!(sequences.overdue(true, now), overdue(0, true));
        }
        let found = sequences.overdue(true, 20);
        assert_eq!(found, Overdue { lost: 0, is_unknown: true, waits: false });
        assert_eq!(sequences.overdue(true, 21), overdue(0, false));
    }

    #[test]
    fn what_is_announced_behind_the_message_that_follows_it_counts_as_lost() {
        // Number 6 is lost, and 7 overtakes the heartbeat that announces 6.
        let mut sequences = Sequences::default();
        assert_eq!(sequences.on_message(1, number(7, 2)), Verdict::First);
        let early = Numbered { first_age_ms: 900, ..announced(2, 5, 6) };
        assert_eq!(sequences.on_announced(1, &early, past(800), 1_000), Shown::Lost(0));
        let late = Numbered { first_age_ms: 1_100, ..announced(2, 6, 8) };
        assert_eq!(sequences.on_announced(1, &late, past(800), 1_200), Shown::Lost(1));
    }

    #[test]
    fn the_next_message_tells_how_many_are_lost_before_it() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.on_message(1, number(5, 2)), Verdict::First);
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
        let shown = sequences.on_announced(1, &announced(1, 1, 3), past(0), 1_000);
        assert_eq!(shown, Shown::Lost(0));
        assert_eq!(sequences.overdue(true, 1_499), overdue(0, true));
        assert_eq!(sequences.overdue(true, 1_500), overdue(2, false));
        assert_eq!(sequences.on_message(1, number(3, 1)), Verdict::Repeat);
        assert_eq!(sequences.on_message(1, number(4, 1)), Verdict::New(0));
    }

    #[test]
    fn all_of_a_numbering_that_began_after_the_subscription_is_expected() {
        let mut sequences = Sequences::default();
        let shown = sequences.on_announced(1, &announced(3, 2, 4), past(800), 1_000);
        assert_eq!(shown, Shown::Lost(0));
        assert_eq!(sequences.overdue(true, 1_500), overdue(2, false));
        let mut sequences = Sequences::default();
        sequences.on_message(1, number(4, 3));
        let shown = sequences.on_announced(1, &announced(3, 2, 4), past(800), 1_000);
        assert_eq!(shown, Shown::Lost(1));
    }

    #[test]
    fn what_was_published_before_the_subscription_is_not_expected() {
        let mut sequences = Sequences::default();
        let shown = sequences.on_announced(1, &announced(3, 4, 5), past(995), 1_000);
        assert_eq!(shown, Shown::Lost(0));
        // It was on its way, and comes once.
        assert_eq!(sequences.on_message(1, number(5, 3)), Verdict::New(0));
        assert_eq!(sequences.on_message(1, number(5, 3)), Verdict::Repeat);
        assert_eq!(sequences.on_message(1, number(6, 3)), Verdict::New(0));
        assert_eq!(sequences.overdue(true, 9_000), overdue(0, false));
    }

    #[test]
    fn where_an_announcement_was_lost_messages_may_be_missing() {
        let mut sequences = Sequences::default();
        let past = Past { stood_since: 995, is_unheard: true };
        let shown = sequences.on_announced(1, &announced(3, 4, 5), past, 1_000);
        assert_eq!(shown, Shown::Unknown);
        let shown = sequences.on_announced(1, &announced(3, 5, 6), past, 1_000);
        assert_eq!(shown, Shown::Lost(0));
    }
}
