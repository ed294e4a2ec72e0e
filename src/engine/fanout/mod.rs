//! From one message to many members: into the rooms' logs (`publish`), and at the end
//! of the turn out of them, one batch for each connection (`flush`, which goes through
//! rooms by `scan` and serves a connection by `serve`; `gather` merges what it has
//! coming). Knows no handlers.

pub(crate) mod flush;
pub(crate) mod gather;
pub(crate) mod publish;
pub(crate) mod scan;
pub(crate) mod send;
pub(crate) mod serve;
