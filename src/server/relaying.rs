//! The relay that a server is told to have: Redis by URL, or the memory of this process
//! where rooms have history or presence and there is no Redis. Knows flags and variables;
//! not how a relay works.

use std::{path::PathBuf, time::Duration};

use super::ServerError;
use crate::{
    relay::{
        Relay,
        memory::MemoryRelay,
        node::{HistoryRule, NodeSettings},
        pattern::Pattern,
        redis::{DEFAULT_PREFIX, RedisRelay, RedisSettings},
    },
    server::flags,
};

/// What is told of a relay.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RelaySettings {
    /// Where Redis is; `None` for none.
    pub redis: Option<RedisSettings>,
    /// Rooms with history.
    pub history: Vec<HistoryRule>,
    /// Where the history of one node is kept over a restart.
    pub history_file: Option<PathBuf>,
    /// Rooms whose presence is kept.
    pub presence: Vec<Pattern>,
    /// Bytes that wait for a Redis that is away.
    pub outage_bytes: usize,
    /// How long they wait.
    pub outage_age: Duration,
}

impl RelaySettings {
    /// Checks the flags, and where they say nothing of Redis the environment.
    pub(super) fn check(
        flags: flags::Relaying,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ServerError> {
        let prefix = flags.relay_prefix.clone();
        let redis = match &flags.relay {
            None => {
                // A flag counts for more than the variable.
                let variable = |name: &str| match &prefix {
                    Some(prefix) if name == "WS_REDIS_PREFIX" => Some(prefix.clone()),
                    _ => variable(name),
                };
                let redis = RedisSettings::from_env(variable).map_err(usage)?;
                if redis.is_none() && prefix.is_some() {
                    let text = "--relay-prefix is of no use without --relay";
                    return Err(ServerError::Usage(text.to_owned()));
                }
                redis
            }
            Some(url) => {
                let prefix = prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
                let redis = RedisSettings::new(url, prefix);
                Some(redis.map_err(|error| ServerError::Usage(format!("--relay: {error}")))?)
            }
        };
        if flags.history_file.is_some() && (redis.is_some() || flags.history.is_empty()) {
            let text = "--history-file is for rooms with --history, where there is no Redis";
            return Err(ServerError::Usage(text.to_owned()));
        }
        Ok(Self {
            redis,
            history: flags.history,
            history_file: flags.history_file,
            presence: flags.presence,
            outage_bytes: flags.outage_bytes.0,
            outage_age: flags.outage_age.0,
        })
    }

    /// The relay, if one is needed.
    ///
    /// # Errors
    /// A file of history that cannot be read.
    pub(super) fn relay(&self) -> Result<Option<Box<dyn Relay>>, ServerError> {
        let node = NodeSettings {
            history: self.history.clone(),
            presence: self.presence.clone(),
            outage_bytes: self.outage_bytes,
            outage_age_ms: self.outage_age.as_millis() as u64,
            ..NodeSettings::default()
        };
        if let Some(redis) = &self.redis {
            return Ok(Some(Box::new(RedisRelay::new(redis.clone(), node))));
        }
        if self.history.is_empty() && self.presence.is_empty() {
            return Ok(None);
        }
        let relay = match &self.history_file {
            Some(path) => MemoryRelay::with_file(node, path).map_err(|error| {
                ServerError::Usage(format!("--history-file '{}': {error}", path.display()))
            })?,
            None => MemoryRelay::new(node),
        };
        Ok(Some(Box::new(relay)))
    }
}

fn usage(error: impl std::fmt::Display) -> ServerError {
    ServerError::Usage(error.to_string())
}
