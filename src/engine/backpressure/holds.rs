//! Who is not read for now, why, and when reading goes on. Knows connections, what
//! waits in rooms and in the windows to other shards; not what a message means.
//!
//! A connection is *held* when what it published into a room waits for the members
//! beyond the room's share, when it used up its share of the window to another shard, or
//! when its own answers wait. What had been read of it and not been looked at is
//! parked with it; its socket is not read, so that its peer's window fills. Nobody
//! else notices. It is resumed, in order of arrival, when half of that has gone.

use crate::{
    engine::{
        state::{
            connection::{Connection, State},
            core::Core,
            hold_queue::{Cause, Deferred, Parked, Resumed},
        },
        types::{audience::Target, outlet::SocketAction},
    },
    id::ConnId,
};

/// Whether there may be a cause to hold whoever publishes somewhere.
pub(crate) fn may_have_cause(core: &Core) -> bool {
    core.rooms.congested > 0 || core.outbound.windows.any_full()
}

/// Why `id` must be held before it publishes to `target`, if it must.
pub(crate) fn cause_for(core: &Core, id: ConnId, target: Target<'_>) -> Option<Cause> {
    let room = core.rooms.find(target.space(), target.name());
    if let Some(room) = room
        && let Some(group) = core.rooms.congested_group(room)
    {
        return Some(Cause::Room(group));
    }
    let mut elsewhere = core.shards_of(target, room) & !(1 << core.shard);
    if core.process.relay.is_some() {
        elsewhere |= 1 << core.process.relay_window();
    }
    let (shard, why) = core.outbound.windows.exhausted(elsewhere, id)?;
    Some(Cause::Window(shard, why))
}

/// Holds a connection: nothing more of it is looked at until `cause` is gone. One
/// that is held already waits for that afterwards.
pub(crate) fn hold(core: &mut Core, id: ConnId, cause: Cause) {
    let Some(connection) = core.find_mut(id) else { return };
    if connection.state != State::Open {
        return;
    }
    if connection.flags.held {
        if let Some(parked) = parked_mut(core, id) {
            parked.wait_then(cause);
        }
        return;
    }
    connection.flags.held = true;
    connection.extra().parked = Some(Box::new(Parked::new(cause)));
    if !std::mem::replace(&mut connection.flags.paused, true) {
        core.socket_actions.push(SocketAction::Hold(id, true));
    }
    core.holds.held += 1;
    core.stats.holds += 1;
    wait_for(core, id, cause);
}

/// Has a held connection told when `cause` is gone.
fn wait_for(core: &mut Core, id: ConnId, cause: Cause) {
    match cause {
        Cause::Room(group) => core.holds.wait_for(group, id),
        Cause::Window(shard, why) => {
            if core.outbound.windows.wait(shard, id, why) {
                request_credit(core, shard);
            }
        }
        // The flush looks at it even if it has nothing to send it: what it waits
        // for may be with the driver, or be sent to somebody else.
        Cause::Answers => core.mark_ready(id.slot()),
        Cause::Turn => core.holds.push_ready(id),
    }
}

/// Whether a held connection that waits no more for what it did has reason to wait
/// for something else. Then it does.
fn waits_on(core: &mut Core, id: ConnId) -> bool {
    while let Some(parked) = open_and_parked(core, id)
        && let Some(cause) = parked.next_cause()
    {
        let cause = match cause {
            Cause::Room(group) if core.rooms.is_congested(group) => cause,
            Cause::Window(shard, _) => match core.outbound.windows.exhausted(1 << shard, id) {
                Some((shard, why)) => Cause::Window(shard, why),
                None => continue,
            },
            _ => continue,
        };
        if let Some(parked) = parked_mut(core, id) {
            parked.cause = cause;
        }
        wait_for(core, id, cause);
        return true;
    }
    false
}

/// What is parked of a connection that is held and not about to end.
fn open_and_parked(core: &mut Core, id: ConnId) -> Option<&mut Parked> {
    let connection = core.find_mut(id).filter(|found| found.state == State::Open)?;
    connection.extra.as_mut()?.parked.as_deref_mut()
}

/// Keeps a message of a held connection for later.
pub(crate) fn defer(core: &mut Core, id: ConnId, message: Deferred) {
    if let Some(parked) = parked_mut(core, id) {
        parked.defer(message);
    }
}

/// Keeps bytes of a held connection for later.
pub(crate) fn park(core: &mut Core, id: ConnId, bytes: &[u8]) {
    if !bytes.is_empty()
        && let Some(parked) = parked_mut(core, id)
    {
        parked.park(bytes);
    }
}

/// The same with a buffer of which the bytes from `at` on are left.
pub(crate) fn park_rest(core: &mut Core, id: ConnId, input: Vec<u8>, at: usize) {
    if at < input.len()
        && let Some(parked) = parked_mut(core, id)
    {
        parked.park_rest(input, at);
    }
}

fn parked_mut(core: &mut Core, id: ConnId) -> Option<&mut Parked> {
    core.find_mut(id)?.extra.as_mut()?.parked.as_deref_mut()
}

/// Whether `id` is held and waits for `cause`.
fn waits_for(core: &Core, id: ConnId, cause: Cause) -> bool {
    let parked = |connection: &Connection| {
        connection.extra.as_ref()?.parked.as_ref().map(|parked| parked.cause)
    };
    core.find(id).and_then(parked) == Some(cause)
}

/// How long the turn's buffer of direct sends may become before `id` is held: its
/// own answers may take half of its budget.
pub(crate) fn room_for_answers(core: &Core, id: ConnId) -> usize {
    let send_queue = core.find(id).and_then(|connection| connection.send_queue.as_ref());
    let waiting = send_queue.map_or(0, |send_queue| send_queue.answer_bytes());
    core.direct.len() + (core.limits.queue_bytes / 2).saturating_sub(waiting)
}

/// Releases `id` if it waits for its own answers and half of them have gone.
pub(crate) fn release_if_answered(core: &mut Core, id: ConnId) {
    let Some(connection) = core.find(id).filter(|connection| connection.flags.held) else {
        return;
    };
    let waiting = connection.send_queue.as_ref().map_or(0, |send_queue| send_queue.answer_bytes());
    if waiting <= core.limits.queue_bytes / 4 && waits_for(core, id, Cause::Answers) {
        core.holds.push_ready(id);
    }
}

/// Another shard has taken what connections were charged for.
pub(crate) fn on_credit(core: &mut Core, shard: u8, credits: &[(ConnId, u32)]) {
    let holds = &mut core.holds;
    if core.outbound.windows.credit(shard, credits, |id| holds.push_ready(id)) {
        request_credit(core, shard);
    }
}

/// Has whatever is behind a window return credit at once.
fn request_credit(core: &mut Core, window: u8) {
    match &core.process.relay {
        Some(relay) if window == core.process.relay_window() => relay.request_credit(core.shard),
        _ => core.outbound.request_credit(window),
    }
}

/// A shard has ended: nobody waits for it any more.
pub(crate) fn on_shard_ended(core: &mut Core, shard: u8) {
    let holds = &mut core.holds;
    core.outbound.windows.forget(shard, |id| holds.push_ready(id));
}

/// `id` may go on, whatever it waited for.
pub(crate) fn release(core: &mut Core, id: ConnId) {
    if core.find(id).is_some_and(|connection| connection.flags.held) {
        core.holds.push_ready(id);
    }
}

/// The next connection that can go on, with what was parked of it.
pub(crate) fn next_resumed(core: &mut Core) -> Option<Resumed> {
    loop {
        let id = match core.holds.pop_ready() {
            Some(id) => id,
            None => next_of_relieved(core)?,
        };
        if waits_on(core, id) {
            continue;
        }
        let now = core.now.tick();
        let Some(connection) = core.find_mut(id) else { continue };
        if !std::mem::take(&mut connection.flags.held) {
            continue;
        }
        // The hold was not the peer's silence.
        connection.flags.pinged = false;
        let parked = connection.extra.as_mut().and_then(|extra| extra.parked.take());
        connection.last_received = now;
        core.holds.held -= 1;
        let Some(parked) = parked else { continue };
        return Some(parked.into_resumed(id));
    }
}

/// The first in line for a group that is not congested any more.
fn next_of_relieved(core: &mut Core) -> Option<ConnId> {
    while let Some(group) = core.holds.first_relieved() {
        let congested = core.rooms.is_congested(group);
        let next = if congested { None } else { core.holds.first_for(group) };
        let Some(id) = next else {
            core.holds.forget_first_relieved();
            continue;
        };
        if waits_for(core, id, Cause::Room(group)) {
            return Some(id);
        }
    }
    None
}

/// A connection that was resumed has had all that was parked of it looked at: its
/// socket is read again.
pub(crate) fn unpause(core: &mut Core, id: ConnId) {
    let Some(connection) = core.find_mut(id) else { return };
    if !connection.flags.held && std::mem::take(&mut connection.flags.paused) {
        core.socket_actions.push(SocketAction::Hold(id, false));
    }
}

/// Holds who has just sent something to `shards`, one bit each, if more of it is on
/// the way to some of them than should.
pub(crate) fn hold_for_windows(core: &mut Core, id: ConnId, shards: u64) {
    let mut left = shards;
    while left != 0
        && let Some((shard, why)) = core.outbound.windows.exhausted(left, id)
    {
        hold(core, id, Cause::Window(shard, why));
        left &= !(u64::MAX >> (63 - shard));
    }
}
