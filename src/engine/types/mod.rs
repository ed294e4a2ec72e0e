//! Values that every room of the engine may use, and that know none of them: limits,
//! time, errors, counters, and what the embedding program sees.

pub(crate) mod audience;
pub(crate) mod disconnect;
pub(crate) mod errors;
pub(crate) mod info;
pub(crate) mod kept;
pub(crate) mod limits;
pub(crate) mod message;
pub(crate) mod outlet;
pub(crate) mod relaying;
pub(crate) mod slow_policy;
pub(crate) mod stats;
pub(crate) mod time;
