//! The second step of a drain: every connection is told to go (1001), a slice each
//! turn. The steps themselves are in [`Drain`](crate::engine::process::drain::Drain).

use super::closing;
use crate::engine::{state::core::Core, types::disconnect::Disconnect};

/// Ends some more connections of a drain. Returns whether others are left.
pub(crate) fn close_some(core: &mut Core) -> bool {
    let Some(mut slot) = core.drain.next_to_close() else { return false };
    let (max, end) = (core.limits.sends_per_turn, core.connections.end());
    let mut ended = 0;
    while slot < end && ended < max {
        if core.connections.get(slot).is_some() {
            closing::disconnect(core, core.connections.id_of(slot), Disconnect::Shutdown);
            ended += 1;
        }
        slot += 1;
    }
    core.drain.closed_below(slot, end);
    slot < end
}
