//! How many file descriptors the process may have, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServerError;

/// Fewer than this leave no room for clients beside what the server itself
/// needs.
const FEWEST: usize = 64;

/// Descriptors that are no connection's: standard streams, the control thread's
/// epoll, wake-ups and signal pipe, what the name resolver opens.
const OF_THE_PROCESS: usize = 24;

/// And for each shard: its listener, twice, its epoll, its wake-up, one to spare.
const OF_A_SHARD: usize = 5;

/// Raises the soft limit to the hard one and returns it.
///
/// # Errors
/// [`ServerError::Descriptors`] if it is too low to serve anyone.
pub(super) fn raise() -> Result<usize, ServerError> {
    let limit = getrlimit(Resource::Nofile);
    // The hard limit may be above what the kernel gives out; then the soft one
    // stays what it is.
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let current = getrlimit(Resource::Nofile).current;
    let limit =
        current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX));
    if limit < FEWEST { Err(ServerError::Descriptors { limit, fewest: FEWEST }) } else { Ok(limit) }
}

/// How many WebSocket connections fit into `limit`.
pub(super) fn connections(limit: usize, shards: usize) -> usize {
    let http = http_connections(limit) + http_hand_offs(limit);
    limit.saturating_sub(OF_THE_PROCESS + shards * OF_A_SHARD + http)
}

/// How many HTTP connections there may be at once: an eighth of the descriptors,
/// so that probes cannot lock clients out, and at most [`super::http::CONNECTIONS`].
pub(super) fn http_connections(limit: usize) -> usize {
    (limit / 8).min(super::http::CONNECTIONS)
}

/// How many more may be on their way from the shards to where they are served, which
/// takes less than a millisecond.
pub(super) fn http_hand_offs(limit: usize) -> usize {
    (http_connections(limit) / 4).max(1)
}
