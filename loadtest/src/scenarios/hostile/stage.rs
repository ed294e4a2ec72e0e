//! Where a case takes place: a fresh server, what it keeps in memory from one
//! moment to the next, and those who must not notice the attack. Knows no case.

use super::bystanders::{Bystanders, Heard};
use super::options::Plan;
use super::probes::{self, Answers};
use crate::affinity;
use crate::client::Target;
use crate::measure::{resident, tcp_memory};
use crate::server_command::ServerCommand;
use crate::server_process::{Log, ServerProcess};
use anyhow::{Context, Result, anyhow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often memory is sampled.
const SAMPLE: Duration = Duration::from_millis(20);

/// Above idle by so much, an attack ends itself: the promise is broken by far,
/// and the machine is shared.
const EXCESS_BYTES: u64 = 1 << 30;

/// What a busy server keeps whoever its clients are: receive buffers, mailboxes,
/// what an allocator does not give back.
const OWN_BYTES: u64 = 8 << 20;

/// Lower priority of those that attack: on few cores a stranger that waits for
/// a processor must not count as one that waits for the server.
const ATTACK_NICE: i32 = 5;
/// Higher priority of those that measure, where it is allowed.
const MEASURE_NICE: i32 = -10;

/// A server, and its memory.
pub(super) struct Stage {
    pub(super) server: ServerProcess,
    pub(super) log: Log,
    pub(super) pid: u32,
    gauge: Arc<Gauge>,
}

/// Memory as last seen and at its most, in bytes. One thread writes.
#[derive(Debug, Default)]
struct Gauge {
    ended: AtomicBool,
    resident: AtomicU64,
    resident_peak: AtomicU64,
    kernel: AtomicU64,
    kernel_peak: AtomicU64,
    idle: AtomicU64,
    kernel_idle: AtomicU64,
}

impl Stage {
    /// Starts the server of `plan` with `flags` behind those of every case.
    pub(super) fn start(plan: &Plan, flags: &[&str]) -> Result<Self> {
        Self::start_limited(plan, flags, None)
    }

    /// As [`Stage::start`]; the server may open at most `descriptors` files.
    pub(super) fn start_limited(
        plan: &Plan,
        flags: &[&str],
        descriptors: Option<u64>,
    ) -> Result<Self> {
        let options = &plan.options;
        let shards = plan.shards().to_string();
        let mut all = vec!["--shards", &shards, "--log", "warn"];
        if let Some(driver) = &options.driver {
            all.extend(["--driver", driver]);
        }
        all.extend(flags);
        all.extend(options.server_args.iter().map(String::as_str));
        let all = all.into_iter().map(str::to_owned).collect();
        let command = ServerCommand::with_flags(options.server.as_deref(), all)?;
        affinity::connections_per_process(15_000)?;
        let cores = affinity::cores();
        let (server, log) = ServerProcess::start_logged(&command, &cores, descriptors)?;
        let pid = server.pid().context("the server has no pid")?;
        let gauge = Arc::new(Gauge::default());
        gauge.rest(pid);
        let sampled = Arc::clone(&gauge);
        thread::spawn(move || sampled.sample(pid));
        Ok(Self { server, log, pid, gauge })
    }

    /// Where the server listens.
    pub(super) fn target(&self) -> &Target {
        self.server.target()
    }

    /// Takes what is resident now as idle: memory is told above that.
    pub(super) fn rest(&self) {
        self.gauge.rest(self.pid);
    }

    /// Resident memory above idle, now and at most, in bytes.
    pub(super) fn grown(&self) -> (u64, u64) {
        let idle = self.gauge.idle.load(Ordering::Relaxed);
        let above = |value: &AtomicU64| value.load(Ordering::Relaxed).saturating_sub(idle);
        (above(&self.gauge.resident), above(&self.gauge.resident_peak))
    }

    /// The most that was resident above idle for each of `count` clients, without
    /// what any busy server keeps for itself.
    pub(super) fn peak_each(&self, count: usize) -> f64 {
        self.grown().1.saturating_sub(OWN_BYTES) as f64 / count as f64
    }

    /// The most that the kernel kept in TCP sockets above what it did at rest.
    pub(super) fn kernel_grown(&self) -> u64 {
        let idle = self.gauge.kernel_idle.load(Ordering::Relaxed);
        self.gauge.kernel_peak.load(Ordering::Relaxed).saturating_sub(idle)
    }

    /// Waits until resident memory is within `bytes` of idle, for at most
    /// `patience`. Gives what it is above idle then, and the time it took.
    pub(super) fn settle(&self, bytes: u64, patience: Duration) -> (u64, Duration) {
        let begun = Instant::now();
        while self.grown().0 > bytes && begun.elapsed() < patience {
            thread::sleep(SAMPLE);
        }
        (self.grown().0, begun.elapsed())
    }

    /// When an attack of `duration` that begins now is to end.
    pub(super) fn end_after(&self, duration: Duration) -> End {
        End { gauge: Arc::clone(&self.gauge), at: Instant::now() + duration }
    }

    /// Seats those who must not notice; with an unrelated room if `in_room`.
    pub(super) fn watch(&self, plan: &Plan, in_room: bool) -> Result<Watch> {
        let bystanders = Bystanders::open(self.target(), plan, in_room)?;
        let stop = Arc::new(AtomicBool::new(false));
        let heard = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                measuring();
                bystanders.run(&stop)
            })
        };
        let probe = |ask: fn(&Target) -> Result<(), String>| {
            let (target, stop) = (self.target().clone(), Arc::clone(&stop));
            thread::spawn(move || {
                measuring();
                probes::repeat(&stop, || ask(&target))
            })
        };
        let (newcomers, health) = (probe(probes::come_in), probe(probes::ask_health));
        Ok(Watch { stop, heard, newcomers, health })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.gauge.ended.store(true, Ordering::Relaxed);
        if let Some(status) = self.server.exited() {
            eprintln!("the server ended during the case ({status})");
            for line in self.log.first() {
                eprintln!("  {line}");
            }
        }
    }
}

impl Gauge {
    fn rest(&self, pid: u32) {
        let now = resident(pid).unwrap_or(0);
        let kernel = tcp_memory().unwrap_or(0);
        for value in [&self.idle, &self.resident, &self.resident_peak] {
            value.store(now, Ordering::Relaxed);
        }
        for value in [&self.kernel_idle, &self.kernel, &self.kernel_peak] {
            value.store(kernel, Ordering::Relaxed);
        }
    }

    fn sample(&self, pid: u32) {
        while !self.ended.load(Ordering::Relaxed) {
            if let Some(now) = resident(pid) {
                self.resident.store(now, Ordering::Relaxed);
                self.resident_peak.fetch_max(now, Ordering::Relaxed);
            }
            if let Some(now) = tcp_memory() {
                self.kernel.store(now, Ordering::Relaxed);
                self.kernel_peak.fetch_max(now, Ordering::Relaxed);
            }
            thread::sleep(SAMPLE);
        }
    }

    fn is_excessive(&self) -> bool {
        let idle = self.idle.load(Ordering::Relaxed);
        self.resident.load(Ordering::Relaxed).saturating_sub(idle) > EXCESS_BYTES
    }
}

/// Until when an attack goes on.
#[derive(Clone)]
pub(super) struct End {
    gauge: Arc<Gauge>,
    at: Instant,
}

impl End {
    /// Whether its time is over, or the server has grown beyond all bounds.
    pub(super) fn is_reached(&self) -> bool {
        Instant::now() >= self.at || self.gauge.is_excessive()
    }

    /// Waits for it.
    pub(super) fn wait(&self) {
        while !self.is_reached() {
            thread::sleep(SAMPLE);
        }
    }
}

/// Those who must not notice, from [`Stage::watch`] to [`Watch::end`].
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    heard: JoinHandle<Result<Heard>>,
    newcomers: JoinHandle<Answers>,
    health: JoinHandle<Answers>,
}

/// What those who must not notice have found.
pub(super) struct Observed {
    pub(super) heard: Heard,
    pub(super) newcomers: Answers,
    pub(super) health: Answers,
}

impl Watch {
    /// Lets them come to an end.
    pub(super) fn end(self) -> Result<Observed> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(Observed {
            heard: join(self.heard)??,
            newcomers: join(self.newcomers)?,
            health: join(self.health)?,
        })
    }
}

/// Runs a part of the attack beside the others.
pub(super) fn beside<T: Send + 'static>(
    part: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(move || {
        // Of this thread only. Without it the figures are worse, not wrong.
        let _ = rustix::process::nice(ATTACK_NICE);
        part()
    })
}

/// What a part of the attack came to.
pub(super) fn join<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread of the load test panicked"))
}

fn measuring() {
    // Not allowed to everyone. Without it the figures are worse, not wrong.
    let _ = rustix::process::nice(MEASURE_NICE);
}
