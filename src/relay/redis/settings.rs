//! What a Redis relay is told at its start, from flags or from the environment. Reads
//! neither itself.

use std::fmt;

use super::url::{RedisUrl, RedisUrlError};

/// The prefix of all keys and channels unless another is given.
pub const DEFAULT_PREFIX: &str = "shardcast:";
/// Bytes that a prefix may have.
const PREFIX_BYTES: usize = 128;

/// Where Redis is, and what of it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// The servers.
    pub url: RedisUrl,
    prefix: String,
}

/// A setting that cannot be used: its author wrote it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisSettingsError {
    /// The URL.
    Url(RedisUrlError),
    /// The prefix, and why.
    Prefix(&'static str),
    /// A variable of the environment, and what it may be.
    Variable(&'static str, &'static str),
}

impl fmt::Display for RedisSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Prefix(why) => write!(f, "the Redis prefix {why}"),
            Self::Variable(name, may_be) => write!(f, "{name} is not {may_be}"),
        }
    }
}

impl std::error::Error for RedisSettingsError {}

impl From<RedisUrlError> for RedisSettingsError {
    fn from(error: RedisUrlError) -> Self {
        Self::Url(error)
    }
}

impl RedisSettings {
    /// Servers by URL, and the prefix of every key and channel: 1 to 128 bytes without
    /// braces, the same for all nodes that are to behave as one, another for all others
    /// on the same server.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn new(url: &str, prefix: &str) -> Result<Self, RedisSettingsError> {
        let url = RedisUrl::parse(url)?;
        if prefix.is_empty() {
            return Err(RedisSettingsError::Prefix("is empty"));
        }
        if prefix.len() > PREFIX_BYTES {
            return Err(RedisSettingsError::Prefix("has more than 128 bytes"));
        }
        if prefix.contains(['{', '}']) {
            return Err(RedisSettingsError::Prefix(
                "has a brace, which decides the cluster's slot",
            ));
        }
        Ok(Self { url, prefix: prefix.to_owned() })
    }

    /// The variables that are known from other servers: `WS_ADAPTER` (`memory`, the
    /// default, or `redis`), `WS_REDIS_URL` (default `redis://localhost:6379`),
    /// `WS_REDIS_PREFIX` (default [`DEFAULT_PREFIX`]) and `WS_REDIS_POOL_SIZE`. The last
    /// must be a number from 1 to 10,000 and changes nothing: a node has two connections
    /// to each server, one that commands share by pipelining and one for subscriptions,
    /// and more would only lose their order.
    ///
    /// # Errors
    /// Which variable is wrong, and why.
    ///
    /// ```
    /// use shardcast::relay::redis::RedisSettings;
    /// let with_redis = |name: &str| (name == "WS_ADAPTER").then(|| "redis".to_owned());
    /// assert!(RedisSettings::from_env(with_redis).unwrap().is_some());
    /// assert!(RedisSettings::from_env(|_| None).unwrap().is_none());
    /// ```
    pub fn from_env(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, RedisSettingsError> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        match variable("WS_ADAPTER").as_deref() {
            None | Some("memory") => return Ok(None),
            Some("redis") => {}
            Some(_) => {
                return Err(RedisSettingsError::Variable("WS_ADAPTER", "\"memory\" or \"redis\""));
            }
        }
        if let Some(size) = variable("WS_REDIS_POOL_SIZE")
            && !size.parse::<u32>().is_ok_and(|size| (1..=10_000).contains(&size))
        {
            let may_be = "a number from 1 to 10000";
            return Err(RedisSettingsError::Variable("WS_REDIS_POOL_SIZE", may_be));
        }
        let url = variable("WS_REDIS_URL").unwrap_or_else(|| "redis://localhost:6379".to_owned());
        let prefix = variable("WS_REDIS_PREFIX").unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
        Self::new(&url, &prefix).map(Some)
    }

    /// The prefix of every key and channel.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Option<RedisSettings>, RedisSettingsError> {
        RedisSettings::from_env(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_is_read_only_where_redis_is_asked_for() {
        assert_eq!(from(&[("WS_REDIS_URL", "nonsense")]), Ok(None));
        assert_eq!(from(&[("WS_ADAPTER", "memory")]), Ok(None));
        let settings = from(&[("WS_ADAPTER", "redis"), ("WS_REDIS_PREFIX", "app:")]);
        assert_eq!(settings, RedisSettings::new("redis://localhost", "app:").map(Some));
    }

    #[test]
    fn each_wrong_setting_is_named() {
        for (name, value, text) in [
            ("WS_ADAPTER", "kafka", "WS_ADAPTER is not \"memory\" or \"redis\""),
            ("WS_REDIS_POOL_SIZE", "0", "WS_REDIS_POOL_SIZE is not a number from 1 to 10000"),
            ("WS_REDIS_PREFIX", "a{b", "the Redis prefix has a brace, which decides"),
            ("WS_REDIS_URL", "redis://", "the host of the Redis URL is missing"),
        ] {
            let error = from(&[(name, value), ("WS_ADAPTER", "redis")]).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
        }
        assert!(RedisSettings::new("redis://a", "").is_err());
        assert!(RedisSettings::new("redis://a", &"p".repeat(129)).is_err());
    }
}
