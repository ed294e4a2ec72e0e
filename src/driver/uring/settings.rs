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
    /// buffer by several receives (before Linux 6.12) or limit a receive (before
    /// Linux 6.17) there are 16 times as many of a sixteenth of the size.
    pub receive_buffer_bytes: u32,
    /// The most bytes that one connection receives at once, and after which its
    /// receive ends until they have been lent; at least 1. Default 64 KiB: a few of
    /// the largest usual messages, and a small part of all buffers. So at most twice
    /// as much of a connection has been received and not lent. Where the kernel
    /// cannot limit a receive, it is what the kernel receives at once, 32 buffers.
    pub receive_limit_bytes: u32,
    /// The most accepted sockets handed out in one turn; at least 1. Default 128.
    pub accept_batch: usize,
    /// Whether sends that succeed post no completion. Default true.
    pub silent_sends: bool,
    /// Whether buffers are to be filled by several receives if the kernel can.
    /// Default true.
    pub incremental_buffers: bool,
    /// Whether receives are to be limited if the kernel can. Default true.
    pub limited_receives: bool,
}

impl Default for UringSettings {
    fn default() -> Self {
        Self {
            submission_entries: 1024,
            receive_buffers: 16,
            receive_buffer_bytes: 256 << 10,
            receive_limit_bytes: 64 << 10,
            accept_batch: 128,
            silent_sends: true,
            incremental_buffers: true,
            limited_receives: true,
        }
    }
}

/// A ring with the buffers that suit what the kernel can do with them.
pub(super) fn open_ring(settings: &UringSettings) -> io::Result<Ring> {
    let mut wanted = RingSettings {
        submissions: settings.submission_entries.clamp(2, 1 << 15).next_power_of_two(),
        buffers: settings.receive_buffers.clamp(1, 1 << 15).next_power_of_two(),
        buffer_bytes: settings.receive_buffer_bytes.max(1),
        receive_limit: settings.receive_limit_bytes.max(1),
        incremental: settings.incremental_buffers,
        limited: settings.limited_receives,
        silent: settings.silent_sends,
    };
    let ring = Ring::new(&wanted)?;
    if ring.is_incremental() && ring.limits_receives() {
        return Ok(ring);
    }
    wanted.incremental = ring.is_incremental();
    wanted.limited = ring.limits_receives();
    drop(ring);
    wanted.buffers = wanted.buffers.saturating_mul(16).min(1 << 15);
    wanted.buffer_bytes = (wanted.buffer_bytes / 16).max(1);
    Ring::new(&wanted)
}
