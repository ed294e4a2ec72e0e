//! A connection sends to many: the members here, those on other shards, those on other
//! nodes; and if that is more than they can take, it is held. Knows who is to get a
//! message; not how it gets into logs.

use std::sync::Arc;

use super::publish::{Outgoing, deliver_to, publish_here, to_publication};
use crate::{
    cluster::{Charge, Receipt, ToRelay},
    engine::{
        backpressure::holds,
        process::mail::Mail,
        state::{core::Core, hold_queue::Cause},
        types::audience::Target,
    },
    id::ConnId,
    publication::Publication,
};

/// What a publication asks of the relay, beyond being carried.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Who is told what became of it.
    pub(crate) receipt: Option<Receipt>,
    /// A second publication with this key is not published.
    pub(crate) once: Option<Box<str>>,
}

/// Publishes for `id` to all members, wherever they are. If that is more than they can
/// take, `id` is held.
pub(crate) fn publish(core: &mut Core, id: ConnId, target: Target<'_>, message: &Outgoing<'_>) {
    if core.process.relay.is_some() {
        publish_relayed(core, id, target, message, Asked::default());
        return;
    }
    core.stats.publications += 1;
    let room = core.rooms.find(target.space(), target.name());
    let elsewhere = core.shards_of(target, room) & !(1 << core.shard);
    if elsewhere == 0 {
        if let Some(room) = room {
            publish_here(core, room, target, message);
        }
    } else {
        let publication = Arc::new(to_publication(core, target, room, message));
        core.outbound.post(elsewhere, Mail::Publish(Arc::clone(&publication)), id);
        if let Some(room) = room {
            deliver_to(core, room, &publication);
        }
    }
    hold_publisher(core, id, room, elsewhere);
}

/// The same where there is a relay. In a room with history all members get it in the
/// relay's order, and from there.
#[cold]
pub(crate) fn publish_relayed(
    core: &mut Core,
    id: ConnId,
    target: Target<'_>,
    message: &Outgoing<'_>,
    asked: Asked,
) {
    core.stats.publications += 1;
    let room = core.rooms.find(target.space(), target.name());
    let publication = Arc::new(to_publication(core, target, room, message));
    let mut elsewhere = 0;
    if !core.has_history(target, room) {
        elsewhere = core.shards_of(target, room) & !(1 << core.shard);
        if elsewhere != 0 {
            core.outbound.post(elsewhere, Mail::Publish(Arc::clone(&publication)), id);
        }
        match room {
            Some(room) if elsewhere == 0 => publish_here(core, room, target, message),
            Some(room) => deliver_to(core, room, &publication),
            None => {}
        }
    }
    let to_relay = relay(core, id, publication, asked);
    hold_publisher(core, id, room, elsewhere | to_relay);
}

/// Hands a publication to the relay, charged to `id`. Returns its bit among the shards.
fn relay(core: &mut Core, id: ConnId, publication: Arc<Publication>, asked: Asked) -> u64 {
    let Some(relay) = &core.process.relay else { return 0 };
    let window = core.process.relay_window();
    let bytes = publication.kept_bytes().min(u32::MAX as usize) as u32;
    core.outbound.windows.charge(window, id, bytes);
    let Asked { receipt, once } = asked;
    let charge = Charge { conn: Some(id), bytes };
    relay.put(ToRelay::Publish { publication, receipt, once, charge });
    1 << window
}

/// Holds who has just published if now more waits than should, for each reason that
/// there is.
fn hold_publisher(core: &mut Core, id: ConnId, room: Option<u32>, elsewhere: u64) {
    if core.rooms.congested > 0
        && let Some(room) = room
    {
        for index in 0..core.rooms.room(room).groups.len() {
            let group = core.rooms.room(room).groups[index];
            if core.rooms.is_congested(group) {
                holds::hold(core, id, Cause::Room(group));
            }
        }
    }
    holds::hold_for_windows(core, id, elsewhere);
}
