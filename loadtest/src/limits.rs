//! Every bound of a run, with its reason: no count, wait or buffer here grows
//! without end, whatever the server does.

use std::time::Duration;

/// Descriptors kept for everything that is not a client socket: standard
/// streams, epoll, timer, the server's pipe, `/proc` files.
pub(crate) const SPARE_DESCRIPTORS: u64 = 64;

/// Connection attempts in flight: enough to keep a server busy, below the usual
/// listen backlog of 4,096, so that no SYN is dropped and retried a second later.
pub(crate) const DIALS_IN_FLIGHT: usize = 768;

/// Connections that share one source address 127.x.y.z. An address has 28,232
/// ephemeral ports; a thousand leaves room for those in TIME-WAIT and for
/// servers that limit connections per address.
pub(crate) const CONNECTIONS_PER_SOURCE: usize = 1_000;

/// The longest payload of one frame that the client takes.
pub(crate) const FRAME_BYTES: usize = (1 << 20) - 64;

/// The shared receive buffer: one frame of the longest kind and its head.
pub(crate) const RECEIVE_BYTES: usize = 1 << 20;

/// The largest `--size`: with its envelope it stays well below [`FRAME_BYTES`].
pub(crate) const MESSAGE_BYTES: usize = 256 * 1024;

/// The longest response head to an upgrade request.
pub(crate) const RESPONSE_HEAD_BYTES: usize = 8 * 1024;

/// Bytes that may wait on one connection because the server does not read.
pub(crate) const UNSENT_BYTES: usize = 16 << 20;

/// Reads of one connection before the others get their turn.
pub(crate) const READS_PER_TURN: usize = 8;

/// Publications written before the sockets are read again.
pub(crate) const PUBLISHES_PER_TURN: usize = 256;

/// With nothing at all happening for so long, the server counts as dead.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// From the start of the server to its line `listening on …`.
pub(crate) const SERVER_START: Duration = Duration::from_secs(10);

/// From the end of a dying server's sockets to its exit status, on a machine
/// that has much else to do.
pub(crate) const SERVER_EXIT: Duration = Duration::from_secs(2);

/// From SIGTERM to the end of the server, after which it is killed.
pub(crate) const SERVER_STOP: Duration = Duration::from_secs(15);

/// The longest `--duration`, in seconds: a day.
pub(crate) const DURATION_S: u64 = 86_400;

/// The most publications of one run: sequence numbers have 24 bits per
/// publisher, and the arrival of each is kept in memory.
pub(crate) const PUBLICATIONS: u64 = 1 << 23;

/// Steps into which the time of a load is divided for a plot: as many as a
/// screen can show.
pub(crate) const SERIES_BUCKETS: usize = 200;

/// The shortest of those steps: shorter ones would show the poll of the client.
pub(crate) const SERIES_STEP: Duration = Duration::from_millis(100);

/// The most client processes of one run.
pub(crate) const PROCESSES: usize = 64;

/// The most nodes of one run: beyond, one machine shows nothing new.
pub(crate) const CLUSTER_NODES: i64 = 8;

/// From the start of Redis to its first answer.
pub(crate) const REDIS_START: Duration = Duration::from_secs(10);

/// From the start of the last node until all are ready and know each other.
pub(crate) const NODES_READY: Duration = Duration::from_secs(20);

/// Publications of one publisher that may be unacknowledged.
pub(crate) const UNACKNOWLEDGED: u32 = 1_024;

/// Publications written to one connection at once by who publishes without pause.
pub(crate) const BATCH: u32 = 64;

/// With nothing delivered for so long, what is missing counts as lost: nodes find
/// losses within a second.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(3);
