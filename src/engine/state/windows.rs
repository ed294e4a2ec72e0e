//! The windows from this shard to the others: how much of each is in use, by whom,
//! and who waits for it. And the other end: what this shard owes to the others for
//! what it has taken of theirs. Knows bytes and identities; not rooms, not sockets.
//!
//! A window is a number of bytes. Whatever is sent to its shard is charged to a connection
//! until the receiving shard's members have taken it and the credit has come back.
//! One connection may use an eighth of what is free, so that whoever uses nothing
//! always finds room, however many others use as much as they may.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::id::ConnId;

type ByConnection = HashMap<ConnId, Use, foldhash::fast::RandomState>;

/// A connection's share of a window.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    bytes: usize,
    /// It is held until half of that has come back.
    waits: bool,
}

/// The window to one other shard.
#[derive(Debug, Default)]
struct Window {
    /// Charged and not credited yet: the sum over `by_connection`.
    bytes: usize,
    by_connection: ByConnection,
    /// Set when the window is full, cleared when half of it is free.
    is_full: bool,
    /// Held because the window is full, in order of arrival.
    waiting: VecDeque<ConnId>,
    /// How many are held because of their own share.
    waiting_for_share: usize,
    /// The receiver was asked to return credit at once.
    is_requested: bool,
}

/// What this shard owes to one other shard.
#[derive(Debug, Default)]
struct OwedCredit {
    /// For what was consumed, and not returned yet.
    credits: Vec<(ConnId, u32)>,
    bytes: usize,
    /// Received, and not consumed yet.
    unconsumed: usize,
    /// Somebody there waits for it: it is returned at once.
    is_requested: bool,
}

/// All windows of one shard.
#[derive(Debug)]
pub(crate) struct Windows {
    limit: usize,
    to: Vec<Window>,
    from: Vec<OwedCredit>,
    /// Some window is full.
    full: usize,
}

/// Why a connection may send no more to a shard for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// It used up its own share.
    Share,
    /// Everybody together used up the window.
    Window,
}

impl Windows {
    /// The windows to and from `shards` shards, of `limit` bytes each.
    pub(crate) fn new(shards: usize, limit: usize) -> Self {
        Self {
            limit,
            to: (0..shards).map(|_| Window::default()).collect(),
            from: (0..shards).map(|_| OwedCredit::default()).collect(),
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
    pub(crate) fn exhausted(&self, shards: u64, id: ConnId) -> Option<(u8, Exhausted)> {
        let mut left = shards;
        while left != 0 {
            let shard = left.trailing_zeros() as u8;
            left &= left - 1;
            let window = &self.to[usize::from(shard)];
            if window.is_full {
                return Some((shard, Exhausted::Window));
            }
            let share = self.share(window);
            if window.by_connection.get(&id).is_some_and(|used| used.bytes > share) {
                return Some((shard, Exhausted::Share));
            }
        }
        None
    }

    /// Bytes that one connection may use of a window.
    fn share(&self, window: &Window) -> usize {
        self.limit.saturating_sub(window.bytes) / 8
    }

    /// Has `id` told when there is room again in the window to `shard`. Returns whether
    /// the receiver must be asked to return credit at once.
    pub(crate) fn wait(&mut self, shard: u8, id: ConnId, why: Exhausted) -> bool {
        let window = &mut self.to[usize::from(shard)];
        match why {
            Exhausted::Window => window.waiting.push_back(id),
            Exhausted::Share => {
                let used = window.by_connection.entry(id).or_default();
                window.waiting_for_share += usize::from(!std::mem::replace(&mut used.waits, true));
            }
        }
        !std::mem::replace(&mut window.is_requested, true)
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
            let share = limit.saturating_sub(window.bytes) / 8;
            let Some(used) = window.by_connection.get_mut(id) else { continue };
            used.bytes = used.bytes.saturating_sub(*bytes as usize);
            if used.waits && used.bytes <= share / 2 {
                used.waits = false;
                window.waiting_for_share -= 1;
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
        window.is_requested = !window.waiting.is_empty() || window.waiting_for_share > 0;
        window.is_requested
    }

    /// Forgets what was charged for a shard that has ended: all who wait may go on.
    pub(crate) fn forget(&mut self, shard: u8, ready: impl FnMut(ConnId)) {
        let used = self.to[usize::from(shard)].by_connection.iter();
        let all: Vec<(ConnId, u32)> = used.map(|(id, used)| (*id, used.bytes as u32)).collect();
        self.credit(shard, &all, ready);
        self.to[usize::from(shard)].is_requested = false;
    }

    /// Something that `id` of another shard is charged for has arrived.
    pub(crate) fn on_received(&mut self, id: ConnId, bytes: u32) {
        if let Some(owed) = self.from.get_mut(usize::from(id.shard())) {
            owed.unconsumed += bytes as usize;
        }
    }

    /// Something that `id` of another shard is charged for has been consumed.
    pub(crate) fn on_consumed(&mut self, id: ConnId, bytes: u32) {
        let Some(owed) = self.from.get_mut(usize::from(id.shard())) else { return };
        owed.unconsumed = owed.unconsumed.saturating_sub(bytes as usize);
        owed.bytes += bytes as usize;
        match owed.credits.last_mut() {
            Some((last, sum)) if *last == id && sum.checked_add(bytes).is_some() => *sum += bytes,
            _ => owed.credits.push((id, bytes)),
        }
    }

    /// `shard` asks for credit at once: somebody there waits for it.
    pub(crate) fn on_credit_request(&mut self, shard: u8) {
        self.from[usize::from(shard)].is_requested = true;
    }

    /// The credit that is to be told to its shards now: when somebody waits for it,
    /// or a sixteenth of the window has gathered.
    pub(crate) fn take_credits(&mut self) -> impl Iterator<Item = (u8, Vec<(ConnId, u32)>)> {
        let enough = self.limit / 16;
        self.from.iter_mut().enumerate().filter_map(move |(shard, owed)| {
            if owed.bytes == 0 || (owed.bytes < enough && !owed.is_requested) {
                return None;
            }
            owed.bytes = 0;
            if owed.unconsumed == 0 {
                owed.is_requested = false;
            }
            Some((shard as u8, std::mem::take(&mut owed.credits)))
        })
    }

    /// Bytes charged in all windows from here and not credited yet.
    pub(crate) fn underway_bytes(&self) -> usize {
        self.to.iter().map(|window| window.bytes).sum()
    }

    /// Whether nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.to.iter().all(|window| window.waiting.is_empty() && window.waiting_for_share == 0)
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
        for why in [Exhausted::Share, Exhausted::Window] {
            let mut windows = Windows::new(2, 1000);
            let id = ConnId::new(0, 7, 0);
            windows.charge(1, id, 1000);
            assert!(windows.is_idle() && windows.exhausted(0b10, id).is_some());
            windows.wait(1, id, why);
            assert!(!windows.is_idle());
            let mut ready = Vec::new();
            windows.credit(1, &[(id, 1000)], |id| ready.push(id));
            assert_eq!((ready, windows.is_idle()), (vec![id], true));
        }
    }
}
