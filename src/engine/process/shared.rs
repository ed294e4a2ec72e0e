//! What all shards of a process share: settings, the directory, the counts of
//! connections, the drain, and what each shard says of itself.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    admission::Admission, directory::Directory, drain::DrainSignal, once::OnceTable, pulse::Pulse,
};
use crate::{
    dialect::Dialect,
    engine::types::{limits::Limits, relaying::RelayPort},
};

/// What all shards of a process share.
pub(crate) struct Process {
    /// Random per process: tells this process's client ids from another's.
    pub(crate) node: u64,
    pub(crate) limits: Limits,
    pub(crate) directory: Arc<Directory>,
    pub(crate) admission: Admission,
    pub(crate) drain: DrainSignal,
    /// The dialect of a path that names none.
    pub(crate) dialect: Dialect,
    /// The path of upgrades, without a slash at its end.
    pub(crate) path: String,
    /// How many shards there are, from 1 to 64.
    pub(crate) shards: usize,
    /// What each of them says of itself.
    pub(crate) pulses: Box<[Pulse]>,
    /// The way to the other nodes, if there may be some.
    pub(crate) relay: Option<Arc<dyn RelayPort>>,
    /// Requests that were carried out and may be repeated.
    pub(crate) once: OnceTable,
    /// How many sockets have been adopted.
    adopted: AtomicUsize,
}

impl Process {
    pub(crate) fn new(
        node: u64,
        limits: Limits,
        dialect: Dialect,
        path: &str,
        shards: usize,
        relay: Option<Arc<dyn RelayPort>>,
    ) -> Self {
        debug_assert!((1..=Limits::SHARDS).contains(&shards));
        let admission = Admission::new(&limits);
        Self {
            node,
            directory: Arc::new(Directory::new(relay.clone())),
            admission,
            drain: DrainSignal::default(),
            dialect,
            path: path.trim_end_matches('/').to_owned(),
            limits,
            shards,
            pulses: (0..shards).map(|_| Pulse::new()).collect(),
            relay,
            once: OnceTable::default(),
            adopted: AtomicUsize::new(0),
        }
    }

    /// Whether there is a shard of that number.
    pub(crate) fn has_shard(&self, shard: u8) -> bool {
        usize::from(shard) < self.shards
    }

    /// One bit for each shard.
    pub(crate) fn all_shards(&self) -> u64 {
        u64::MAX >> (Limits::SHARDS - self.shards)
    }

    /// How many windows each shard has: one to each shard, and one to the relay.
    pub(crate) fn windows(&self) -> usize {
        self.shards + usize::from(self.relay.is_some())
    }

    /// The number of the window to the relay, behind those to the shards.
    pub(crate) fn relay_window(&self) -> u8 {
        self.shards as u8
    }

    /// The number of the next socket from outside, by which they are spread over the
    /// shards.
    pub(crate) fn next_adopted(&self) -> usize {
        self.adopted.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("shards", &self.shards).finish_non_exhaustive()
    }
}
