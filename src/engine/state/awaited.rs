//! What connections of this shard wait to hear from the relay: that a subscription
//! stands, what they missed of a history, who is present. Knows who asked; not what is
//! answered.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{engine::process::directory::AnnouncedJoin, id::ConnId};

/// A connection that asked to become a member of a room with history.
pub(crate) struct Recovery {
    /// Whoever publishes there meanwhile mails it here.
    pub(crate) room: AnnouncedJoin,
    /// Whether it asked for what it missed.
    pub(crate) is_asked: bool,
    /// Its request's id.
    pub(crate) request: Option<Box<str>>,
}

/// Which part of a list of those present a connection asked for.
#[derive(Debug)]
pub(crate) struct PresenceRequest {
    pub(crate) room: Arc<str>,
    pub(crate) limit: usize,
    pub(crate) after: Option<Box<str>>,
}

type ByConnection<T> = HashMap<ConnId, Vec<T>, foldhash::fast::RandomState>;

/// Everything that is awaited.
#[derive(Default)]
pub(crate) struct Awaited {
    /// By room: members that have not been told of their subscription.
    links: HashMap<Arc<str>, Vec<ConnId>, foldhash::fast::RandomState>,
    recoveries: ByConnection<Recovery>,
    presence: ByConnection<PresenceRequest>,
}

impl Awaited {
    /// `id` is to be told of its subscription when that stands.
    pub(crate) fn link(&mut self, room: &Arc<str>, id: ConnId) {
        self.links.entry_ref(room).or_default().push(id);
    }

    /// Those who wait for the subscription of `room`.
    pub(crate) fn take_linked(&mut self, room: &str) -> Vec<ConnId> {
        self.links.remove(room).unwrap_or_default()
    }

    /// `id` waits for what it missed in a room.
    pub(crate) fn recover(&mut self, id: ConnId, recovery: Recovery) {
        self.recoveries.entry(id).or_default().push(recovery);
    }

    /// In how many rooms `id` waits for what it missed.
    pub(crate) fn recovering(&self, id: ConnId) -> usize {
        self.recoveries.get(&id).map_or(0, Vec::len)
    }

    /// Whether `id` waits for what it missed in `room`.
    pub(crate) fn is_recovering(&self, id: ConnId, room: &str) -> bool {
        let all = self.recoveries.get(&id);
        all.is_some_and(|all| all.iter().any(|recovery| recovery.room.name() == room))
    }

    /// What `id` asked for in `room`; it waits no more.
    pub(crate) fn take_recovery(&mut self, id: ConnId, room: &str) -> Option<Recovery> {
        take_first(&mut self.recoveries, id, |recovery| recovery.room.name() == room)
    }

    /// `id` waits to hear who is present in a room.
    pub(crate) fn ask_presence(&mut self, id: ConnId, request: PresenceRequest) {
        self.presence.entry(id).or_default().push(request);
    }

    /// For how many answers of that kind `id` waits.
    pub(crate) fn presence_requests(&self, id: ConnId) -> usize {
        self.presence.get(&id).map_or(0, Vec::len)
    }

    /// The first request of `id` for `room`.
    pub(crate) fn take_presence(&mut self, id: ConnId, room: &str) -> Option<PresenceRequest> {
        take_first(&mut self.presence, id, |request| *request.room == *room)
    }

    /// `id` has ended. Its place among those who wait for a subscription stays until
    /// that stands, and matches nobody then.
    pub(crate) fn forget(&mut self, id: ConnId) {
        if !self.recoveries.is_empty() {
            self.recoveries.remove(&id);
        }
        if !self.presence.is_empty() {
            self.presence.remove(&id);
        }
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.recoveries.is_empty() && self.presence.is_empty()
    }
}

fn take_first<T>(
    all: &mut ByConnection<T>,
    id: ConnId,
    is_it: impl FnMut(&T) -> bool,
) -> Option<T> {
    let of_this = all.get_mut(&id)?;
    let taken = of_this.iter().position(is_it).map(|index| of_this.remove(index));
    if of_this.is_empty() {
        all.remove(&id);
    }
    taken
}
