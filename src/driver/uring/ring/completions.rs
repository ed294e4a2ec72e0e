//! What comes of operations: completions are taken from the kernel, what was received
//! is put in line, and everything else is said in the driver's terms. Knows the kinds
//! of operations; not who waits for them.

#![allow(unsafe_code, reason = "descriptors that the kernel makes")]

use std::{io, net::TcpStream, os::fd::FromRawFd};

use io_uring::cqueue::{self, Entry as Completed};
use libc::{ECANCELED, ENOBUFS, POLLERR};

use super::{
    Ring,
    kinds::{ACCEPT, Completion, FAILURE, KIND_SHIFT, LASTING, LINGER, RECEIVE, SEND, WAKE},
};
use crate::driver::uring::{
    arrivals::{Received, Tag},
    buffers::Buffers,
};

impl Ring {
    /// Takes what the kernel has completed.
    pub(super) fn reap(&mut self) {
        let Self {
            kernel,
            buffers,
            load,
            lasting,
            received,
            completions,
            received_bytes,
            unwatched,
            woken,
            ..
        } = self;
        for completed in kernel.completion() {
            let data = completed.user_data();
            let rest = data & !(0xFF << KIND_SHIFT);
            match data - rest {
                RECEIVE => {
                    let goes_on = cqueue::more(completed.flags());
                    let what = receive(buffers, &completed);
                    match &what {
                        Received::Chunk(chunk) => *received_bytes += chunk.len(),
                        Received::NoBuffer => buffers.on_none_left(),
                        Received::End | Received::Cancelled | Received::Failed(_) => {}
                    }
                    received.push(Tag::from_bits(rest), what, goes_on);
                }
                SEND => {
                    self.answered_sends = self.answered_sends.wrapping_add(1);
                    let refused = load.refused(rest as u32, outcome(&completed));
                    completions.extend(refused.map(|(tag, tail)| Completion::Refused(tag, tail)));
                }
                LASTING => {
                    // The key is free for another send only after this.
                    if let Some((tag, _)) = lasting.try_remove(rest as usize) {
                        completions.push_back(Completion::Sent(tag, outcome(&completed)));
                    }
                }
                ACCEPT => {
                    if completed.result() >= 0 {
                        // SAFETY: the kernel has just made this descriptor for us.
                        let socket = unsafe { TcpStream::from_raw_fd(completed.result()) };
                        completions.push_back(Completion::Accepted(socket));
                    }
                    if !cqueue::more(completed.flags()) {
                        let error = outcome(&completed).err();
                        let error = error.unwrap_or_else(|| io::ErrorKind::Interrupted.into());
                        completions.push_back(Completion::AcceptEnded(error));
                    }
                }
                WAKE => {
                    *woken = true;
                    *unwatched |= !cqueue::more(completed.flags());
                }
                LINGER => {
                    completions.push_back(Completion::LingerOver(Tag::from_bits(rest)));
                }
                FAILURE if has_failed(completed.result()) => {
                    completions.push_back(Completion::FailureSeen(Tag::from_bits(rest)));
                }
                _ => {}
            }
        }
    }
}

/// The result of an operation as a number of bytes or an error.
fn outcome(completed: &Completed) -> io::Result<usize> {
    let result = completed.result();
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Whether a poll with this `result` has found an error of its socket.
fn has_failed(result: i32) -> bool {
    result > 0 && result & i32::from(POLLERR) != 0
}

fn receive(buffers: &mut Buffers, completed: &Completed) -> Received {
    let (result, flags) = (completed.result(), completed.flags());
    let chunk = cqueue::buffer_select(flags).and_then(|buffer| {
        buffers.take(buffer, result.max(0).cast_unsigned(), cqueue::buffer_more(flags))
    });
    match (result, chunk) {
        (1.., Some(chunk)) => Received::Chunk(chunk),
        (_, chunk) => {
            // An end may come with a buffer that was chosen for nothing.
            if let Some(chunk) = chunk {
                buffers.put_back(chunk);
            }
            match result {
                0 => Received::End,
                _ if result == -ENOBUFS => Received::NoBuffer,
                _ if result == -ECANCELED => Received::Cancelled,
                _ => Received::Failed(io::Error::from_raw_os_error(result.abs())),
            }
        }
    }
}
