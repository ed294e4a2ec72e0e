//! The engine's words: values that every room may use and that know none of them.

pub(crate) mod audience;
pub(crate) mod disconnect;
pub(crate) mod errors;
pub(crate) mod info;
pub(crate) mod kept;
pub(crate) mod limits;
pub(crate) mod message;
pub(crate) mod outlet;
pub(crate) mod stats;
pub(crate) mod time;
