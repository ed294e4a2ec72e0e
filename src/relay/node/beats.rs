//! Heartbeats: when the next is due, whether the own ones come back, and which other nodes
//! live. Knows no channel but the control channels.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::{BEAT_MS, NODE_MS, NODES, NUMBERING_MS, SILENCE_MS};

/// How often, and how many milliseconds apart, all nodes are asked to announce again how
/// far they have published. More than once, since a request can be lost.
const REQUESTS: u32 = 3;
const REQUEST_MS: u64 = 500;

/// Another node.
struct Other {
    heard_at: u64,
    /// The number of its last beat on the first control channel; 0 for none.
    beat: u64,
    /// When it was last found that beats of it are missing; 0 for never.
    missed_at: u64,
}

/// A time without own heartbeats.
struct Outage {
    since: u64,
    /// Who lived before.
    nodes: BTreeSet<u64>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is one fact, and all combinations occur.
pub(super) struct Due {
    /// Send a heartbeat of this number.
    pub(super) beat: Option<u64>,
    /// Ask all nodes to announce again.
    pub(super) request: bool,
    /// Subscribe the control channels again: the own heartbeats do not come back.
    pub(super) resubscribe: bool,
    /// What was published by nodes that ended while this one could not hear them may be
    /// missing.
    pub(super) unheard: bool,
    /// A node has ended.
    pub(super) has_ended: bool,
    /// These nodes have been gone for long.
    pub(super) forget: Vec<u64>,
}

/// The pulse of the cluster.
#[allow(clippy::struct_excessive_bools)] // Each is one fact, and all combinations occur.
pub(super) struct Beats {
    is_up: bool,
    beat: u64,
    next_at: u64,
    /// When the own heartbeat came back last, for each control channel.
    own: Vec<u64>,
    /// Whether it has come back on all since the broker was reached.
    is_whole: bool,
    /// Whether it has been missing for too long.
    is_silent: bool,
    resubscribe_at: u64,
    others: BTreeMap<u64, Other>,
    gone: BTreeMap<u64, u64>,
    outage: Option<Outage>,
    /// When to look who has not been heard again.
    look_at: Option<(u64, BTreeSet<u64>)>,
    is_unheard: bool,
    requests: u32,
    request_at: u64,
}

impl Beats {
    pub(super) fn new(now: u64) -> Self {
        Self {
            is_up: false,
            beat: 0,
            next_at: now,
            own: Vec::new(),
            is_whole: false,
            is_silent: false,
            resubscribe_at: 0,
            others: BTreeMap::new(),
            gone: BTreeMap::new(),
            outage: None,
            look_at: None,
            is_unheard: false,
            requests: 0,
            request_at: 0,
        }
    }

    pub(super) fn on_up(&mut self, partitions: u16, now: u64) {
        self.is_up = true;
        self.is_whole = false;
        self.is_silent = false;
        self.own = vec![0; usize::from(partitions.max(1))];
        self.resubscribe_at = now + SILENCE_MS;
        self.next_at = now;
    }

    pub(super) fn on_down(&mut self, now: u64) {
        self.is_up = false;
        self.is_whole = false;
        self.begin_outage(now);
    }

    fn begin_outage(&mut self, now: u64) {
        let outage = self.outage.get_or_insert(Outage { since: now, nodes: BTreeSet::new() });
        outage.nodes.extend(self.others.keys());
        // Who was looked for is still looked for.
        outage.nodes.extend(self.look_at.take().into_iter().flat_map(|(_, nodes)| nodes));
    }

    /// The control channels.
    pub(super) fn partitions(&self) -> u16 {
        self.own.len() as u16
    }

    /// The nodes that lived before the own heartbeats stopped coming back.
    pub(super) fn before_outage(&self) -> BTreeSet<u64> {
        self.outage.as_ref().map_or_else(BTreeSet::new, |outage| outage.nodes.clone())
    }

    /// Whether own heartbeats have been missing for too long.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// A heartbeat is due now.
    pub(super) fn hurry(&mut self, now: u64) {
        self.next_at = self.next_at.min(now);
    }

    /// Whether own heartbeats come back.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole && !self.is_silent
    }

    /// When heartbeats of a node were last found missing; 0 for never.
    pub(super) fn missed_at(&self, node: u64) -> u64 {
        self.others.get(&node).map_or(0, |other| other.missed_at)
    }

    /// The other nodes that live.
    pub(super) fn others(&self) -> impl Iterator<Item = u64> {
        self.others.keys().copied()
    }

    /// The process was held for so long: nobody was silent meanwhile.
    pub(super) fn on_held(&mut self, ms: u64) {
        self.own.iter_mut().filter(|at| **at > 0).for_each(|at| *at += ms);
        self.others.values_mut().for_each(|other| other.heard_at += ms);
        self.resubscribe_at += ms;
    }

    /// An own heartbeat has come back. Returns whether all do again after they did not,
    /// and everything is to be subscribed again.
    pub(super) fn on_own(&mut self, partition: u16, now: u64) -> bool {
        let Some(at) = self.own.get_mut(usize::from(partition)) else { return false };
        *at = now;
        let is_heard = |at: &u64| at.saturating_add(SILENCE_MS) >= now;
        if !self.is_up || !self.own.iter().all(is_heard) {
            return false;
        }
        let was_silent = std::mem::take(&mut self.is_silent);
        if std::mem::replace(&mut self.is_whole, true) && !was_silent {
            return false;
        }
        if let Some(outage) = self.outage.take() {
            self.is_unheard |= now.saturating_sub(outage.since) >= NUMBERING_MS;
            self.look_at = Some((now + NODE_MS, outage.nodes));
        }
        self.request(now);
        was_silent
    }

    fn request(&mut self, now: u64) {
        self.requests = REQUESTS;
        self.request_at = self.request_at.max(now);
    }

    /// Another node's heartbeat.
    pub(super) fn on_other(&mut self, partition: u16, node: u64, beat: u64, now: u64) {
        if self.others.len() >= NODES && !self.others.contains_key(&node) {
            return;
        }
        let was_gone = partition == 0 && self.gone.remove(&node).is_some();
        let other =
            self.others.entry(node).or_insert(Other { heard_at: now, beat: 0, missed_at: 0 });
        other.heard_at = now;
        if partition != 0 {
            return;
        }
        let is_first = other.beat == 0;
        let is_missing = was_gone || !is_first && beat > other.beat.saturating_add(1);
        other.beat = other.beat.max(beat);
        if is_missing {
            // What it announced has not been heard.
            other.missed_at = now;
            self.request(now);
        } else if is_first && beat > 1 {
            // Whoever has listened for longer than that should have heard one before: what
            // that announced is not announced again.
            other.missed_at = now.saturating_sub(SILENCE_MS);
            self.request(now);
        }
    }

    /// When something is to be done.
    pub(super) fn next_tick(&self) -> u64 {
        self.next_at
    }

    /// Lets time pass.
    pub(super) fn on_tick(&mut self, now: u64) -> Due {
        let mut due = Due::default();
        if self.next_at <= now {
            self.next_at = now + BEAT_MS;
            if self.is_up {
                self.beat += 1;
                due.beat = Some(self.beat);
            }
        }
        if self.is_up && self.requests > 0 && self.request_at <= now && self.is_whole() {
            self.requests -= 1;
            self.request_at = now + REQUEST_MS;
            due.request = true;
        }
        due.resubscribe = self.look_for_own(now);
        self.look_for_others(now, &mut due);
        due.unheard = std::mem::take(&mut self.is_unheard);
        due
    }

    fn look_for_own(&mut self, now: u64) -> bool {
        if !self.is_up || self.resubscribe_at > now {
            return false;
        }
        let is_missing = |at: &u64| at.saturating_add(SILENCE_MS) < now;
        if !self.own.iter().any(is_missing) {
            return false;
        }
        self.is_silent = true;
        self.begin_outage(now);
        self.resubscribe_at = now + SILENCE_MS;
        true
    }

    fn look_for_others(&mut self, now: u64, due: &mut Due) {
        let is_gone = |other: &Other| other.heard_at.saturating_add(NODE_MS) < now;
        // Who cannot hear does not know who lives.
        if self.is_whole() {
            let gone = self.others.extract_if(.., |_, other| is_gone(other));
            let before = self.gone.len();
            self.gone.extend(gone.map(|(node, _)| (node, now)));
            due.has_ended = self.gone.len() > before;
        }
        if self.gone.len() > NODES {
            let oldest = self.gone.iter().min_by_key(|(_, at)| **at).map(|(node, _)| *node);
            due.forget.extend(oldest.inspect(|node| {
                self.gone.remove(node);
            }));
        }
        let is_old = |_: &u64, at: &mut u64| at.saturating_add(NUMBERING_MS) < now;
        due.forget.extend(self.gone.extract_if(.., is_old).map(|(node, _)| node));
        if let Some((_, nodes)) = self.look_at.take_if(|(at, _)| *at <= now) {
            self.is_unheard |= nodes.iter().any(|node| !self.others.contains_key(node));
        }
    }
}
