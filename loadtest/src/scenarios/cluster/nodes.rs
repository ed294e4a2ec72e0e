//! The nodes of a run: server processes that share one Redis, or servers that run
//! already, and what each tells of itself. Knows no load.

use super::options::Options;
use crate::client::{Target, Wire};
use crate::entrant::Running;
use crate::limits::NODES_READY;
use crate::measure::cpu_ns;
use crate::server_command::ServerCommand;
use crate::server_process::ServerProcess;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

/// From where nodes are asked.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a node is asked while it starts.
const POLL: Duration = Duration::from_millis(10);

const REQUEST: &[u8] = b"GET /ready HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n";

/// What the rooms of a run keep, where they have a history: more than any run
/// publishes into one of them while a client is away.
const HISTORY: &str = "load-*=100000,10m";

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Readiness {
    pub(super) is_ready: bool,
    pub(super) reasons: Vec<String>,
    /// Those of the relay, by name.
    pub(super) counters: BTreeMap<String, u64>,
}

/// All nodes.
pub(super) struct Nodes {
    servers: Vec<ServerProcess>,
    doubt: Option<String>,
}

impl Nodes {
    /// Those of `options`, all ready and known to each other.
    ///
    /// # Errors
    /// If one does not start or does not become ready.
    pub(super) fn start(options: &Options, redis: &str) -> Result<Self> {
        if !options.running.is_empty() {
            let servers =
                options.running.iter().map(|text| running(text)).collect::<Result<_>>()?;
            return Ok(Self { servers, doubt: None });
        }
        let command = command(options, Some(redis))?;
        let mut nodes = Self { servers: Vec::new(), doubt: command.doubt.clone() };
        for _ in 0..options.nodes() {
            nodes.servers.push(ServerProcess::start(&command, &[])?);
        }
        let others = nodes.servers.len() as u64 - 1;
        for server in &nodes.servers {
            wait_until_ready(server.target(), Some(others))?;
        }
        Ok(nodes)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Where each listens.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.servers.iter().map(|server| server.target().clone()).collect()
    }

    /// Why the figures may be those of another server than they seem.
    pub(super) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Kills node `at` as the kernel does when memory is short.
    pub(super) fn kill(&self, at: usize) -> Result<()> {
        self.servers[at].signal(Signal::KILL)
    }

    /// Nodes that have ended by themselves, in words.
    pub(super) fn ended(&mut self) -> Vec<String> {
        let ended = self.servers.iter_mut().enumerate().filter_map(|(at, server)| {
            let status = server.exited()?;
            Some(format!("node {at} ended during the run ({status})"))
        });
        ended.collect()
    }

    /// The counters of each node now; none of a node that does not tell.
    pub(super) fn counters(&self) -> Vec<BTreeMap<String, u64>> {
        let counters = self.servers.iter().map(|server| ask(server.target()));
        counters.map(|said| said.map_or_else(|_| BTreeMap::new(), |said| said.counters)).collect()
    }

    /// Processor time of all nodes, and of their relay threads, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> (u64, u64) {
        let pids = || self.servers.iter().filter_map(ServerProcess::pid);
        (pids().filter_map(cpu_ns).sum(), pids().map(relay_cpu_ns).sum())
    }
}

/// Waits until the node at `target` is ready and knows so many `others`, if that is said.
///
/// # Errors
/// If that takes too long, with what it says of itself.
pub(super) fn wait_until_ready(target: &Target, others: Option<u64>) -> Result<()> {
    let deadline = Instant::now() + NODES_READY;
    loop {
        let said = ask(target);
        let knows =
            |said: &Readiness| others.is_none_or(|all| said.counters.get("nodes") == Some(&all));
        if said.as_ref().is_ok_and(|said| said.is_ready && knows(said)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = said.map_or_else(|why| format!("{why:#}"), |said| format!("{said:?}"));
            bail!("{target} is not ready: {why}");
        }
        thread::sleep(POLL);
    }
}

/// How a node is started, with a relay or without.
pub(super) fn command(options: &Options, redis: Option<&str>) -> Result<ServerCommand> {
    let mut flags = vec!["--shards".to_owned(), options.shards.to_string()];
    flags.extend(["--dialect", "pubsub"].map(str::to_owned));
    if let Some(url) = redis {
        let prefix = format!("loadtest-{}:", std::process::id());
        flags.extend(["--relay", url, "--relay-prefix", &prefix].map(str::to_owned));
        if options.history || options.returning().is_some() {
            flags.extend(["--history", HISTORY].map(str::to_owned));
        }
    }
    if let Some(driver) = &options.driver {
        flags.extend(["--driver", driver].map(str::to_owned));
    }
    if !options.server_args.iter().any(|argument| argument.starts_with("--log")) {
        flags.extend(["--log", "error"].map(str::to_owned));
    }
    flags.extend_from_slice(&options.server_args);
    ServerCommand::with_flags(options.server.as_deref(), flags)
}

fn running(text: &str) -> Result<ServerProcess> {
    // The form of a server that takes part in a comparison, but for the name.
    let running = Running::parse(&format!("node={text}"))?;
    let running = running.with_context(|| format!("{text}: a running node is URL@PID"))?;
    ServerProcess::running(&running.url, running.pid)
}

/// What the node at `target` says of itself.
///
/// # Errors
/// If it does not answer, or with something else.
pub(super) fn ask(target: &Target) -> Result<Readiness> {
    let mut wire = Wire::connect(target, FROM, None, PATIENCE)?;
    wire.send(REQUEST)?;
    read(&wire.read_to_end()?)
}

fn read(answer: &[u8]) -> Result<Readiness> {
    let text = std::str::from_utf8(answer).context("the node answers with no text")?;
    let status = text.split(' ').nth(1).context("the node does not speak HTTP")?;
    ensure!(matches!(status, "200" | "503"), "the node answers with status {status}");
    let (_, body) = text.split_once("\r\n\r\n").context("the node's answer has no end")?;
    let body: Value = serde_json::from_str(body).context("the node answers with no JSON")?;
    let reasons = body["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let counters = body["relay"].as_object().into_iter().flatten();
    let counters = counters.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)));
    Ok(Readiness {
        is_ready: status == "200",
        reasons: reasons.map(str::to_owned).collect(),
        counters: counters.collect(),
    })
}

/// Processor time of the threads of `pid` that are named for a relay.
fn relay_cpu_ns(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_relay = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let account = fs::read_to_string(task.path().join("schedstat")).ok()?;
        name.contains("relay").then(|| account.split(' ').next()?.parse::<u64>().ok())?
    });
    of_relay.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_is_read() {
        let said = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\r\n\
            {\"status\":\"not ready\",\"reasons\":[\"no heartbeat\"],\"relay\":{\"lost\":3,\"nodes\":1}}";
        let said = read(said).unwrap();
        assert!(!said.is_ready);
        assert_eq!(said.reasons, ["no heartbeat"]);
        assert_eq!(said.counters["lost"], 3);
        assert!(read(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
        assert!(read(b"").is_err());
    }
}
