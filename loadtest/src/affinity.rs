//! Which core runs what, and how many descriptors a process may have.

use crate::limits::SPARE_DESCRIPTORS;
use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, ascending.
pub(crate) fn cores() -> Vec<usize> {
    listed(None)
}

/// The cores that process `pid` may use, ascending; none if there is no such process.
pub(crate) fn cores_of(pid: u32) -> Vec<usize> {
    Pid::from_raw(pid.cast_signed()).map_or(Vec::new(), |pid| listed(Some(pid)))
}

fn listed(pid: Option<Pid>) -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(pid) else {
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

/// Raises the limit of open files for this process and those that it starts:
/// as far as `connections` need it where that is permitted, else as far as it
/// goes. Gives how many connections fit into one process.
pub(crate) fn connections_per_process(connections: usize) -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = connections as u64 + SPARE_DESCRIPTORS;
    let most = limit.maximum.unwrap_or(u64::MAX);
    let privileged = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    if most < wanted && setrlimit(Resource::Nofile, privileged).is_ok() {
        return Ok(connections);
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    Ok(usize::try_from(most.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(usize::MAX))
}
