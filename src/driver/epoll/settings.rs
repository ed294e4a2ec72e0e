//! What a driver is made with.

/// Bounds of one [`EpollDriver`](super::EpollDriver).
#[derive(Clone, Debug)]
pub struct EpollSettings {
    /// Size of the one receive buffer, in bytes; at least 1. Default 256 KiB:
    /// large enough for many frames in one read, small enough for the core's own
    /// cache.
    pub receive_buffer_bytes: usize,
    /// The most sockets served, and the most events asked of the kernel, in one
    /// turn; at least 1. Default 1024.
    pub events_per_wait: usize,
    /// The most accepts in one turn; at least 1. Default 128.
    pub accept_batch: usize,
    /// The most reads of one socket in one turn, each of which comes after one of
    /// every other that has something; at least 1. Default 4.
    pub reads_per_event: u32,
    /// The bytes after which a turn reads no more; at least 1. Default 1 MiB: a turn
    /// stays short whoever sends how much, and every sender of 16 KiB messages among
    /// fifty still has its share in it.
    pub received_bytes_per_turn: usize,
}

impl Default for EpollSettings {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: 256 << 10,
            events_per_wait: 1024,
            accept_batch: 128,
            reads_per_event: 4,
            received_bytes_per_turn: 1 << 20,
        }
    }
}
