//! How much of what was sent the peer's kernel has not acknowledged. Knows one
//! question to the kernel; no driver.

#![allow(unsafe_code, reason = "no package that is in use here wraps SIOCOUTQ")]

use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes in the send buffer of a TCP socket, be they underway or still to be sent
/// (`SIOCOUTQ`); 0 for a socket that is not connected.
pub(super) fn bytes_in_socket(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed. SIOCOUTQ, which is
    // TIOCOUTQ of a socket, writes one int to the address, where there is one, and
    // keeps nothing of it.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if answer == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}
