//! How connections come, join, leave and end: accepting and its limits
//! (`accepting`), memberships, time-outs (`deadlines`), the close handshake
//! (`closing`) and the engine's own end (`draining`). Knows no messages.

pub(crate) mod accepting;
pub(crate) mod closing;
pub(crate) mod deadlines;
pub(crate) mod draining;
pub(crate) mod membership;
