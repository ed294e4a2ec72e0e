//! The way from a shard to the relay, as the engine sees it, and what the relay keeps of
//! a room. Knows neither threads nor what the relay does.

use std::{future::Future, pin::Pin};

pub(crate) use crate::cluster::RoomTraits;
use crate::cluster::ToRelay;

/// The way to the relay.
pub(crate) trait RelayPort: Send + Sync {
    /// Puts something in line behind what was put before by the same thread. Never
    /// waits. The relay looks at it after the next ring.
    fn put(&self, what: ToRelay);

    /// Wakes the relay if it sleeps.
    fn ring(&self);

    /// Somebody on `shard` waits for credit: what the relay has taken is to be told at once.
    /// The relay looks at it after the next ring.
    fn request_credit(&self, shard: u8);

    /// Reserves `bytes` of what handles may have on its way. `false` if that is used up.
    fn reserve(&self, bytes: u32) -> bool;

    /// Gives back what was reserved.
    fn unreserve(&self, bytes: u32);

    /// What tells when something can be reserved; `None` if that is now.
    fn wait_for_credit(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>>;

    /// What is kept of the room of that name.
    fn traits_of(&self, room: &str) -> RoomTraits;
}
