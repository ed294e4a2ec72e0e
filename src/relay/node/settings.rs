//! What can be set of a node, and the bounds and times that cannot. Does nothing itself.

use std::sync::Arc;

use super::super::{broker::HistoryLimits, pattern::Pattern};
use crate::cluster::{RoomRules, RoomTraits};

/// How often it is looked, in milliseconds, whether a history has gone on without this
/// node: the last that a node stored before it ended is announced by nobody.
pub(super) const AUDIT_MS: u64 = 5_000;
/// In so many rounds after the last publication that came; in all others every twelfth.
pub(super) const AUDITS: u8 = 3;
/// See [`AUDITS`].
pub(super) const AUDIT_ROUNDS: u64 = 12;
/// How often a heartbeat is sent, in milliseconds.
pub const BEAT_MS: u64 = 250;
/// Without an own heartbeat that came back for so long the node is not ready.
pub const SILENCE_MS: u64 = 1_000;
/// Another node is known for so long after its last heartbeat.
pub const NODE_MS: u64 = 3_000;
/// A message that is announced and has not come for so long is lost.
pub const ARRIVAL_MS: u64 = 500;
/// A subscription is kept for so long after the last who wanted it.
pub const LINGER_MS: u64 = 5_000;
/// Whoever is present is present for so long without a refresh.
pub const PRESENCE_MS: u64 = 15_000;
/// A question waits so long for the answers of all nodes.
pub const ASK_MS: u64 = 1_000;
/// A recovery or a list of who is present waits so long for the broker.
pub const READ_MS: u64 = 5_000;
/// What the broker did not do is asked for again after so long.
pub(super) const RETRY_MS: u64 = 200;
/// For so long a node knows how far it has counted in a channel where nothing is
/// published any more, and how far others had.
pub(super) const NUMBERING_MS: u64 = 600_000;

/// So many channels are numbered at the most; beyond, the one that has been quiet for
/// longest begins a new numbering when it is used again.
pub(super) const NUMBERINGS: usize = 65_536;
/// So many nodes are known, and so many are followed in one channel.
pub(super) const NODES: usize = 1_024;
/// So many questions wait for answers; beyond, a question is answered at once, by nobody.
pub(super) const ASKS: usize = 1_024;
/// So many recoveries and lists wait for the broker; beyond, one is answered at once with
/// the word that it cannot be had.
pub(super) const WAITING: usize = 65_536;
/// So many idempotency keys are known for rooms without history.
pub(super) const ONCE_KEYS: usize = 65_536;
/// So much of a room's recent history is kept for recoveries.
pub(super) const CACHE_BYTES: usize = 4 << 20;
/// So many values and bytes may wait for the shards before the broker is not read.
pub(super) const BACKLOG: usize = 4_096;
/// See [`BACKLOG`].
pub(super) const BACKLOG_BYTES: usize = 8 << 20;

/// Which rooms have a history, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRule {
    /// The rooms.
    pub pattern: Pattern,
    /// How much.
    pub limits: HistoryLimits,
}

/// What a node is made with.
///
/// ```
/// use shardcast::relay::node::NodeSettings;
/// let settings = NodeSettings::default();
/// assert_eq!((settings.outage_bytes, settings.outage_age_ms), (16 << 20, 30_000));
/// ```
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The process's random number, of which its client ids are made. Default 0: to be set.
    pub node: u64,
    /// Rooms with history; the first rule that fits counts. Default none.
    pub history: Vec<HistoryRule>,
    /// Rooms whose presence is kept. Default none.
    pub presence: Vec<Pattern>,
    /// How many bytes of publications wait for a broker that is away; 0 for none.
    /// Default 16 MiB.
    pub outage_bytes: usize,
    /// How long a publication waits for a broker that is away, in milliseconds.
    /// Default 30,000.
    pub outage_age_ms: u64,
    /// For how long a repeat of the same key is not published, in milliseconds.
    /// Default 120,000.
    pub once_window_ms: u64,
    /// Decides when, within its period, what is repeated is done. Default 0.
    pub seed: u64,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            node: 0,
            history: Vec::new(),
            presence: Vec::new(),
            outage_bytes: 16 << 20,
            outage_age_ms: 30_000,
            once_window_ms: 120_000,
            seed: 0,
        }
    }
}

impl NodeSettings {
    /// How much of a room's history is kept, if it has one.
    pub fn limits_of(&self, room: &str) -> Option<HistoryLimits> {
        let rule = self.history.iter().find(|rule| rule.pattern.matches(room))?;
        Some(rule.limits)
    }

    /// What is kept of which rooms.
    pub fn rules(&self) -> RoomRules {
        let settings = self.clone();
        Arc::new(move |room| RoomTraits {
            history: settings.limits_of(room).is_some(),
            presence: settings.has_presence(room),
        })
    }

    /// Whether the presence in a room is kept.
    pub fn has_presence(&self, room: &str) -> bool {
        self.presence.iter().any(|pattern| pattern.matches(room))
    }
}
