//! The flags: one table from which the parser, the help and the defaults come.
//! What they say is raw; `settings` makes checked values of it.

use std::{path::PathBuf, time::Duration};

use clap::{
    ArgAction, Args, Parser, Subcommand,
    builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser},
};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};

use super::{
    rules::{history_rule, pattern},
    units::{ByteSize, TimeSpan},
};
use crate::{
    dialect::Dialect,
    engine::{Limits, SlowPolicy},
    relay::{node::HistoryRule, pattern::Pattern},
    shard::DriverKind,
};

/// A WebSocket server: one thread per core, rooms, publish and subscribe.
///
/// WebSocket clients connect to /ws, or to /ws/<DIALECT> for another wire format
/// than that of --dialect. GET /health says how many clients and rooms there are.
///
/// SIGTERM or SIGINT (Ctrl-C) closes every connection in good order and ends
/// with code 0; a second one ends at once.
#[derive(Debug, Parser)]
#[command(
    name = "shardcast",
    version,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "A size is in bytes, or has the suffix k (KiB) or m (MiB): 4096, 64k, 1m.\n\
                  A time has a unit: 500ms, 10s, 2m.\n\
                  A count of 0 for connections means no limit but the descriptors."
)]
pub(super) struct Flags {
    #[command(subcommand)]
    pub(super) instead: Option<Instead>,
    #[command(flatten)]
    pub(super) serving: Serving,
    #[command(flatten)]
    pub(super) clients: Clients,
    #[command(flatten)]
    pub(super) messages: Messages,
    #[command(flatten)]
    pub(super) queues: Queues,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) relaying: Relaying,
}

/// What can be done instead of serving.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Instead {
    /// Say what this host supports and which driver auto would choose, and end
    #[command(long_about = "Says what this host supports, one fact a line, and which driver \
                      --driver auto would choose and why. Serves nothing and always ends with \
                      code 0.")]
    Probe,
}

// The name of a field that fills in one of `Limits` is that of the limit.

#[derive(Debug, Args)]
#[command(next_help_heading = "Serving")]
pub(super) struct Serving {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub(super) listen: String,
    /// Threads that serve, 1 to 64 [default: one for each core]
    #[arg(long, value_name = "COUNT", value_parser = shards())]
    pub(super) shards: Option<usize>,
    /// Do not bind each shard to a core of its own [default: bind]
    #[arg(long)]
    pub(super) no_pin: bool,
    #[arg(
        long,
        default_value = DriverKind::default().name(),
        value_parser = driver(),
        help = "How to talk to the kernel: by readiness (epoll), by completions of io_uring \
                (uring), or by whichever is better here (auto; 'shardcast probe' says which). \
                Where the host refuses io_uring, uring and auto run on epoll, and the log says why"
    )]
    pub(super) driver: DriverKind,
    /// Wire format of clients that name none; raw echoes every message
    #[arg(long, default_value = Dialect::default().name(), value_parser = dialect())]
    pub(super) dialect: Dialect,
    /// Path of WebSocket connections
    #[arg(long, default_value = "/ws")]
    pub(super) path: String,
    /// What to log on stderr: error, warn, info, debug, trace or off, also by
    /// module, as in info,shardcast=debug
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub(super) log: Targets,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(super) struct Clients {
    /// Connections in all
    #[arg(long = "max-connections", value_name = "COUNT",
          default_value_t = limits().connections)]
    pub(super) connections: usize,
    /// Connections in one room
    #[arg(long = "max-connections-per-room", value_name = "COUNT",
          default_value_t = limits().members_per_room)]
    pub(super) members_per_room: usize,
    /// Connections from one address
    #[arg(long = "max-connections-per-address", value_name = "COUNT",
          default_value_t = limits().connections_per_address)]
    pub(super) connections_per_address: usize,
    /// Bits of an IPv6 address that count as one address, 1 to 128
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<u8>::new().range(1..=128),
          default_value_t = limits().ipv6_prefix_bits)]
    pub(super) ipv6_prefix_bits: u8,
    /// Rooms that one connection may be in
    #[arg(long = "max-rooms-per-connection", value_name = "COUNT",
          default_value_t = limits().rooms_per_connection)]
    pub(super) rooms_per_connection: usize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub(super) struct Messages {
    /// Bytes of one message, all its frames together
    #[arg(long = "max-message-size", value_name = "SIZE",
          default_value_t = ByteSize(limits().message_bytes))]
    pub(super) message_bytes: ByteSize,
    /// Frames of one message
    #[arg(long = "max-frames-per-message", value_name = "COUNT",
          default_value_t = limits().frames_per_message)]
    pub(super) frames_per_message: u32,
    /// Bytes of the HTTP request head
    #[arg(long = "max-head-size", value_name = "SIZE",
          default_value_t = ByteSize(limits().head_bytes))]
    pub(super) head_bytes: ByteSize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Queues")]
pub(super) struct Queues {
    /// Bytes that may wait for one slow connection
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(limits().queue_bytes))]
    pub(super) queue_bytes: ByteSize,
    /// What to do when more would wait
    #[arg(long, default_value = limits().slow_policy.name(), value_parser = slow_policy())]
    pub(super) slow_policy: SlowPolicy,
    /// Bytes published into one room that may wait for its members before whoever
    /// publishes is not read any more
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(limits().room_share_bytes))]
    pub(super) room_share_bytes: ByteSize,
    /// Bytes on the way from one shard to another
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(limits().window_bytes))]
    pub(super) window_bytes: ByteSize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Times")]
pub(super) struct Times {
    /// How long a request head may take to come
    #[arg(long, value_name = "TIME", value_parser = TimeSpan::positive,
          default_value_t = TimeSpan(limits().handshake_timeout))]
    pub(super) handshake_timeout: TimeSpan,
    /// A client that was silent for so long is pinged; 0s: never
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(limits().ping_interval))]
    pub(super) ping_interval: TimeSpan,
    /// A client that was silent for so long is closed; 0s: never
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(limits().pong_timeout))]
    pub(super) pong_timeout: TimeSpan,
    /// A client that takes nothing for so long is cut off
    #[arg(long, value_name = "TIME", value_parser = TimeSpan::positive,
          default_value_t = TimeSpan(limits().write_timeout))]
    pub(super) write_timeout: TimeSpan,
    /// How long a client may take to answer a close
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(limits().close_timeout))]
    pub(super) close_timeout: TimeSpan,
    /// How long closing all connections may take at the end
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(limits().drain_timeout))]
    pub(super) drain_timeout: TimeSpan,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Several nodes, history and presence")]
pub(super) struct Relaying {
    #[arg(
        long,
        value_name = "URL",
        help = "Behave as one server with all others that have the same Redis and prefix: \
                redis://HOST, rediss:// for TLS, redis+sentinel://HOST,HOST/SERVICE, \
                redis+cluster://HOST,HOST [default: none]"
    )]
    pub(super) relay: Option<String>,
    /// What all keys and channels in Redis begin with [default: shardcast:]
    #[arg(long, value_name = "PREFIX")]
    pub(super) relay_prefix: Option<String>,
    /// Keep what is published in rooms of that name, * for any characters: so many
    /// messages for so long. May be repeated, the first that fits counts
    #[arg(long, value_name = "PATTERN=COUNT,TIME", value_parser = history_rule,
          action = ArgAction::Append)]
    pub(super) history: Vec<HistoryRule>,
    /// Keep it in this file over a restart, where there is no Redis
    #[arg(long, value_name = "FILE")]
    pub(super) history_file: Option<PathBuf>,
    /// Keep who is in rooms of that name, * for any characters. May be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern, action = ArgAction::Append)]
    pub(super) presence: Vec<Pattern>,
    /// Bytes of messages that wait for a Redis that is away; the oldest are dropped
    /// beyond
    #[arg(long = "relay-outage-bytes", value_name = "SIZE", default_value_t = ByteSize(16 << 20))]
    pub(super) outage_bytes: ByteSize,
    /// How long a message waits for a Redis that is away
    #[arg(long = "relay-outage-age", value_name = "TIME", value_parser = TimeSpan::positive,
          default_value_t = TimeSpan(Duration::from_secs(30)))]
    pub(super) outage_age: TimeSpan,
}

fn limits() -> Limits {
    Limits::default()
}

fn shards() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=Limits::SHARDS as u64)
}

/// A word without `=` is a level. To the parser of filters one that is none is the
/// name of a module, and a slip of the finger would silence all others.
fn log_filter(text: &str) -> Result<Targets, String> {
    for part in text.split(',').map(str::trim) {
        if part.is_empty() || (!part.contains('=') && part.parse::<LevelFilter>().is_err()) {
            return Err(format!(
                "'{part}' is neither a level (error, warn, info, debug, trace, off) nor a module \
                 with one, such as shardcast=debug"
            ));
        }
    }
    text.parse().map_err(|error: ParseError| error.to_string())
}

fn driver() -> impl TypedValueParser<Value = DriverKind> {
    named(DriverKind::ALL.map(DriverKind::name), DriverKind::by_name)
}

fn dialect() -> impl TypedValueParser<Value = Dialect> {
    named(Dialect::ALL.iter().map(|dialect| dialect.name()), Dialect::by_name)
}

fn slow_policy() -> impl TypedValueParser<Value = SlowPolicy> {
    named(SlowPolicy::ALL.map(SlowPolicy::name), SlowPolicy::by_name)
}

/// One of the things that have these names.
fn named<T: Clone + Send + Sync + 'static>(
    names: impl IntoIterator<Item = &'static str>,
    by_name: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(move |name| by_name(&name).ok_or("unknown name"))
}
