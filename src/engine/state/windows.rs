//! The ways from this shard to the others: how much of each is in use, by whom,
//! and who waits for it. And the other end: what this shard owes to the others for
//! what it has taken of theirs. Knows bytes and identities; not rooms, not sockets.
//!
//! A way is a window in bytes. Whatever is sent on it is charged to a connection
//! until the receiving shard's members have taken it and the credit has come back.
//! One connection may use an eighth of what is free, so that whoever uses nothing
//! always finds room, however many others use as much as they may.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::id::ConnId;

type ByConnection = HashMap<ConnId, Use, foldhash::fast::RandomState>;

/// A connection's part of a window.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    bytes: usize,
    /// It is held until half of that has come back.
    waits: bool,
}

/// The way to one other shard.
#[derive(Debug, Default)]
struct Window {
    /// Charged and not credited yet: the sum over `by_connection`.
    bytes: usize,
    by_connection: ByConnection,
    /// Set when the window is full, cleared when half of it is free.
    is_full: bool,
    /// Held because the window is full, in order of arrival.
    waiting: VecDeque<ConnId>,
    /// How many are held because of their own part.
    waiting_for_own: usize,
    /// The receiver knows that somebody waits.
    has_asked: bool,
}

/// What this shard owes to one other shard.
#[derive(Debug, Default)]
struct Debt {
    /// Taken, and not told yet.
    credits: Vec<(ConnId, u32)>,
    bytes: usize,
    /// Received, and not taken yet.
    untaken: usize,
    /// Somebody there waits for it.
    is_asked: bool,
}

/// All ways of one shard.
#[derive(Debug)]
pub(crate) struct Windows {
    limit: usize,
    to: Vec<Window>,
    from: Vec<Debt>,
    /// Some window is full.
    full: usize,
}

/// What a connection finds on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tightness {
    /// It used up its own part.
    OwnPart,
    /// Everybody together used up the window.
    Full,
}

impl Windows {
    /// The ways to and from `shards` shards, of `limit` bytes each.
    pub(crate) fn new(shards: usize, limit: usize) -> Self {
        Self {
            limit,
            to: (0..shards).map(|_| Window::default()).collect(),
            from: (0..shards).map(|_| Debt::default()).collect(),
            full: 0,
        }
    }

    /// Charges `id` for something on its way to `shard`.
    pub(crate) fn charge(&mut self, shard: u8, id: ConnId, bytes: u32) {
        let window = &mut self.to[usize::from(shard)];
        window.bytes += bytes as usize;
        window.by_connection.entry(id).or_default().bytes += bytes as usize;
        if window.bytes >= self.limit && !window.is_full {
            window.is_full = true;
            self.full += 1;
        }
    }

    /// Whether some window is full.
    pub(crate) fn any_full(&self) -> bool {
        self.full > 0
    }

    /// Why `id` should send no more to one of `shards`, one bit each, and which.
    pub(crate) fn tight(&self, shards: u64, id: ConnId) -> Option<(u8, Tightness)> {
        let mut left = shards;
        while left != 0 {
            let shard = left.trailing_zeros() as u8;
            left &= left - 1;
            let window = &self.to[usize::from(shard)];
            if window.is_full {
                return Some((shard, Tightness::Full));
            }
            let part = self.part(window);
            if window.by_connection.get(&id).is_some_and(|used| used.bytes > part) {
                return Some((shard, Tightness::OwnPart));
            }
        }
        None
    }

    /// Bytes that one connection may use of a window.
    fn part(&self, window: &Window) -> usize {
        self.limit.saturating_sub(window.bytes) / 8
    }

    /// Has `id` told when there is room again on the way to `shard`. Returns whether
    /// the receiver must be asked to return credit at once.
    pub(crate) fn wait(&mut self, shard: u8, id: ConnId, why: Tightness) -> bool {
        let window = &mut self.to[usize::from(shard)];
        match why {
            Tightness::Full => window.waiting.push_back(id),
            Tightness::OwnPart => {
                let used = window.by_connection.entry(id).or_default();
                window.waiting_for_own += usize::from(!std::mem::replace(&mut used.waits, true));
            }
        }
        !std::mem::replace(&mut window.has_asked, true)
    }

    /// `shard` has taken what these connections were charged for. Tells `ready` of
    /// each that may go on. Returns whether others still wait, so that the receiver
    /// must be asked again.
    pub(crate) fn credit(
        &mut self,
        shard: u8,
        credits: &[(ConnId, u32)],
        mut ready: impl FnMut(ConnId),
    ) -> bool {
        let limit = self.limit;
        let window = &mut self.to[usize::from(shard)];
        for (id, bytes) in credits {
            window.bytes = window.bytes.saturating_sub(*bytes as usize);
            let part = limit.saturating_sub(window.bytes) / 8;
            let Some(used) = window.by_connection.get_mut(id) else { continue };
            used.bytes = used.bytes.saturating_sub(*bytes as usize);
            if used.waits && used.bytes <= part / 2 {
                used.waits = false;
                window.waiting_for_own -= 1;
                ready(*id);
            }
            if used.bytes == 0 && !used.waits {
                window.by_connection.remove(id);
            }
        }
        if window.is_full && window.bytes <= limit / 2 {
            window.is_full = false;
            self.full -= 1;
            window.waiting.drain(..).for_each(&mut ready);
        }
        if window.by_connection.is_empty() && window.by_connection.capacity() > 64 {
            window.by_connection.shrink_to_fit();
        }
        window.has_asked = !window.waiting.is_empty() || window.waiting_for_own > 0;
        window.has_asked
    }

    /// Forgets what was charged for a shard that has ended: all who wait may go on.
    pub(crate) fn forget(&mut self, shard: u8, ready: impl FnMut(ConnId)) {
        let used = self.to[usize::from(shard)].by_connection.iter();
        let all: Vec<(ConnId, u32)> = used.map(|(id, used)| (*id, used.bytes as u32)).collect();
        self.credit(shard, &all, ready);
        self.to[usize::from(shard)].has_asked = false;
    }

    /// Something that `id` of another shard is charged for has arrived.
    pub(crate) fn owe(&mut self, id: ConnId, bytes: u32) {
        if let Some(debt) = self.from.get_mut(usize::from(id.shard())) {
            debt.untaken += bytes as usize;
        }
    }

    /// It has been taken.
    pub(crate) fn taken(&mut self, id: ConnId, bytes: u32) {
        let Some(debt) = self.from.get_mut(usize::from(id.shard())) else { return };
        debt.untaken = debt.untaken.saturating_sub(bytes as usize);
        debt.bytes += bytes as usize;
        match debt.credits.last_mut() {
            Some((last, sum)) if *last == id && sum.checked_add(bytes).is_some() => *sum += bytes,
            _ => debt.credits.push((id, bytes)),
        }
    }

    /// Somebody on `shard` waits for credit.
    pub(crate) fn asked_by(&mut self, shard: u8) {
        self.from[usize::from(shard)].is_asked = true;
    }

    /// The credit that is to be told to its shards now: when somebody waits for it,
    /// or a sixteenth of the window has gathered.
    pub(crate) fn take_credits(&mut self) -> impl Iterator<Item = (u8, Vec<(ConnId, u32)>)> {
        let enough = self.limit / 16;
        self.from.iter_mut().enumerate().filter_map(move |(shard, debt)| {
            if debt.bytes == 0 || (debt.bytes < enough && !debt.is_asked) {
                return None;
            }
            debt.bytes = 0;
            if debt.untaken == 0 {
                debt.is_asked = false;
            }
            Some((shard as u8, std::mem::take(&mut debt.credits)))
        })
    }

    /// Bytes charged on all ways from here and not credited yet.
    pub(crate) fn underway_bytes(&self) -> usize {
        self.to.iter().map(|window| window.bytes).sum()
    }

    /// Whether nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.to.iter().all(|window| window.waiting.is_empty() && window.waiting_for_own == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_no_table_of_those_whose_credit_has_come_back() {
        let mut windows = Windows::new(2, 1 << 20);
        let all: Vec<_> = (0..3000).map(|slot| (ConnId::new(0, slot, 0), 100)).collect();
        for (id, bytes) in &all {
            windows.charge(1, *id, *bytes);
        }
        assert_eq!(windows.underway_bytes(), 300_000);
        assert!(!windows.credit(1, &all, |id| panic!("{id:?} did not wait")));
        assert_eq!(windows.underway_bytes(), 0);
        let reserved = windows.to[1].by_connection.capacity();
        assert!(reserved <= 64, "{reserved}");
    }

    #[test]
    fn a_window_is_idle_when_nobody_waits_for_it() {
        for why in [Tightness::OwnPart, Tightness::Full] {
            let mut windows = Windows::new(2, 1000);
            let id = ConnId::new(0, 7, 0);
            windows.charge(1, id, 1000);
            assert!(windows.is_idle() && windows.tight(0b10, id).is_some());
            windows.wait(1, id, why);
            assert!(!windows.is_idle());
            let mut ready = Vec::new();
            windows.credit(1, &[(id, 1000)], |id| ready.push(id));
            assert_eq!((ready, windows.is_idle()), (vec![id], true));
        }
    }
}
