//! A server that stays up when the process has no descriptor left: one line in
//! the log when accepting begins to fail, one when it works again. Knows no
//! listener.

use std::{io, time::Duration};

use rustix::io::Errno;

/// How often a listener that could not accept is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Whether the last accept failed for want of a resource.
#[derive(Debug, Default)]
pub(super) struct Scarcity(bool);

impl Scarcity {
    /// Whether accepting should pause for [`RETRY_AFTER`].
    pub(super) fn is_felt(&self) -> bool {
        self.0
    }

    /// An accept failed.
    pub(super) fn feel(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!(%error, "cannot accept connections, they wait: {}", remedy(error));
        }
    }

    /// An accept did not fail.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.0) {
            tracing::info!("accepting connections again");
        }
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
