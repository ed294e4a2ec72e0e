//! What the shards of a process share (`shared`: the directory of rooms, the count of
//! connections, the drain, their pulses) and send each other (`mail`). Knows no
//! connection's state.

pub(crate) mod admission;
pub(crate) mod directory;
pub(crate) mod drain;
pub(crate) mod mail;
pub(crate) mod once;
pub(crate) mod pulse;
pub(crate) mod shared;
pub(crate) mod shared_room;
