//! The checked settings of a server. Made once from the arguments; nothing
//! after this needs to ask whether a value makes sense.

use std::ffi::OsString;

use clap::{Parser, error::ErrorKind};
use tracing_subscriber::filter::Targets;

use super::{
    ServerError,
    answers::{HEALTH, READY},
    complaint,
    flags::{Flags, Instead},
    relaying::RelaySettings,
};
use crate::{dialect::Dialect, engine::Limits, shard::DriverKind};

/// Everything that a server is told before it starts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Where to listen: `address:port`.
    pub listen: String,
    /// How many shards; `None`: one for each core that the process may use.
    pub shards: Option<usize>,
    /// Whether each shard is bound to a core of its own.
    pub pin: bool,
    /// How the shards talk to the kernel.
    pub driver: DriverKind,
    /// The wire format of clients that name none.
    pub dialect: Dialect,
    /// The path of WebSocket connections.
    pub path: String,
    /// What to log.
    pub log: Targets,
    /// All bounds and time-outs.
    pub limits: Limits,
    /// The way to other nodes, and what is kept of rooms.
    pub relay: RelaySettings,
}

/// What the arguments ask for.
#[derive(Debug)]
pub enum Request {
    /// Serve with these settings.
    Run(Box<Settings>),
    /// Say what this host supports; see [`probe`](super::probe).
    Probe,
    /// Print this (the help, the version) and end.
    Print(String),
}

/// What no arguments at all mean.
impl Default for Settings {
    fn default() -> Self {
        let flags = Flags::parse_from(["shardcast"]);
        Self::check(flags).expect("the defaults fit together, as a test shows")
    }
}

impl Settings {
    /// Reads the arguments of a program, its name first.
    ///
    /// # Errors
    /// [`ServerError::Usage`], with a sentence that names the flag.
    pub fn from_args<I>(arguments: I) -> Result<Request, ServerError>
    where
        I: IntoIterator<Item: Into<OsString> + Clone>,
    {
        match Flags::try_parse_from(arguments) {
            Ok(Flags { instead: Some(Instead::Probe), .. }) => Ok(Request::Probe),
            Ok(flags) => Ok(Request::Run(Box::new(Self::check(flags)?))),
            Err(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Request::Print(error.render().to_string()))
                }
                _ => Err(ServerError::Usage(complaint::of_parser(&error))),
            },
        }
    }

    fn check(flags: Flags) -> Result<Self, ServerError> {
        let Flags { serving, clients, messages, queues, times, relaying, instead: _ } = flags;
        let limits = Limits {
            connections: or_unlimited(clients.connections),
            members_per_room: or_unlimited(clients.members_per_room),
            connections_per_address: or_unlimited(clients.connections_per_address),
            ipv6_prefix_bits: clients.ipv6_prefix_bits,
            rooms_per_connection: clients.rooms_per_connection,
            message_bytes: messages.message_bytes.0,
            frames_per_message: messages.frames_per_message,
            head_bytes: messages.head_bytes.0,
            queue_bytes: queues.queue_bytes.0,
            slow_policy: queues.slow_policy,
            room_share_bytes: queues.room_share_bytes.0,
            window_bytes: queues.window_bytes.0,
            handshake_timeout: times.handshake_timeout.0,
            ping_interval: times.ping_interval.0,
            pong_timeout: times.pong_timeout.0,
            write_timeout: times.write_timeout.0,
            close_timeout: times.close_timeout.0,
            drain_timeout: times.drain_timeout.0,
            ..Limits::default()
        };
        limits.check().map_err(|why| ServerError::Usage(complaint::of_limits(&why)))?;
        Ok(Self {
            listen: address(serving.listen)?,
            shards: serving.shards,
            pin: !serving.no_pin,
            driver: serving.driver,
            dialect: serving.dialect,
            path: path(serving.path)?,
            log: serving.log,
            relay: RelaySettings::check(relaying, |name| std::env::var(name).ok())?,
            limits,
        })
    }
}

/// The `pubsub` seed's convention: 0 connections means as many as come.
fn or_unlimited(count: usize) -> usize {
    if count == 0 { usize::MAX } else { count }
}

/// An address in form; whether it exists, binding it will show.
fn address(text: String) -> Result<String, ServerError> {
    let parts = text.rsplit_once(':');
    if parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Ok(text);
    }
    Err(ServerError::Usage(format!(
        "--listen: '{text}' is not address:port, such as 127.0.0.1:8080"
    )))
}

/// A path that a client can name without escapes and that hides no other.
fn path(text: String) -> Result<String, ServerError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let named = text.strip_prefix('/').is_some_and(|rest| {
        // `.` and `..` are resolved before a client sends them.
        rest.split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain))
    });
    if !named {
        return Err(ServerError::Usage(format!(
            "--path: '{text}' is not a path such as /ws, of letters, digits and - . _ ~"
        )));
    }
    for (path, what) in [(HEALTH, "the health"), (READY, "whether the server is ready")] {
        if text == path {
            return Err(ServerError::Usage(format!("--path: {text} is where {what} is told")));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        engine::SlowPolicy,
        relay::{pattern::Pattern, redis::RedisSettings},
        server::rules::history_rule,
    };

    fn settings(arguments: &[&str]) -> Result<Settings, String> {
        let all = std::iter::once(&"shardcast").chain(arguments);
        match Settings::from_args(all) {
            Ok(Request::Run(settings)) => Ok(*settings),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn no_arguments_give_the_limits_of_the_engine() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.dialect, Dialect::default());
        assert_eq!(settings.driver, DriverKind::default());
        assert_eq!((settings.shards, settings.pin), (None, true));
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let text = "--listen [::]:9 --shards 3 --no-pin --driver epoll --dialect raw --path /a/b \
            --log debug --max-connections 1 --max-connections-per-room 2 \
            --max-connections-per-address 3 --ipv6-prefix-bits 56 --max-rooms-per-connection 4 --max-message-size 5 \
            --max-frames-per-message 6 --max-head-size 7k --queue-bytes 8m \
            --slow-policy conflate --room-share-bytes 9 --window-bytes 10 \
            --handshake-timeout 11s --ping-interval 12ms --pong-timeout 13m --write-timeout 14s \
            --close-timeout 15s --drain-timeout 16s --relay redis://localhost \
            --relay-prefix app: --history a*=17,18s --history b=19,20m --presence p1 --presence p2 \
            --relay-outage-bytes 21k --relay-outage-age 22s";
        let arguments: Vec<&str> = text.split_whitespace().collect();
        let expected = Settings {
            listen: "[::]:9".to_owned(),
            shards: Some(3),
            pin: false,
            driver: DriverKind::Epoll,
            dialect: Dialect::Raw,
            path: "/a/b".to_owned(),
            log: "debug".parse().unwrap(),
            limits: Limits {
                connections: 1,
                members_per_room: 2,
                connections_per_address: 3,
                ipv6_prefix_bits: 56,
                rooms_per_connection: 4,
                message_bytes: 5,
                frames_per_message: 6,
                head_bytes: 7 * 1024,
                queue_bytes: 8 * 1024 * 1024,
                slow_policy: SlowPolicy::Conflate,
                room_share_bytes: 9,
                window_bytes: 10,
                handshake_timeout: Duration::from_secs(11),
                ping_interval: Duration::from_millis(12),
                pong_timeout: Duration::from_secs(13 * 60),
                write_timeout: Duration::from_secs(14),
                close_timeout: Duration::from_secs(15),
                drain_timeout: Duration::from_secs(16),
                ..Limits::default()
            },
            relay: RelaySettings {
                redis: Some(RedisSettings::new("redis://localhost", "app:").unwrap()),
                history: vec![
                    history_rule("a*=17,18s").unwrap(),
                    history_rule("b=19,20m").unwrap(),
                ],
                history_file: None,
                presence: ["p1", "p2"].map(|text| Pattern::parse(text).unwrap()).to_vec(),
                outage_bytes: 21 * 1024,
                outage_age: Duration::from_secs(22),
            },
        };
        assert_eq!(settings(&arguments), Ok(expected));
    }

    #[test]
    fn a_log_filter_without_a_known_level_is_refused_and_not_taken_for_a_module() {
        for (text, wrong) in [("debgu", "debgu"), ("info,shardcast", "shardcast"), ("", "")] {
            let error = settings(&["--log", text]).unwrap_err();
            assert!(error.starts_with("--log: "), "{error}");
            assert!(error.contains(&format!("'{wrong}' is neither a level")), "{error}");
        }
        assert!(settings(&["--log", "shardcast=debgu"]).unwrap_err().starts_with("--log: "));
        for text in ["debug", "WARN", "off", "info,shardcast=debug", "info, shardcast::shard=trace"]
        {
            assert!(settings(&["--log", text]).is_ok(), "{text}");
        }
    }

    #[test]
    fn no_limit_on_connections_is_written_as_zero() {
        let settings = settings(&["--max-connections=0", "--max-connections-per-room=0"]).unwrap();
        assert_eq!(settings.limits.connections, usize::MAX);
        assert_eq!(settings.limits.members_per_room, usize::MAX);
    }
}
