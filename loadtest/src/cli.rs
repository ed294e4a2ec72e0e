//! The command line, checked into [`Settings`] that cannot contradict
//! themselves.

use crate::limits::{DURATION_S, MESSAGE_BYTES};
use crate::require::Requirement;
use crate::scenarios::cluster;
use crate::scenarios::hostile::options::Options;
use crate::sim_million;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Scenario {
    /// Open all connections and subscribe each: how long, how many fail
    Connect,
    /// Each connection keeps messages in flight to the raw echo: round trips
    Echo,
    /// Every client sends one message to all, round after round
    Broadcast,
    /// One publisher at a fixed rate into a room of all or some connections
    Fanout,
    /// Connect, join, leave, drop, again and again; what it costs to come and go
    Churn,
    /// Publishers in many rooms: all arrives, in order, nothing twice
    Rooms,
    /// Memory that the server keeps per idle connection in a room
    Idle,
    /// As rooms, for a minute or for hours
    Soak,
    /// Latency to members on the publisher's shard and on another
    Cross,
    /// SIGTERM under load: all acknowledged arrives, every client sees 1001
    Drain,
}

impl Scenario {
    /// Whether several client processes can share it.
    pub(crate) fn is_divisible(self) -> bool {
        !matches!(self, Self::Broadcast | Self::Cross | Self::Drain)
    }
}

/// Whether the server and the client get a core each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pinning {
    /// With two cores or more and a single shard
    Auto,
    /// Always
    On,
    /// Never
    Off,
}

/// Bounded load on loopback against shardcast.
///
/// Starts the server for each scenario unless --url names one that runs. Exits
/// with 0 if all went well, 1 if something was lost, repeated, out of order or
/// refused or a requirement was missed, 2 if the scenario could not be run.
#[derive(Clone, Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What is done other than to run scenarios.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a scenario against several servers in turn and print the ratios
    Compare(Box<Contest>),
    /// The engine on a simulated driver with up to a million connections
    SimMillion(sim_million::Options),
    /// Several nodes on one Redis, beside a bare client; needs `redis-server`
    Cluster(Box<cluster::options::Options>),
    /// Attack a server, and fail if anybody else notices or memory has no bound
    Hostile(Box<Options>),
}

/// The servers to compare, and how often.
#[derive(Clone, Debug, Args)]
pub(crate) struct Contest {
    /// Rounds, in each of which every server runs once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) pairs: u8,

    /// Servers, of: limit, shardcast-DRIVER, tokio-tungstenite, fastwebsockets,
    /// tokio-uring, the external ones, and any that runs already, as
    /// NAME=URL@PID [default: all but those that run]
    #[arg(long, value_delimiter = ',', value_name = "NAME[=URL@PID]")]
    pub(crate) servers: Vec<String>,

    /// The server to which all are compared [default: limit, if it takes part]
    #[arg(long, value_name = "NAME")]
    pub(crate) base: Option<String>,

    /// One more server: a program that takes `--listen ADDRESS` and prints
    /// `listening on ADDRESS`; may be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = external)]
    pub(crate) external: Vec<(String, PathBuf)>,

    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What a run is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// The scenario; without one, a tour: connect, idle, echo, fanout, broadcast
    #[arg(value_enum)]
    pub(crate) scenario: Option<Scenario>,

    /// A running server, `ws://127.0.0.1:PORT/ws`; loopback only
    #[arg(long, conflicts_with_all = ["server", "server_args", "shards", "driver"])]
    pub(crate) url: Option<String>,

    /// The process behind --url, for its processor time and memory
    #[arg(long, requires = "url")]
    pub(crate) pid: Option<u32>,

    /// The server to start [default: `shardcast` beside this program]
    #[arg(long)]
    pub(crate) server: Option<PathBuf>,

    /// One more argument for the server to start; may be repeated
    #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) server_args: Vec<String>,

    /// Shards of the server to start [default: 1; cross: 2]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) shards: Option<u8>,

    /// Driver of the server to start, such as epoll
    #[arg(long)]
    pub(crate) driver: Option<String>,

    /// Connections [default: 10,000; broadcast: 1,000; churn: 500; cross: 64]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,

    /// Bytes of each message; publications carry at least a stamp of 20
    #[arg(long, default_value_t = 20, value_parser = size)]
    pub(crate) size: usize,

    /// Messages that each connection keeps in flight (echo)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) pipeline: u16,

    /// Connections in the room that is published to; the others do nothing in
    /// other rooms (fanout) [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    members: Option<u32>,

    /// Of the members, how many percent never read (fanout)
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=99))]
    pub(crate) stalled: u8,

    /// Client processes at least; more are started where their limit of open
    /// files asks for it (not broadcast, cross, drain)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) processes: u8,

    /// Connections of one client process at most
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) process_connections: Option<u32>,

    /// Seconds of load [default: 10; soak: 60; drain: 3; compare: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=DURATION_S))]
    duration: Option<u64>,

    /// Messages per second and room [default: 10; cross: 1,000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,

    /// Rooms that the connections are spread over (connect, churn, rooms, soak, drain)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rooms: u32,

    /// Publishers in each room (rooms, soak, drain)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) publishers: u8,

    /// The first core for the server, the next for the client
    #[arg(long, value_enum, default_value = "auto", num_args = 0..=1, default_missing_value = "on")]
    pub(crate) pin: Pinning,

    /// Write all results to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write all results with plots to this file, one page without links
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write all results with plots to this file, one picture
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,

    /// What must be reached, as in `p99_us<1000`, `rate>=50000` or
    /// `fanout.last.p99_ms<5`; may be repeated, names are those of --json
    #[arg(long, value_name = "NAME<NUMBER", value_delimiter = ';')]
    pub(crate) require: Vec<Requirement>,
}

impl Settings {
    /// How many connections `scenario` opens.
    pub(crate) fn connections(&self, scenario: Scenario) -> usize {
        let connections = self.connections.unwrap_or(match scenario {
            Scenario::Broadcast => 1_000,
            Scenario::Churn => 500,
            Scenario::Cross => 64,
            _ => 10_000,
        });
        connections as usize
    }

    /// How long `scenario` keeps up its load.
    pub(crate) fn duration(&self, scenario: Scenario) -> Duration {
        Duration::from_secs(self.duration.unwrap_or(match scenario {
            Scenario::Soak => 60,
            Scenario::Drain => 3,
            _ => 10,
        }))
    }

    /// Sets how long every scenario keeps up its load, unless it was given.
    pub(crate) fn default_duration(&mut self, seconds: u64) {
        self.duration.get_or_insert(seconds);
    }

    /// Members of the one room that is published to.
    pub(crate) fn members(&self, connections: usize) -> usize {
        self.members.map_or(connections, |members| connections.min(members as usize))
    }

    /// Messages per second into each room.
    pub(crate) fn rate(&self, scenario: Scenario) -> u32 {
        self.rate.unwrap_or(match scenario {
            Scenario::Cross => 1_000,
            _ => 10,
        })
    }

    /// Rooms, of which there are never more than connections.
    pub(crate) fn rooms(&self, scenario: Scenario) -> usize {
        (self.rooms as usize).min(self.connections(scenario))
    }

    /// Shards of a server that is started for `scenario`.
    pub(crate) fn shards(&self, scenario: Scenario) -> u8 {
        self.shards.unwrap_or(match scenario {
            Scenario::Cross => 2,
            _ => 1,
        })
    }

    /// Whether server and client get a core each in `scenario`.
    pub(crate) fn is_pinned(&self, scenario: Scenario, cores: usize) -> bool {
        match self.pin {
            Pinning::Off => false,
            Pinning::On => true,
            Pinning::Auto => cores >= 2 && self.shards(scenario) == 1 && self.url.is_none(),
        }
    }
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes <= MESSAGE_BYTES => Ok(bytes),
        _ => Err(format!("a number of bytes up to {MESSAGE_BYTES}")),
    }
}

fn external(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => Err("NAME=PATH of a program".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_is_not_given_depends_on_the_scenario() {
        let settings = CommandLine::parse_from(["loadtest", "cross"]).settings;
        assert_eq!(settings.connections(Scenario::Fanout), 10_000);
        assert_eq!(settings.connections(Scenario::Broadcast), 1_000);
        assert!(settings.is_pinned(Scenario::Fanout, 2));
        assert!(!settings.is_pinned(Scenario::Fanout, 1));
        assert!(!settings.is_pinned(Scenario::Cross, 2), "it has two shards");
        let given = CommandLine::parse_from(["loadtest", "--connections", "5", "--pin"]).settings;
        assert_eq!(given.connections(Scenario::Cross), 5);
        assert_eq!(given.rooms(Scenario::Soak), 5);
        assert!(given.is_pinned(Scenario::Cross, 2));
    }

    #[test]
    fn a_comparison_takes_the_options_of_its_scenario() {
        let line =
            "loadtest compare echo --pairs 3 --servers limit,mine --external mine=/bin/x --size 5";
        let line = CommandLine::parse_from(line.split(' '));
        let Some(Command::Compare(contest)) = line.command else {
            panic!("no comparison");
        };
        assert_eq!(contest.servers, ["limit", "mine"]);
        assert_eq!(contest.settings.size, 5);
        assert_eq!(contest.settings.scenario, Some(Scenario::Echo));
        assert!(CommandLine::try_parse_from(["loadtest", "--require", "p99"]).is_err());
    }
}
