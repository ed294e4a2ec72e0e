//! How a ring is made, and what of it the kernel offers. Knows flags and the names of
//! operations; carries out none.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// What a ring is made with.
#[derive(Clone, Debug)]
pub(in super::super) struct RingSettings {
    pub(in super::super) submissions: u32,
    pub(in super::super) buffers: u16,
    pub(in super::super) buffer_bytes: u32,
    /// The most bytes of a receive; at least 1.
    pub(in super::super) receive_limit: u32,
    pub(in super::super) incremental: bool,
    /// Whether a receive that goes on ends after those bytes, if the kernel can.
    pub(in super::super) limited: bool,
    pub(in super::super) silent: bool,
}

/// Completions for which the ring has room, as a multiple of the submissions: a
/// whole submission of sends may be refused, and as much again arrive.
const COMPLETIONS_PER_SUBMISSION: u32 = 4;

/// The kernel's side of a ring, with the flags that all rings here have.
///
/// # Errors
/// Those of the kernel: it is too old, forbids `io_uring`, or lacks memory.
pub(in super::super) fn set_up(submissions: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(submissions * COMPLETIONS_PER_SUBMISSION)
        .build(submissions)
}

/// What of the operations used here the kernel does not have, by name.
///
/// # Errors
/// Those of the kernel: it cannot say.
pub(in super::super) fn missing_operations(kernel: &IoUring) -> io::Result<Vec<&'static str>> {
    let mut probe = Probe::new();
    kernel.submitter().register_probe(&mut probe)?;
    let needed = [
        ("ACCEPT", opcode::AcceptMulti::CODE),
        ("RECV", opcode::RecvMulti::CODE),
        ("SEND", opcode::Send::CODE),
        ("SENDMSG", opcode::SendMsg::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
        ("CLOSE", opcode::Close::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("TIMEOUT", opcode::Timeout::CODE),
    ];
    let missing = needed.into_iter().filter(|(_, code)| !probe.is_supported(*code));
    Ok(missing.map(|(name, _)| name).collect())
}
