//! Where Redis is, as one URL: which servers, how they belong together, and who we are
//! there. Knows no connection.
//!
//! | form | servers |
//! | --- | --- |
//! | `redis://[user[:password]@]host[:port][/database]` | one |
//! | `redis+sentinel://[user[:password]@]host[:port],…/service[/database]` | the master of which these sentinels know |
//! | `redis+cluster://[user[:password]@]host[:port],…` | the cluster to which any of these belongs |
//!
//! `rediss` in place of `redis` asks for TLS, to sentinels too. Parameters: `ca=FILE`, the
//! certificates (PEM) that are trusted in place of the system's; `insecure=true`, no check
//! of the server's certificate at all; `sentinel_user=` and `sentinel_password=` for
//! sentinels that ask for them. What stands in a URL with another meaning is written with
//! `%` and two hexadecimal digits.

use std::{fmt, path::PathBuf};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name, or an address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How the servers belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// A master with replicas that sentinels know by this name.
    Sentinel(String),
    /// A cluster.
    Cluster,
}

/// What a connection by TLS trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A file of certificates (PEM); `None` for the system's.
    pub ca: Option<PathBuf>,
    /// Whether the server's certificate is taken as it is, which gives up what TLS is for
    /// but for secrecy from those who only listen.
    pub insecure: bool,
}

/// Name and password. Its debug form hides the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; `None` for the default one.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.password.as_ref().map(|_| "***");
        f.debug_struct("Credentials").field("user", &self.user).field("password", &hidden).finish()
    }
}

/// A URL that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// How the servers belong together.
    pub topology: Topology,
    /// The servers that are named, at least one: the server, the sentinels, or any of
    /// the cluster.
    pub servers: Vec<Address>,
    /// Who we are for the servers.
    pub credentials: Credentials,
    /// Who we are for the sentinels.
    pub sentinel: Credentials,
    /// The database's number, from 0; always 0 in a cluster.
    pub database: u32,
    /// TLS, if it is asked for.
    pub tls: Option<Tls>,
}

/// What is wrong with a URL: its author wrote it so. It quotes nothing that may be a part
/// of a password with a character in it that had to be written with `%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrlError {
    /// Which part.
    pub part: &'static str,
    text: String,
}

impl fmt::Display for RedisUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of the Redis URL {}", self.part, self.text)
    }
}

impl std::error::Error for RedisUrlError {}

fn wrong<T>(part: &'static str, text: impl Into<String>) -> Result<T, RedisUrlError> {
    Err(RedisUrlError { part, text: text.into() })
}

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// Which part is wrong, and why.
    ///
    /// ```
    /// use shardcast::relay::redis::RedisUrl;
    /// let url = RedisUrl::parse("redis+sentinel://s1,s2:26380/main/2").unwrap();
    /// assert_eq!((url.servers[0].port, url.servers[1].port, url.database), (26379, 26380, 2));
    /// let error = RedisUrl::parse("redis://host:port").unwrap_err();
    /// assert_eq!(error.to_string(), "the port of the Redis URL is not a number from 1 to 65535");
    /// ```
    pub fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("scheme", "is missing: it begins with redis:// or rediss://");
        };
        let (kind, tls) = scheme_of(scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (who, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let port = if kind == Kind::Sentinel { 26379 } else { 6379 };
        let servers =
            hosts.split(',').map(|host| address(host, port)).collect::<Result<Vec<_>, _>>()?;
        if kind == Kind::Single && servers.len() > 1 {
            return wrong("host", "is a list, which redis+sentinel:// and redis+cluster:// take");
        }
        let (topology, database) = path_of(kind, path)?;
        let mut url = Self {
            topology,
            servers,
            credentials: credentials(who)?,
            sentinel: Credentials::default(),
            database,
            tls: tls.then_some(Tls { ca: None, insecure: false }),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            url.set(pair)?;
        }
        Ok(url)
    }

    fn set(&mut self, pair: &str) -> Result<(), RedisUrlError> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded("parameter", value)?;
        match (name, &mut self.tls) {
            ("ca", Some(tls)) if !value.is_empty() => tls.ca = Some(value.into()),
            ("insecure", Some(tls)) => match value.as_str() {
                "true" | "1" => tls.insecure = true,
                "false" | "0" => tls.insecure = false,
                _ => return wrong("parameter", "insecure is neither true nor false"),
            },
            ("ca" | "insecure", None) => {
                return wrong("parameter", format!("{name} is for TLS: rediss://"));
            }
            ("sentinel_user", _) => self.sentinel.user = Some(value),
            ("sentinel_password", _) => self.sentinel.password = Some(value),
            _ => return wrong("parameter", "is none of ca=, insecure=, sentinel_user= and so on"),
        }
        Ok(())
    }
}

/// Without passwords, for logs.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() { "rediss" } else { "redis" };
        let (kind, service) = match &self.topology {
            Topology::Single => ("", String::new()),
            Topology::Sentinel(service) => ("+sentinel", format!("/{service}")),
            Topology::Cluster => ("+cluster", String::new()),
        };
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        write!(f, "{tls}{kind}://{}{service}", servers.join(","))?;
        if self.database > 0 { write!(f, "/{}", self.database) } else { Ok(()) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

fn scheme_of(scheme: &str) -> Result<(Kind, bool), RedisUrlError> {
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" => false,
        "rediss" => true,
        _ => return wrong("scheme", format!("is {scheme:?}, neither redis nor rediss")),
    };
    let kind = match kind {
        "" if !scheme.ends_with('+') => Kind::Single,
        "sentinel" => Kind::Sentinel,
        "cluster" => Kind::Cluster,
        _ => return wrong("scheme", format!("is {scheme:?}: +sentinel and +cluster are known")),
    };
    Ok((kind, tls))
}

fn path_of(kind: Kind, path: &str) -> Result<(Topology, u32), RedisUrlError> {
    match kind {
        Kind::Single => Ok((Topology::Single, database(path)?)),
        Kind::Sentinel => {
            let (service, number) = path.split_once('/').unwrap_or((path, ""));
            let service = decoded("service", service)?;
            if service.is_empty() {
                return wrong("service", "is missing: redis+sentinel://host/service");
            }
            Ok((Topology::Sentinel(service), database(number)?))
        }
        Kind::Cluster if database(path)? > 0 => {
            wrong("database", "is not 0, and a cluster has no other")
        }
        Kind::Cluster => Ok((Topology::Cluster, 0)),
    }
}

fn database(text: &str) -> Result<u32, RedisUrlError> {
    if text.is_empty() {
        return Ok(0);
    }
    match text.parse() {
        Ok(number) if number <= 65_535 => Ok(number),
        _ => wrong("database", "is not a number from 0 to 65535"),
    }
}

fn address(text: &str, default_port: u16) -> Result<Address, RedisUrlError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return wrong("host", "has no closing bracket");
        };
        match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if port.is_empty() => (host, None),
            None => return wrong("host", "goes on behind its bracket"),
        }
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    if host.is_empty() {
        return wrong("host", "is missing");
    }
    let host = decoded("host", host)?;
    let port = match port.map(str::parse::<u16>) {
        None => default_port,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return wrong("port", "is not a number from 1 to 65535"),
    };
    Ok(Address { host, port })
}

fn credentials(text: &str) -> Result<Credentials, RedisUrlError> {
    let (user, password) = text.split_once(':').map_or((text, None), |(u, p)| (u, Some(p)));
    let user = decoded("user", user)?;
    let password = password.map(|password| decoded("password", password)).transpose()?;
    if password.is_none() && !user.is_empty() {
        return wrong("password", "is missing behind the user: user:password@");
    }
    Ok(Credentials { user: Some(user).filter(|user| !user.is_empty()), password })
}

fn decoded(part: &'static str, text: &str) -> Result<String, RedisUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return wrong(part, "has a % without two hexadecimal digits");
        };
        bytes.push((high << 4 | low) as u8);
    }
    String::from_utf8(bytes).or_else(|_| wrong(part, "is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_url_is_read() {
        let url = RedisUrl::parse("rediss://al%3Aice:p%40ss@[::1]:7000/3?ca=/a%20b.pem").unwrap();
        assert_eq!(url.topology, Topology::Single);
        assert_eq!(url.servers, [Address { host: "::1".to_owned(), port: 7000 }]);
        assert_eq!(url.credentials.user.as_deref(), Some("al:ice"));
        assert_eq!(url.credentials.password.as_deref(), Some("p@ss"));
        assert_eq!((url.database, url.tls.unwrap().ca), (3, Some("/a b.pem".into())));
        let url = RedisUrl::parse("redis+cluster://:secret@a:1,b:2,c").unwrap();
        assert_eq!((url.topology, url.servers.len()), (Topology::Cluster, 3));
        assert_eq!((url.credentials.user, url.servers[2].port), (None, 6379));
        let url = RedisUrl::parse("rediss+sentinel://s/main?sentinel_password=x").unwrap();
        assert_eq!(url.topology, Topology::Sentinel("main".to_owned()));
        assert_eq!(url.sentinel.password.as_deref(), Some("x"));
    }

    #[test]
    fn each_wrong_part_of_a_url_is_named() {
        for (text, part) in [
            ("localhost:6379", "scheme"),
            ("http://localhost", "scheme"),
            ("redis+ring://localhost", "scheme"),
            ("redis+://localhost", "scheme"),
            ("redis://", "host"),
            ("redis://a,b", "host"),
            ("redis://[::1", "host"),
            ("redis+cluster://a,,b", "host"),
            ("redis://a:0", "port"),
            ("redis://a:65536", "port"),
            ("redis://a/x", "database"),
            ("redis+cluster://a/1", "database"),
            ("redis+sentinel://a", "service"),
            ("redis://user@a", "password"),
            ("redis://u%4:p@a", "user"),
            ("redis://u:%ff@a", "password"),
            ("redis://a?ca=x", "parameter"),
            ("rediss://a?insecure=perhaps", "parameter"),
            ("redis://a?timeout=1", "parameter"),
        ] {
            assert_eq!(RedisUrl::parse(text).unwrap_err().part, part, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = RedisUrl::parse("redis://u:hidden@a?sentinel_password=hidden").unwrap();
        assert!(!format!("{url:?} {url}").contains("hidden"));
        for text in ["redis://u:hidden@a:b", "redis://u:hidden/@a", "redis://u:x?hidden@a"] {
            let error = RedisUrl::parse(text).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hidden"), "{error}");
        }
    }
}
