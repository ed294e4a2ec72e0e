//! What `loadtest cluster` can be asked for. Knows nothing of how it is done.

use crate::limits::{CLUSTER_NODES, MESSAGE_BYTES};
use crate::require::Requirement;
use crate::stamp::STAMP_BYTES;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Clients that come back at once, unless told otherwise.
const RETURNING: &str = "10000";

/// The numbers of a run of several nodes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Server processes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=CLUSTER_NODES))]
    pub(super) nodes: u8,

    /// A Redis that runs, in place of a `redis-server` started for the run
    #[arg(long, value_name = "URL", conflicts_with = "restart_redis")]
    pub(super) redis: Option<String>,

    /// A node that runs already, in place of those started for the run; given
    /// once for each node
    #[arg(long = "node", value_name = "URL@PID", conflicts_with_all = ["recover", "local", "nodes"])]
    pub(super) running: Vec<String>,

    /// Rooms, whose publishers are spread over the nodes [default: 10; recover: 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rooms: Option<u16>,

    /// Members of each room on each node, the publishers among them [default: 1; local: 10]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    members: Option<u16>,

    /// Publishers in each room
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(super) publishers: u8,

    /// Publications per second and room [default: 100; recover: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,

    /// Publications per second in all, where nothing else is to be done
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) unloaded_rate: u32,

    /// Bytes of each publication
    #[arg(long, default_value_t = 256, value_parser = size)]
    pub(super) size: usize,

    /// Seconds of each kind of load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Rounds, in each of which the nodes and the bare client have their turn;
    /// with --local the nodes with and without a relay
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) rounds: u8,

    /// Publishers ask for acknowledgements and wait for them, where they publish
    /// as fast as they can; without, they publish until they are not read
    #[arg(long)]
    pub(super) acks: bool,

    /// The rooms have a history, which Redis keeps over --restart-redis
    #[arg(long)]
    pub(super) history: bool,

    /// Stop Redis under load, and start it again after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    restart_redis: Option<u64>,

    /// Kill one of two nodes: so many clients recover on the other at once
    #[arg(long, value_name = "CLIENTS", num_args = 0..=1, default_missing_value = RETURNING,
          conflicts_with_all = ["restart_redis", "local"],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    recover: Option<u32>,

    /// Other clients of the node that survives (recover), one of each room at least
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) bystanders: u32,

    /// Compare one node with and without a relay, under a load of its own clients
    #[arg(long, conflicts_with = "restart_redis")]
    pub(super) local: bool,

    /// The server to start [default: `shardcast` beside this program]
    #[arg(long)]
    pub(super) server: Option<PathBuf>,

    /// One more argument for each server to start; may be repeated
    #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(super) server_args: Vec<String>,

    /// Driver of the servers to start, such as epoll
    #[arg(long)]
    pub(super) driver: Option<String>,

    /// Shards of each server to start
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) shards: u8,

    /// Write all results to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write all results with plots to this file, one page without links
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write all results with plots to this file, one picture
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,

    /// What must be reached, as in `throughput_ratio>=0.9`; may be repeated,
    /// names are those of --json
    #[arg(long, value_name = "NAME<NUMBER", value_delimiter = ';')]
    pub(crate) require: Vec<Requirement>,
}

impl Options {
    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        if self.running.is_empty() { usize::from(self.nodes) } else { self.running.len() }
    }

    /// How many rooms there are.
    pub(super) fn rooms(&self) -> usize {
        let default = if self.recover.is_some() { 100 } else { 10 };
        usize::from(self.rooms.unwrap_or(default))
    }

    /// Members of each room on each node.
    pub(super) fn members(&self) -> usize {
        usize::from(self.members.unwrap_or(if self.local { 10 } else { 1 }))
    }

    /// Publications per second and room.
    pub(super) fn rate(&self) -> u32 {
        self.rate.unwrap_or(if self.recover.is_some() { 1 } else { 100 })
    }

    /// The same where nothing else is to be done.
    pub(super) fn unloaded_room_rate(&self) -> u32 {
        (self.unloaded_rate / self.rooms() as u32).max(1)
    }

    /// How long each kind of load lasts.
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// For how long Redis is away, if it is to be stopped.
    pub(super) fn outage(&self) -> Option<Duration> {
        self.restart_redis.map(Duration::from_secs)
    }

    /// How many clients recover, if a node is to be killed.
    pub(super) fn returning(&self) -> Option<usize> {
        self.recover.map(|count| count as usize)
    }
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (STAMP_BYTES..=MESSAGE_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(format!("a number of bytes from {STAMP_BYTES} to {MESSAGE_BYTES}")),
    }
}
