//! What is read while a scenario runs: latencies, losses, and from `/proc` the
//! processor time and memory of the server and of this client.

use crate::client::Loss;
use crate::clock::now_ns;
use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;

/// The longest latency that is told from longer ones: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Clock ticks per second in `/proc/<pid>/stat`: fixed for user space by the
/// kernel on every architecture that this runs on.
const TICK_NS: u64 = 10_000_000;

/// Latencies in nanoseconds, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    /// Without any entry.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3);
        Self(histogram.expect("the bounds are constant and valid"))
    }

    /// Enters one.
    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// Enters all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        let added = self.0.add(&other.0);
        added.expect("all histograms have the same bounds");
    }

    /// The histogram.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// As pairs of a value and how often it occurred.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = self.0.iter_recorded();
        serializer.collect_seq(recorded.map(|it| (it.value_iterated_to(), it.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latency = Self::new();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latency.0.saturating_record_n(value, count);
        }
        Ok(latency)
    }
}

/// Connections lost, by reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses(BTreeMap<Loss, u64>);

/// As pairs of a reason and how often it occurred.
impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for Losses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(Loss, u64)>::deserialize(deserializer)?;
        Ok(Self(pairs.into_iter().collect()))
    }
}

impl Losses {
    /// Enters one.
    pub(crate) fn add(&mut self, loss: &Loss) {
        *self.0.entry(loss.clone()).or_default() += 1;
    }

    /// Enters all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (loss, count) in &other.0 {
            *self.0.entry(loss.clone()).or_default() += count;
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many there were for a reason.
    pub(crate) fn of(&self, loss: &Loss) -> u64 {
        self.0.get(loss).copied().unwrap_or(0)
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (loss, count)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{count} × {loss}")?;
        }
        Ok(())
    }
}

/// Processor time that a process has used, in nanoseconds, all threads
/// together. From the scheduler's own account where the kernel keeps one, else
/// from utime + stime in ticks of 10 ms.
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    scheduled_ns(pid).or_else(|| ticked_ns(pid))
}

fn scheduled_ns(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end while the directory is read.
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
            continue;
        };
        sum += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (sum > 0).then_some(sum)
}

fn ticked_ns(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses and may hold spaces.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((user + system) * TICK_NS)
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident pages.
    pub(crate) resident: u64,
    /// Those that it shares with no other process.
    pub(crate) private: u64,
}

impl Memory {
    /// That of process `pid` now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let kilobytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        Some(Self {
            resident: kilobytes("Rss:")? * 1024,
            private: (kilobytes("Private_Clean:")? + kilobytes("Private_Dirty:")?) * 1024,
        })
    }
}

/// Resident pages of process `pid` now, in bytes: cheap enough to be read many
/// times a second, unlike [`Memory`].
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// What the kernel keeps in TCP sockets, in bytes, of everything on this
/// machine: on loopback, of both ends of a connection.
pub(crate) fn tcp_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let pages: u64 = line.split_once(" mem ")?.1.trim().parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The kernel's own objects (sockets, open files, operations underway), in bytes,
/// of everything on this machine: on loopback, of both ends of a connection.
pub(crate) fn kernel_objects() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// The window over which processor time is counted.
#[derive(Debug)]
pub(crate) struct Window {
    server: Option<u32>,
    clients: Vec<u32>,
    begun_ns: u64,
    server_ns: Option<u64>,
    client_ns: Option<u64>,
}

/// What was used in a [`Window`].
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "the unit is part of the name")]
pub(crate) struct Usage {
    /// The window's length.
    pub(crate) wall_ns: u64,
    /// The server's processor time, if its process is known.
    pub(crate) server_cpu_ns: Option<u64>,
    /// The processor time of all client processes.
    pub(crate) client_cpu_ns: Option<u64>,
}

impl Window {
    /// Begins one for a client of this process only.
    pub(crate) fn begin(server: Option<u32>) -> Self {
        Self::with_clients(server, vec![std::process::id()])
    }

    /// Begins one for a client of several processes.
    pub(crate) fn with_clients(server: Option<u32>, clients: Vec<u32>) -> Self {
        Self {
            server,
            begun_ns: now_ns(),
            server_ns: server.and_then(cpu_ns),
            client_ns: sum_cpu_ns(&clients),
            clients,
        }
    }

    /// When it began.
    pub(crate) fn begun_ns(&self) -> u64 {
        self.begun_ns
    }

    /// What was used since its beginning.
    pub(crate) fn end(&self) -> Usage {
        let since = |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));
        Usage {
            wall_ns: now_ns() - self.begun_ns,
            server_cpu_ns: since(self.server.and_then(cpu_ns), self.server_ns),
            client_cpu_ns: since(sum_cpu_ns(&self.clients), self.client_ns),
        }
    }
}

fn sum_cpu_ns(processes: &[u32]) -> Option<u64> {
    processes.iter().map(|pid| cpu_ns(*pid)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_accounts_of_processor_time_agree() {
        let pid = std::process::id();
        let begun_ns = now_ns();
        let before = (cpu_ns(pid).unwrap_or(0), ticked_ns(pid).unwrap());
        while now_ns() - begun_ns < 300_000_000 {
            std::hint::black_box(0);
        }
        let fine = cpu_ns(pid).unwrap() - before.0;
        let coarse = ticked_ns(pid).unwrap() - before.1;
        assert!(fine.abs_diff(coarse) <= 60_000_000 + fine / 5, "{fine} ns and {coarse} ns");
    }

    #[test]
    fn the_memory_of_this_process_is_read() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.private > 0 && memory.resident >= memory.private);
    }
}
