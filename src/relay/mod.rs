//! From node to node. A [`Relay`] carries what is published on one process to the
//! connections of all others, keeps the history of rooms that have one, and knows who is
//! present in rooms whose presence is kept. Knows no shard and no connection's state.
//!
//! ```text
//! shards ─► ToRelay ─► Node ─► Operation ─► broker (memory │ Redis)
//! shards ◄─ FromRelay ◄─ Node ◄─ Arrival ◄──┘
//! ```
//!
//! # What is delivered
//!
//! - Publications of one publisher in one room arrive on every node in the order in
//!   which they were published, none of them twice.
//! - A room without history: at most once. While the broker is away, what is published
//!   waits for it as far as bytes and age allow; the oldest is dropped beyond that, and
//!   whoever asked for a receipt is told so. When the broker is back, what waited, and
//!   what is published meanwhile, goes out in order as soon as the heartbeats of all nodes
//!   that lived before say that they receive again, after 1.5 s at the latest, and before
//!   any of it would be dropped; a node that knows no other does not wait. Delivery to the
//!   members on the publisher's own node never waits for the broker or for other nodes.
//! - A room with history: one order for all members of all nodes, made by the broker. A
//!   member that comes back with its last position gets exactly what it missed, in order
//!   and once, or is told that this cannot be had.
//! - Never a silent gap: what a node has not received although another node published it
//!   is found by sequence numbers and by heartbeats that travel through the broker, within
//!   a second. It is counted, the members are told, and the node is not ready as long as
//!   heartbeats are missing. What cannot be found is a loss in the last 250 ms of a node
//!   that is killed, or since it lost the broker if it has not published yet what waited
//!   for it, and one in the first half second of a subscription of a message of a
//!   node that had published nothing there before.

pub mod broker;
pub mod clock;
pub mod memory;
pub mod node;
pub mod pattern;
#[cfg(feature = "redis")]
pub mod redis;
pub mod status;
pub mod wire;

use std::{future::Future, pin::Pin, sync::Arc};

use crate::cluster::{Charge, ClusterAnswer, FromRelay, Question, RoomRules, ToRelay};

pub use self::status::RelayStatus;

/// A way from node to node. The engine runs it on a thread of its own.
pub trait Relay: Send + 'static {
    /// What is known of it, for any thread.
    fn status(&self) -> Arc<RelayStatus>;

    /// What it keeps of which rooms; the same for as long as it runs.
    fn rules(&self) -> RoomRules;

    /// Serves until [`Outgoing::take`] says that the engine has ended.
    fn run(self: Box<Self>, exchange: Exchange);
}

/// The relay's side of its node.
pub struct Exchange {
    /// From the shards.
    pub outgoing: Box<dyn Outgoing>,
    /// To the shards.
    pub inlet: Arc<dyn Inlet>,
    /// The process's random number, of which all its client ids are made.
    pub node: u64,
}

/// What the shards and handles of a node have for the relay.
pub trait Outgoing: Send {
    /// Sets what is called, on any thread, when there is something to take and
    /// [`Outgoing::may_sleep`] has said that the relay may wait.
    fn set_waker(&mut self, wake: Box<dyn Fn() + Send + Sync>);

    /// Moves what is there to `to`, so many at the most. Returns whether the engine has
    /// ended, and nothing more will come.
    fn take(&mut self, to: &mut Vec<ToRelay>, most: usize) -> bool;

    /// Announces that the relay is about to wait. Returns whether it may: not if there is
    /// something to take.
    fn may_sleep(&mut self) -> bool;

    /// The wait is over.
    fn awake(&mut self);
}

/// What a node takes in. Nothing of it blocks.
pub trait Inlet: Send + Sync {
    /// Gives the shards something. Given back if those that it is for can take no more:
    /// then it is to be given again after [`Inlet::ready`], before anything else of the
    /// same room.
    ///
    /// # Errors
    /// What could not be taken.
    fn give(&self, what: FromRelay) -> Result<(), FromRelay>;

    /// Wakes the shards that were given something and sleep. Must come after one or more
    /// [`Inlet::give`]: once for all that is there is cheaper than for each.
    fn ring(&self);

    /// Waits until the shards can take more, or have ended.
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// What was sent to the relay has been taken: its sender may send more.
    fn credit(&self, charge: Charge);

    /// Answers for this node.
    fn answer(&self, question: Question) -> Pin<Box<dyn Future<Output = ClusterAnswer> + Send>>;
}
