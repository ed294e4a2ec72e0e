//! What a driver is made with, and the ring that comes of it.

use std::io;

use super::ring::{Ring, RingSettings};

/// Bounds of one [`UringDriver`](super::UringDriver).
#[derive(Clone, Debug)]
pub struct UringSettings {
    /// Operations in one submission; a power of two. Default 1024.
    pub submission_entries: u32,
    /// Receive buffers; a power of two, at most 32,768. Default 16.
    pub receive_buffers: u16,
    /// Size of each, in bytes. Default 256 KiB. Where the kernel cannot fill a
    /// buffer by several receives (before Linux 6.12) there are 16 times as many of
    /// a sixteenth of the size.
    pub receive_buffer_bytes: u32,
    /// The most accepted sockets handed out in one turn; at least 1. Default 128.
    pub accept_batch: usize,
    /// Whether sends that succeed post no completion. Default true.
    pub silent_sends: bool,
    /// Whether buffers are to be filled by several receives if the kernel can.
    /// Default true.
    pub incremental_buffers: bool,
}

impl Default for UringSettings {
    fn default() -> Self {
        Self {
            submission_entries: 1024,
            receive_buffers: 16,
            receive_buffer_bytes: 256 << 10,
            accept_batch: 128,
            silent_sends: true,
            incremental_buffers: true,
        }
    }
}

/// A ring with the buffers that suit what the kernel can do with them.
pub(super) fn open_ring(settings: &UringSettings) -> io::Result<Ring> {
    let mut wanted = RingSettings {
        submissions: settings.submission_entries.clamp(2, 1 << 15).next_power_of_two(),
        buffers: settings.receive_buffers.clamp(1, 1 << 15).next_power_of_two(),
        buffer_bytes: settings.receive_buffer_bytes.max(1),
        incremental: settings.incremental_buffers,
        silent: settings.silent_sends,
    };
    let ring = Ring::new(&wanted)?;
    if ring.is_incremental() {
        return Ok(ring);
    }
    drop(ring);
    wanted.incremental = false;
    wanted.buffers = wanted.buffers.saturating_mul(16).min(1 << 15);
    wanted.buffer_bytes = (wanted.buffer_bytes / 16).max(1);
    Ring::new(&wanted)
}
