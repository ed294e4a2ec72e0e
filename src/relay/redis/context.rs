//! What everything that serves one broker shares.

use super::{link::Events, names::Names, scripts::Scripts, settings::RedisSettings};

pub(super) struct Context {
    pub(super) settings: RedisSettings,
    pub(super) names: Names,
    pub(super) scripts: Scripts,
    /// Where links say what happens on them.
    pub(super) events: Events,
}
