//! The last publications of a room, for those who come back. Knows no broker.

use std::{collections::VecDeque, sync::Arc};

use super::super::settings::CACHE_BYTES;
use crate::publication::Publication;

/// A run of publications without a hole. One that could not be read has its place.
pub(super) struct Cache {
    count: usize,
    entries: VecDeque<(u64, Option<Arc<Publication>>)>,
    bytes: usize,
}

fn kept_bytes(entry: Option<&Arc<Publication>>) -> usize {
    entry.map_or(32, |publication| publication.data.bytes().len() + 512)
}

impl Cache {
    pub(super) fn new(count: u64) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self { count, entries: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// The publication behind the last.
    pub(super) fn push(&mut self, offset: u64, publication: Option<Arc<Publication>>) {
        if self.entries.back().is_some_and(|(last, _)| last + 1 != offset) {
            self.clear();
        }
        self.bytes += kept_bytes(publication.as_ref());
        self.entries.push_back((offset, publication));
        self.trim();
    }

    /// Puts before the first what was read, if it joins: `last` is the offset at which the
    /// run ends or, if it is empty, shall end. It may be more than is kept until
    /// [`Cache::trim`].
    pub(super) fn fill(&mut self, last: u64, read: &[(u64, Option<Arc<Publication>>)]) {
        let mut next = self.entries.front().map_or(last, |(first, _)| first - 1);
        let end = next;
        let older = read.iter().rev().skip_while(|(offset, _)| *offset > end);
        for (offset, publication) in older {
            if *offset != next {
                return;
            }
            self.bytes += kept_bytes(publication.as_ref());
            self.entries.push_front((*offset, publication.clone()));
            next = next.saturating_sub(1);
        }
    }

    /// Forgets the oldest beyond what is kept.
    pub(super) fn trim(&mut self) {
        while self.entries.len() > self.count || self.bytes > CACHE_BYTES {
            let Some((_, publication)) = self.entries.pop_front() else { return };
            self.bytes -= kept_bytes(publication.as_ref());
        }
    }

    /// Everything behind `offset`; `None` if some of it is not here.
    pub(super) fn behind(&self, offset: u64) -> Option<Vec<Arc<Publication>>> {
        let (first, _) = self.entries.front()?;
        let skipped = usize::try_from((offset + 1).checked_sub(*first)?).ok()?;
        let found = self.entries.iter().skip(skipped);
        Some(found.filter_map(|(_, publication)| publication.clone()).collect())
    }
}
