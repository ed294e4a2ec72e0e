//! Which core runs what, and how many descriptors a process may have.

use crate::limits::SPARE_DESCRIPTORS;
use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, ascending.
pub(crate) fn cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

/// Keeps the calling thread, and what it starts, on `cores`.
pub(crate) fn run_on(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on cores {cores:?}"))
}

/// Raises the limit of open files to what the system allows.
///
/// # Errors
/// If that is too little for `connections`.
pub(crate) fn allow_connections(connections: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    let most = limit.maximum.unwrap_or(u64::MAX);
    if connections as u64 + SPARE_DESCRIPTORS > most {
        bail!(
            "{connections} connections do not fit in one process: it may open {most} files, \
             which leaves room for {} connections",
            most.saturating_sub(SPARE_DESCRIPTORS)
        );
    }
    Ok(())
}
