//! What `loadtest hostile` can be asked for: the cases and the numbers that
//! make them larger or smaller.

use super::findings::Findings;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Something that some clients do to the others, and what must hold meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Every case, shortly, and a table with one line for each
    All,
    /// Publishers without pause into a room of readers, on the other shard if
    /// there are two: nothing accepted is lost in silence, memory is bounded
    FloodRoom,
    /// Clients that broadcast without pause: nobody who reads and answers is closed
    FloodEveryone,
    /// The server is stopped for longer than its pong timeout: nobody is closed
    Frozen,
    /// Readers in 127 rooms each: strangers wait no longer than with one room
    ManyRooms,
    /// Stalled members in 127 rooms under each lossy policy: bounded memory
    Lossy,
    /// Stalled readers of large messages: bounded kernel memory
    StalledLarge,
    /// Members that read slowly but steadily stay, or are told
    Steady,
    /// Clients that send all before they read: everything is echoed
    EchoUnread,
    /// Clients that cause errors and never read them: bounded memory
    ErrorsUnread,
    /// HTTP connections from one address: probes from others are answered
    Http,
    /// No descriptor is left: the surplus is told, the log stays short
    Full,
    /// Plain requests all at once: strangers do not notice
    PlainGets,
    /// A publisher that is held and released as often as possible: what it costs
    Hold,
}

/// The numbers of a hostile run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Cases, one after the other, each against a fresh server
    #[arg(value_enum, required = true, value_name = "CASE")]
    pub(crate) cases: Vec<Case>,

    /// The server to start [default: `shardcast` beside this program]
    #[arg(long)]
    pub(crate) server: Option<PathBuf>,

    /// One more argument for the server to start; may be repeated
    #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) server_args: Vec<String>,

    /// Driver of the server to start, such as epoll
    #[arg(long)]
    pub(crate) driver: Option<String>,

    /// Shards of the server to start [default: 2; plain-gets: 1]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    shards: Option<u8>,

    /// Seconds of attack [default: by case, 3 to 15; all: 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,

    /// Clients that the case is about: members, readers, those that stall or
    /// that attack [default: by case, 200 to 2,000; all: fewer]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    connections: Option<u32>,

    /// Publishers without pause (flood-room, flood-everyone)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(crate) flooders: u8,

    /// Bytes of each message [default: 100; stalled-large: 100,000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=262_144))]
    size: Option<u32>,

    /// What the kernel may keep for a stalled reader (stalled-large)
    #[arg(long, value_name = "BYTES", default_value_t = 512 * 1024)]
    pub(crate) kernel_bytes: u64,

    /// How long the server stands still, as in `70s` (frozen) [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = pause)]
    pub(crate) frozen_for: Option<Duration>,

    /// Pings of strangers per second, all together
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u32).range(8..=10_000))]
    pub(crate) pings: u32,
}

/// A time of at least three seconds, which is above the pong timeout, and at most
/// ten minutes.
fn pause(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_secs(3)..=Duration::from_secs(600);
    if allowed.contains(&time) { Ok(time) } else { Err("a time from 3s to 600s".to_owned()) }
}

/// How large cases are that were given no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As the promise is written.
    Full,
    /// For a look at all cases.
    Short,
}

/// One case with its numbers filled in.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) case: Case,
    scale: Scale,
}

impl Plan {
    /// The plan of `case`.
    pub(super) fn new(options: &Options, case: Case, scale: Scale) -> Self {
        Self { options: options.clone(), case, scale }
    }

    /// How long the attack lasts: as asked for, else `full`, or 3 s of it.
    pub(super) fn duration(&self, full: u64) -> Duration {
        let short = if self.scale == Scale::Short { full.min(3) } else { full };
        Duration::from_secs(self.options.seconds.unwrap_or(short))
    }

    /// How many clients there are: as asked for, else `full`, or `short`.
    pub(super) fn connections(&self, full: usize, short: usize) -> usize {
        let default = if self.scale == Scale::Short { short } else { full };
        self.options.connections.map_or(default, |connections| connections as usize)
    }

    /// Shards of the server: two wherever what is between them matters. Plain
    /// requests are the more at once for one.
    pub(super) fn shards(&self) -> u8 {
        self.options.shards.unwrap_or(if self.case == Case::PlainGets { 1 } else { 2 })
    }

    /// Bytes of a message, `default` if none were asked for.
    pub(super) fn size(&self, default: usize) -> usize {
        self.options.size.map_or(default, |size| size as usize)
    }

    /// Nothing found yet.
    pub(super) fn findings(&self) -> Findings {
        let driver = self.options.driver.as_deref().unwrap_or("auto");
        let shards = self.shards();
        Findings::new(self.name(), format!("driver {driver}, shards {shards}"))
    }

    /// What the case is called on the command line.
    pub(super) fn name(&self) -> String {
        let value = self.case.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    }
}
