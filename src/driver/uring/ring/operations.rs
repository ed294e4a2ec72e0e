//! The operations that a ring is given, each named by its kind and its connection.
//! Knows how the kernel wants them described; not what comes of them.

#![allow(unsafe_code, reason = "a field that the `io-uring` crate does not set")]

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd},
};

use bytes::Bytes;
use io_uring::{
    opcode,
    squeue::{Entry, Flags},
    types::Fd,
};
use libc::{EBADF, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL, POLLERR, POLLIN};

use super::{
    Ring,
    kinds::{ACCEPT, FAILURE, LASTING, LINGER, OTHER, RECEIVE, SEND, WAKE},
};
use crate::{
    batch::Slice,
    driver::uring::{arrivals::Tag, buffers::GROUP, load::Queued},
};

/// The flags of a send that takes everything now or fails.
const AT_ONCE: i32 = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;

/// Where `struct io_uring_sqe` of the kernel's interface has `optlen`, which limits a
/// receive and which the `io-uring` crate does not set there.
const OPTLEN_OFFSET: usize = 44;
const _: () = assert!(size_of::<Entry>() == 64);

impl Ring {
    /// Whether the kernel takes a limited receive (Linux 6.17). It looks at the limit
    /// before it looks for the socket, which there is none of.
    pub(super) fn can_limit_receives(&mut self) -> io::Result<bool> {
        self.push(&limited_receive(Fd(-1), self.receive_limit).user_data(OTHER));
        self.kernel.submit_and_wait(1)?;
        let mut results = self.kernel.completion().map(|completed| completed.result());
        Ok(results.next() == Some(-EBADF))
    }

    /// Begins to accept on `listener`, which must be blocking: of one that is not,
    /// the kernel would report each time that nobody is there.
    pub(in super::super) fn accept(&mut self, listener: &TcpListener) {
        let fd = Fd(listener.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.push(&entry.user_data(ACCEPT));
    }

    /// Ends that.
    pub(in super::super) fn cancel_accept(&mut self) {
        self.cancel(ACCEPT);
    }

    /// Makes every write to `eventfd` end the current or next wait.
    pub(in super::super) fn watch(&mut self, eventfd: BorrowedFd<'_>) {
        if std::mem::take(&mut self.unwatched) {
            let poll = opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), POLLIN.cast_unsigned().into())
                .multi(true);
            self.push(&poll.build().user_data(WAKE));
        }
    }

    /// Begins to receive, until a completion says that it has ended. If the kernel
    /// limits receives, that is after less than twice the limit.
    pub(in super::super) fn receive(&mut self, tag: Tag, socket: &TcpStream) {
        let fd = Fd(socket.as_raw_fd());
        let entry = if self.limited {
            limited_receive(fd, self.receive_limit)
        } else {
            opcode::RecvMulti::new(fd, GROUP).build()
        };
        self.push(&entry.user_data(RECEIVE | tag.to_bits()));
    }

    /// Receives once, at most as much as the limit.
    pub(in super::super) fn receive_once(&mut self, tag: Tag, socket: &TcpStream) {
        let fd = Fd(socket.as_raw_fd());
        let max = self.receive_limit;
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), max).buf_group(GROUP).build();
        self.push(&entry.flags(Flags::BUFFER_SELECT).user_data(RECEIVE | tag.to_bits()));
    }

    /// Ends either. A last completion follows.
    pub(in super::super) fn cancel_receive(&mut self, tag: Tag) {
        self.cancel(RECEIVE | tag.to_bits());
    }

    /// Reports an error of `socket` as soon as it has one. Goes on behind the end of
    /// the stream, which every poll reports whatever it is asked for.
    pub(in super::super) fn watch_failure(&mut self, tag: Tag, socket: &TcpStream) {
        let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), POLLERR.cast_unsigned().into())
            .multi(true);
        self.push(&poll.build().user_data(FAILURE | tag.to_bits()));
    }

    /// Ends that.
    pub(in super::super) fn cancel_failure_watch(&mut self, tag: Tag) {
        self.cancel(FAILURE | tag.to_bits());
    }

    /// Queues one silent send, the only one for `tag` in this submission. Not if
    /// the kernel takes no submissions any more, which the next wait reports.
    pub(in super::super) fn send(&mut self, tag: Tag, socket: &TcpStream, batch: &[Slice<'_>]) {
        if !self.load.has_room_for(batch) || self.is_full() {
            self.submit();
            if !self.load.has_room_for(batch) || self.is_full() {
                self.broken = true;
                return;
            }
        }
        let fd = Fd(socket.as_raw_fd());
        let (index, queued) = self.load.add(tag, batch);
        let entry = match queued {
            Queued::One(bytes) => {
                opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).flags(AT_ONCE).build()
            }
            Queued::Many(header) => {
                opcode::SendMsg::new(fd, header).flags(AT_ONCE.cast_unsigned()).build()
            }
        };
        let flags = if self.silent { Flags::SKIP_SUCCESS } else { Flags::empty() };
        self.push(&entry.flags(flags).user_data(SEND | u64::from(index)));
    }

    /// Sends what the socket takes of `bytes` as soon as it takes any, however long
    /// that is, and gives the number by which it can be cancelled.
    pub(in super::super) fn send_lasting(
        &mut self,
        tag: Tag,
        socket: &TcpStream,
        bytes: Bytes,
    ) -> u32 {
        let fd = Fd(socket.as_raw_fd());
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(fd, bytes.as_ptr(), len).flags(MSG_NOSIGNAL).build();
        // The bytes stay where they are when their handle moves into the slab.
        let key = self.lasting.insert((tag, bytes)) as u32;
        self.push(&entry.user_data(LASTING | u64::from(key)));
        key
    }

    /// Ends that. A last completion follows.
    pub(in super::super) fn cancel_lasting(&mut self, key: u32) {
        self.cancel(LASTING | u64::from(key));
    }

    /// Reports when the time that a closed connection has to take what it was sent
    /// is over.
    pub(in super::super) fn time_lingering(&mut self, tag: Tag) {
        let entry = opcode::Timeout::new(self.linger_time).build();
        self.push(&entry.user_data(LINGER | tag.to_bits()));
    }

    /// Closes `socket` after all that was queued before.
    pub(in super::super) fn close(&mut self, socket: TcpStream) {
        let entry = opcode::Close::new(Fd(socket.into_raw_fd())).build();
        self.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(OTHER));
    }

    fn cancel(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data).build();
        self.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(OTHER));
    }
}

/// A receive that goes on until it has brought `limit` bytes, in pieces of at most as
/// many.
fn limited_receive(fd: Fd, limit: u32) -> Entry {
    let mut entry = opcode::RecvMulti::new(fd, GROUP).len(limit).build();
    // SAFETY: an entry is the kernel's `struct io_uring_sqe` and nothing else
    // (`repr(C)`), of which this writes the field `optlen`, four bytes that may hold
    // any value.
    unsafe { (&raw mut entry).byte_add(OPTLEN_OFFSET).cast::<u32>().write(limit) };
    entry
}
