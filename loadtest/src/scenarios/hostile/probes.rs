//! Those who come from outside while an attack lasts: newcomers that want to be
//! upgraded, and probes of `/health`, each from an address of its own.

use crate::client::{Target, Wire};
use crate::clock::now_ns;
use crate::measure::Latency;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// From the beginning of one attempt to that of the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// Above every bar; an attempt that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(10);

const NEWCOMERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const PROBES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// How attempts went.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) latency: Latency,
    /// Why attempts failed.
    pub(super) failures: Vec<String>,
}

/// Tries `attempt` twice a second until `stop`, at least once.
pub(super) fn repeat(stop: &AtomicBool, attempt: impl Fn() -> Result<(), String>) -> Answers {
    let mut answers = Answers { latency: Latency::new(), failures: Vec::new() };
    loop {
        let begun = Instant::now();
        let begun_ns = now_ns();
        match attempt() {
            Ok(()) => answers.latency.record(now_ns() - begun_ns),
            Err(why) => answers.failures.push(why),
        }
        while begun.elapsed() < INTERVAL && !stop.load(Ordering::Relaxed) {
            thread::sleep(POLL);
        }
        if stop.load(Ordering::Relaxed) {
            return answers;
        }
    }
}

/// Connects and is upgraded.
pub(super) fn come_in(target: &Target) -> Result<(), String> {
    Wire::open(target, NEWCOMERS, None, PATIENCE).map(drop).map_err(|loss| loss.to_string())
}

/// Asks for the health and is answered with 200.
pub(super) fn ask_health(target: &Target) -> Result<(), String> {
    let answer = Wire::connect(target, PROBES, None, PATIENCE).and_then(|mut wire| {
        wire.send(b"GET /health HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")?;
        wire.read_to_end()
    });
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(format!("answered `{}`", String::from_utf8_lossy(line)))
}
