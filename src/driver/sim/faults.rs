//! Which misfortunes the simulated network brings about, and how often. Knows
//! only chances; what each one does is written where it happens.

/// How often the simulated network misbehaves, each in percent of the occasions
/// (0 to 100, default 0). None of them loses, repeats or reorders bytes of one
/// connection, except that a racing reset loses the last of what was underway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// `next` lends only a random non-empty prefix of what has arrived; the rest
    /// comes later in the same turn or in a later one.
    pub pieces_percent: u8,
    /// `send` takes only a random prefix at once (perhaps nothing), and later
    /// turns move only a part of the rest, so that `Sent` comes late.
    pub short_sends_percent: u8,
    /// `wait` returns without any new event, at most
    /// [`Faults::SPURIOUS_IN_A_ROW`] times running.
    pub spurious_wakes_percent: u8,
    /// The next event is taken from any connection instead of the first in line.
    /// Never reorders the events of one connection.
    pub shuffle_percent: u8,
    /// An accept, and all accepts behind it, wait for a later turn.
    pub late_accepts_percent: u8,
    /// A reset overtakes some of the bytes that the peer wrote before it.
    pub racing_resets_percent: u8,
}

impl Faults {
    /// The most spurious wake-ups in a row, so that a loop always comes forward.
    pub const SPURIOUS_IN_A_ROW: u8 = 3;

    /// A perfect network: everything arrives whole, at once and in turn.
    pub const fn none() -> Self {
        Self {
            pieces_percent: 0,
            short_sends_percent: 0,
            spurious_wakes_percent: 0,
            shuffle_percent: 0,
            late_accepts_percent: 0,
            racing_resets_percent: 0,
        }
    }

    /// Every fault, each often enough to meet the others.
    pub const fn all() -> Self {
        Self {
            pieces_percent: 60,
            short_sends_percent: 40,
            spurious_wakes_percent: 20,
            shuffle_percent: 60,
            late_accepts_percent: 30,
            racing_resets_percent: 50,
        }
    }
}
