//! A server that stays up when the process has no descriptor left, and says so in
//! the log: when accepting begins to fail and when it works again, at most once in
//! [`LINES_APART`], for with one descriptor to spare it does both many times a
//! second. Knows no listener.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::io::Errno;

/// How often a listener that could not accept is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The least time between two lines in the log.
pub(super) const LINES_APART: Duration = Duration::from_secs(1);

/// Whether the last accept failed for want of a resource, and what the log says.
#[derive(Debug, Default)]
pub(super) struct Scarcity {
    is_short: bool,
    /// The last line said that accepting fails.
    is_logged: bool,
    last_line: Option<Instant>,
    /// Failures since then.
    failures: u64,
}

impl Scarcity {
    /// Whether accepting should pause for [`RETRY_AFTER`].
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// An accept failed.
    pub(super) fn on_failure(&mut self, error: &io::Error) {
        self.is_short = true;
        if let Some(failures) = self.failures_to_log(Instant::now()) {
            tracing::warn!(
                %error,
                failures,
                "cannot accept connections, they wait: {}",
                remedy(error)
            );
        }
    }

    /// An accept did not fail.
    pub(super) fn on_success(&mut self) {
        self.is_short = false;
        if self.is_logged
            && let Some(failures) = self.failures_over(Instant::now())
        {
            tracing::info!(failures, "accepting connections again");
        }
    }

    /// How many failures a line in the log is to tell of, if one is due.
    fn failures_to_log(&mut self, now: Instant) -> Option<u64> {
        self.failures += 1;
        (!self.is_logged && self.may_log(now)).then(|| self.log(now, true))
    }

    /// The same, of failures that are over.
    fn failures_over(&mut self, now: Instant) -> Option<u64> {
        (self.is_logged && self.may_log(now)).then(|| self.log(now, false))
    }

    fn may_log(&self, now: Instant) -> bool {
        self.last_line.is_none_or(|last| now.saturating_duration_since(last) >= LINES_APART)
    }

    fn log(&mut self, now: Instant, fails: bool) -> u64 {
        self.is_logged = fails;
        self.last_line = Some(now);
        std::mem::take(&mut self.failures)
    }
}

/// What an operator can do about `error`.
fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "raise the process's limit of open files (ulimit -n, LimitNOFILE)",
        Some(Errno::NFILE) => "raise the system's limit of open files (sysctl fs.file-max)",
        Some(Errno::NOBUFS | Errno::NOMEM) => {
            "the kernel lacks memory for sockets (sysctl net.ipv4.tcp_mem, the memory limit)"
        }
        _ => "the next attempt follows shortly",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_that_fails_and_works_by_turns_makes_a_line_a_second() {
        let (start, mut scarcity) = (Instant::now(), Scarcity::default());
        let (mut lines, mut told) = (0, 0);
        for ms in (0..10_000).step_by(100) {
            let now = start + Duration::from_millis(ms);
            let after = now + Duration::from_millis(1);
            for failures in [scarcity.failures_to_log(now), scarcity.failures_over(after)] {
                lines += u32::from(failures.is_some());
                told += failures.unwrap_or(0);
            }
        }
        assert!((5..=10).contains(&lines), "{lines} lines");
        assert_eq!(told + scarcity.failures, 100);
    }

    #[test]
    fn a_lasting_want_is_logged_once_and_so_is_its_end() {
        let (start, mut scarcity) = (Instant::now(), Scarcity::default());
        assert_eq!(scarcity.failures_to_log(start), Some(1));
        for seconds in 1..100 {
            assert_eq!(scarcity.failures_to_log(start + Duration::from_secs(seconds)), None);
        }
        let later = start + Duration::from_secs(100);
        assert_eq!(scarcity.failures_over(later), Some(99));
        assert_eq!(scarcity.failures_over(later + LINES_APART), None);
    }
}
