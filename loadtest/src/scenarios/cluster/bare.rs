//! The bare client that nodes are held against: one `redis` connection that publishes
//! and one that subscribes, each in a process of its own, which is this program again.
//! Knows nothing of nodes.

use crate::clock::{nanoseconds, now_ns};
use crate::limits::STALL;
use crate::measure::{Latency, cpu_ns};
use crate::stamp::Stamp;
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use redis::{Client, pipe};
use serde::{Deserialize, Serialize};
use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The hidden first argument by which this program becomes one of both.
pub(crate) const BARE_CLIENT: &str = "__redis";

/// What is published last.
const END: &[u8] = b"end";

/// Publications that are written before their answers are read, as fast as possible.
const PIPELINE: u64 = 256;

/// The most likely reason for which a subscriber hears nothing more.
const CUT_OFF: &str = "nothing more came from Redis, which may have cut off the bare \
    subscriber: is its client-output-buffer-limit for pubsub above the load?";

/// One sequence number has so many values.
const SEQUENCES: u64 = 1 << 24;

/// What one of both is told.
#[derive(Debug, Parser)]
#[command(name = "loadtest __redis")]
struct Role {
    /// `publish` or `subscribe`
    side: String,
    url: String,
    channel: String,
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Publications per second; 0 for as many as possible
    #[arg(long, default_value_t = 0)]
    rate: u64,
    #[arg(long, default_value_t = 1)]
    seconds: u64,
}

/// What one of both found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    /// Messages published, or received.
    pub(super) count: u64,
    /// From the first to the last.
    pub(super) wall_ns: u64,
    /// Its processor time meanwhile.
    pub(super) cpu_ns: u64,
    /// From the call that published to arrival (subscriber).
    pub(super) latency: Latency,
}

/// What both found.
pub(super) struct Round {
    pub(super) published: Found,
    pub(super) received: Found,
}

/// Lets both run: `rate` publications per second, or as many as possible if that
/// is 0, of `size` bytes for `duration`.
pub(super) fn round(url: &str, size: usize, rate: u64, duration: Duration) -> Result<Round> {
    let channel = format!("loadtest-bare-{}", std::process::id());
    let size = size.to_string();
    let rate = rate.to_string();
    let seconds = duration.as_secs().to_string();
    let options = ["--size", &size, "--rate", &rate, "--seconds", &seconds];
    let mut subscriber = Process::start("subscribe", url, &channel, &options)?;
    ensure!(subscriber.line()? == "ready", "the bare subscriber does not begin");
    let mut publisher = Process::start("publish", url, &channel, &options)?;
    let published = publisher.found()?;
    let received = subscriber.found()?;
    ensure!(
        published.count == received.count,
        "the bare subscriber received {} of {} messages",
        received.count,
        published.count
    );
    Ok(Round { published, received })
}

struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(role: &str, url: &str, channel: &str, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(env::current_exe().context("cannot find this program")?);
        command.args([BARE_CLIENT, role, url, channel]).args(options);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the bare client has no output")?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("cannot read the bare client's output")?;
        Ok(line.trim().to_owned())
    }

    fn found(&mut self) -> Result<Found> {
        let mut text = String::new();
        self.output.read_to_string(&mut text).context("cannot read the bare client's output")?;
        serde_json::from_str(&text).context("the bare client does not say what it found")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has most often ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is one of both, as `arguments` say, and prints what it found.
pub(crate) fn serve(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let role = Role::parse_from([OsString::from(BARE_CLIENT)].into_iter().chain(arguments));
    let client = Client::open(role.url.as_str()).context("the URL of Redis")?;
    let found = match role.side.as_str() {
        "publish" => publish(&client, &role)?,
        "subscribe" => subscribe(&client, &role)?,
        other => bail!("{other}: neither publish nor subscribe"),
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

fn own_cpu_ns() -> u64 {
    cpu_ns(std::process::id()).unwrap_or(0)
}

fn publish(client: &Client, role: &Role) -> Result<Found> {
    let mut connection = client.get_connection().context("cannot connect to Redis")?;
    connection.set_read_timeout(Some(STALL))?;
    let (begun_ns, begun_cpu_ns) = (now_ns(), own_cpu_ns());
    let end_ns = begun_ns + nanoseconds(Duration::from_secs(role.seconds));
    let mut count = 0u64;
    let mut payload = Vec::new();
    loop {
        let after_ns = (count * 1_000_000_000).checked_div(role.rate);
        let due_ns = after_ns.map_or_else(now_ns, |after_ns| begun_ns + after_ns);
        if due_ns >= end_ns {
            break;
        }
        thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
        let together = if role.rate == 0 { PIPELINE } else { 1 };
        let mut commands = pipe();
        for _ in 0..together {
            payload.clear();
            let sequence = (count % SEQUENCES) as u32;
            Stamp { publisher: 0, sequence, due_ns: now_ns() }.append(role.size, &mut payload);
            commands.cmd("PUBLISH").arg(&role.channel).arg(payload.as_slice()).ignore();
            count += 1;
        }
        commands.query::<()>(&mut connection).context("cannot publish")?;
    }
    let (wall_ns, cpu_ns) = (now_ns() - begun_ns, own_cpu_ns() - begun_cpu_ns);
    let end = redis::cmd("PUBLISH").arg(&role.channel).arg(END).exec(&mut connection);
    end.context("cannot publish")?;
    Ok(Found { count, wall_ns, cpu_ns, latency: Latency::new() })
}

fn subscribe(client: &Client, role: &Role) -> Result<Found> {
    let mut connection = client.get_connection().context("cannot connect to Redis")?;
    connection.set_read_timeout(Some(STALL + Duration::from_secs(role.seconds)))?;
    let mut subscription = connection.as_pubsub();
    subscription.subscribe(&role.channel).context("cannot subscribe")?;
    println!("ready");
    let mut found = Found { count: 0, wall_ns: 0, cpu_ns: 0, latency: Latency::new() };
    let (mut first, mut last_ns) = (None, 0);
    loop {
        let message = subscription.get_message().context(CUT_OFF)?;
        let arrived_ns = now_ns();
        let payload = message.get_payload_bytes();
        if payload == END {
            break;
        }
        let stamp = Stamp::read(payload).context("a message of somebody else")?;
        ensure!(u64::from(stamp.sequence) == found.count % SEQUENCES, "a message is missing");
        first.get_or_insert_with(|| (arrived_ns, own_cpu_ns()));
        last_ns = arrived_ns;
        found.latency.record(stamp.age_ns(arrived_ns));
        found.count += 1;
    }
    if let Some((first_ns, first_cpu_ns)) = first {
        found.wall_ns = last_ns - first_ns;
        found.cpu_ns = own_cpu_ns() - first_cpu_ns;
    }
    Ok(found)
}
