//! The ring: operations go in, completions come out, and whatever the kernel may
//! still read or write is owned here until it is done with it. Everything unsafe
//! of the driver is in this file and in `buffers`; what they offer is safe. Knows
//! operations and their completions; not what a connection is owed.
//!
//! # Silent sends
//!
//! [`Ring::send`] queues a send that is carried out while the queue is submitted
//! and never later (`MSG_DONTWAIT`), that counts as failed unless it took
//! everything (`MSG_WAITALL`), and that posts a completion only if it failed
//! (`IOSQE_CQE_SKIP_SUCCESS`). So what it reads must live until the submission
//! that contains it has returned, and no longer; thousands of such sends cost one
//! call of the kernel. At most one for each socket may be in a submission: the
//! second could overtake what the first left over.

#![allow(unsafe_code, reason = "what is shared with the kernel")]

use std::{
    collections::VecDeque,
    fmt, io,
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd},
    time::Duration,
};

use bytes::Bytes;
use io_uring::{
    IoUring, Probe,
    cqueue::{self, Entry as Completed},
    opcode,
    squeue::{Entry, Flags},
    types::{CancelBuilder, Fd, SubmitArgs, Timespec},
};
use libc::{
    EAGAIN, EBUSY, EINTR, ENOBUFS, ETIME, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL, POLLERR, POLLIN,
};
use slab::Slab;

use super::{
    arrivals::{Arrivals, Received, Tag},
    buffers::{Buffers, Chunk, GROUP},
    load::{Load, Queued},
};
use crate::{batch::Slice, driver::tail::Tail};

/// What came of an operation, but for what is received.
#[derive(Debug)]
pub(super) enum Completion {
    Accepted(TcpStream),
    /// Nothing is accepted any more until `accept` is called again.
    AcceptEnded(io::Error),
    /// A silent send took so much, or failed; the rest of its bytes, if it was no
    /// failure.
    Refused(Tag, io::Result<Tail>),
    /// A lasting send took so much, or failed.
    Sent(Tag, io::Result<usize>),
    /// The time of a farewell is over.
    FarewellOver(Tag),
    /// A socket has an error.
    FailureSeen(Tag),
}

/// How a ring is made.
#[derive(Clone, Debug)]
pub(super) struct RingSettings {
    pub(super) submissions: u32,
    pub(super) buffers: u16,
    pub(super) buffer_bytes: u32,
    pub(super) incremental: bool,
    pub(super) silent: bool,
}

/// One `io_uring`. Must stay on the thread that made it: the kernel refuses all
/// others (`IORING_SETUP_SINGLE_ISSUER`).
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
pub(super) struct Ring {
    // Dropped before all memory that the kernel may know.
    kernel: IoUring,
    buffers: Buffers,
    /// What the silent sends of the next submission read.
    load: Load,
    /// What lasting sends read, by the key in their `user_data`.
    lasting: Slab<(Tag, Bytes)>,
    received: Arrivals,
    /// Bytes of chunks that have not come back.
    received_bytes: usize,
    completions: VecDeque<Completion>,
    /// Counts submissions.
    epoch: u32,
    answered_sends: u32,
    incremental: bool,
    silent: bool,
    /// The eventfd's poll must be armed again.
    unwatched: bool,
    /// The eventfd was written to since this was last asked.
    woken: bool,
    /// The kernel would not take what is queued.
    broken: bool,
}

const KIND_SHIFT: u32 = 56;
const ACCEPT: u64 = 1 << KIND_SHIFT;
const WAKE: u64 = 2 << KIND_SHIFT;
const RECEIVE: u64 = 3 << KIND_SHIFT;
const SEND: u64 = 4 << KIND_SHIFT;
const LASTING: u64 = 5 << KIND_SHIFT;
const FAREWELL: u64 = 6 << KIND_SHIFT;
const FAILURE: u64 = 7 << KIND_SHIFT;
/// Cancellations and closes, which are silent or of no interest.
const OTHER: u64 = 8 << KIND_SHIFT;

/// Completions for which the ring has room, as a multiple of the submissions: a
/// whole submission of sends may be refused, and as much again arrive.
const COMPLETIONS_PER_SUBMISSION: u32 = 4;

/// The flags of a send that takes everything now or fails.
const AT_ONCE: i32 = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;

/// `IORING_ENTER_GETEVENTS` of the kernel's interface.
const GET_EVENTS: u32 = 1;

/// How long a closed connection may take to accept what it was sent before.
static FAREWELL_TIME: Timespec = Timespec::new().sec(5);

/// How often a submission that the kernel cuts short is continued.
const ATTEMPTS: usize = 1000;

/// The kernel's side of a ring, with the flags that all rings here have.
///
/// # Errors
/// Those of the kernel: it is too old, forbids `io_uring`, or lacks memory.
pub(super) fn set_up(submissions: u32) -> io::Result<IoUring> {
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
pub(super) fn missing_operations(kernel: &IoUring) -> io::Result<Vec<&'static str>> {
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

impl Ring {
    /// A ring and its receive buffers.
    ///
    /// # Errors
    /// Those of the kernel: it is too old, forbids `io_uring`, or lacks memory.
    pub(super) fn new(settings: &RingSettings) -> io::Result<Self> {
        let mut ring = Self {
            kernel: set_up(settings.submissions)?,
            buffers: Buffers::new(settings.buffers, settings.buffer_bytes),
            load: Load::new(),
            lasting: Slab::new(),
            received: Arrivals::default(),
            received_bytes: 0,
            completions: VecDeque::new(),
            epoch: 0,
            answered_sends: 0,
            incremental: false,
            silent: settings.silent,
            unwatched: true,
            woken: false,
            broken: false,
        };
        // SAFETY: the kernel's side is the first field of `Self`, so it is dropped
        // before the buffers are, and nobody else registers them.
        let register = |submitter: &_, buffers: &mut Buffers| unsafe {
            buffers.register(submitter, settings.incremental)
        };
        ring.incremental = register(&ring.kernel.submitter(), &mut ring.buffers)?;
        Ok(ring)
    }

    /// Whether the kernel puts several receives into one buffer.
    pub(super) fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// The number of the submission that comes next.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many sends have posted a completion, lasting ones apart.
    pub(super) fn answered_sends(&self) -> u32 {
        self.answered_sends
    }

    /// How many receive buffers there are, and the size of each in bytes.
    pub(super) fn buffer_dimensions(&self) -> (usize, usize) {
        self.buffers.dimensions()
    }

    /// Whether a buffer is left to receive into.
    pub(super) fn has_buffers(&self) -> bool {
        self.buffers.any_left()
    }

    /// Whether an enter would have something to submit, to run or to fetch.
    pub(super) fn needs_enter(&mut self) -> bool {
        let queue = self.kernel.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Whether somebody has used the waker since this was last asked.
    pub(super) fn take_woken(&mut self) -> bool {
        std::mem::take(&mut self.woken)
    }

    /// Whether completions wait for an enter to be posted.
    pub(super) fn has_more_to_gather(&mut self) -> bool {
        self.kernel.submission().taskrun()
    }

    /// Begins to accept on `listener`, which must be blocking: of one that is not,
    /// the kernel would report each time that nobody is there.
    pub(super) fn accept(&mut self, listener: &TcpListener) {
        let fd = Fd(listener.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.push(&entry.user_data(ACCEPT));
    }

    /// Ends that.
    pub(super) fn cancel_accept(&mut self) {
        self.cancel(ACCEPT);
    }

    /// Makes every write to `eventfd` end the current or next wait.
    pub(super) fn watch(&mut self, eventfd: BorrowedFd<'_>) {
        if std::mem::take(&mut self.unwatched) {
            let poll = opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), POLLIN.cast_unsigned().into())
                .multi(true);
            self.push(&poll.build().user_data(WAKE));
        }
    }

    /// Begins to receive, until a completion says that it has ended.
    pub(super) fn receive(&mut self, tag: Tag, socket: &TcpStream) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(&entry.user_data(RECEIVE | tag.to_bits()));
    }

    /// Receives once, at most so many bytes.
    pub(super) fn receive_once(&mut self, tag: Tag, socket: &TcpStream, most: usize) {
        let fd = Fd(socket.as_raw_fd());
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), most).buf_group(GROUP).build();
        self.push(&entry.flags(Flags::BUFFER_SELECT).user_data(RECEIVE | tag.to_bits()));
    }

    /// Ends either. A last completion follows.
    pub(super) fn cancel_receive(&mut self, tag: Tag) {
        self.cancel(RECEIVE | tag.to_bits());
    }

    /// Reports an error of `socket` as soon as it has one, once, and not after its
    /// peer has ended the stream.
    pub(super) fn watch_failure(&mut self, tag: Tag, socket: &TcpStream) {
        let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), POLLERR.cast_unsigned().into());
        self.push(&poll.build().user_data(FAILURE | tag.to_bits()));
    }

    /// Ends that.
    pub(super) fn cancel_failure_watch(&mut self, tag: Tag) {
        self.cancel(FAILURE | tag.to_bits());
    }

    /// Queues one silent send, the only one for `tag` in this submission. Not if
    /// the kernel takes no submissions any more, which the next wait reports.
    pub(super) fn send(&mut self, tag: Tag, socket: &TcpStream, batch: &[Slice<'_>]) {
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
    pub(super) fn send_lasting(&mut self, tag: Tag, socket: &TcpStream, bytes: Bytes) -> u32 {
        let fd = Fd(socket.as_raw_fd());
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(fd, bytes.as_ptr(), len).flags(MSG_NOSIGNAL).build();
        // The bytes stay where they are when their handle moves into the slab.
        let key = self.lasting.insert((tag, bytes)) as u32;
        self.push(&entry.user_data(LASTING | u64::from(key)));
        key
    }

    /// Ends that. A last completion follows.
    pub(super) fn cancel_lasting(&mut self, key: u32) {
        self.cancel(LASTING | u64::from(key));
    }

    /// Reports when the time that a closed connection has to take what it was sent
    /// is over.
    pub(super) fn time_farewell(&mut self, tag: Tag) {
        let entry = opcode::Timeout::new(&raw const FAREWELL_TIME).build();
        self.push(&entry.user_data(FAREWELL | tag.to_bits()));
    }

    /// Closes `socket` after all that was queued before.
    pub(super) fn close(&mut self, socket: TcpStream) {
        let entry = opcode::Close::new(Fd(socket.into_raw_fd())).build();
        self.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(OTHER));
    }

    fn cancel(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data).build();
        self.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(OTHER));
    }

    fn is_full(&mut self) -> bool {
        self.kernel.submission().is_full()
    }

    fn push(&mut self, entry: &Entry) {
        for _ in 0..ATTEMPTS {
            // SAFETY: what the entry points to is owned by `self` until the kernel is
            // done with it: `load` is emptied only after the submission in which its
            // sends are carried out, `lasting` entry by entry at their completions,
            // and the buffers stay until the ring is gone; `send` has seen that the
            // queue has room, so that none of its entries is pushed after a
            // submission that empties `load`. The timeout's time is static.
            // Descriptors are numbers, queued before the close that ends them.
            if unsafe { self.kernel.submission().push(entry) }.is_ok() {
                return;
            }
            self.submit();
        }
        self.broken = true;
    }

    /// Submits what is queued and takes what has completed, without waiting.
    pub(super) fn submit(&mut self) {
        // An error that lasts is met again, and reported, by the next wait.
        let _ = self.enter(0, Some(Duration::ZERO));
    }

    /// Submits what is queued, waits until something has completed or `timeout` is
    /// over (`None`: no limit), and takes what has completed.
    ///
    /// # Errors
    /// Only what makes the ring useless.
    pub(super) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        let has_overflown = self.kernel.submission().cq_overflow();
        self.fetch_overflow()?;
        let mut want = if has_overflown { 0 } else { want };
        for _ in 0..ATTEMPTS {
            match self.enter_once(want, timeout) {
                Ok(()) => {}
                Err(error) => match error.raw_os_error() {
                    // The wait is over, or completions must be taken first. What was
                    // submitted the queue says.
                    Some(ETIME | EINTR | EBUSY | EAGAIN) => {}
                    _ => return Err(error),
                },
            }
            self.reap();
            if self.kernel.submission().is_empty() {
                break;
            }
            want = 0;
        }
        if self.broken || !self.kernel.submission().is_empty() {
            return Err(io::Error::from_raw_os_error(EBUSY));
        }
        // Behind completions that the kernel holds back there may be those of sends
        // that were refused just now.
        self.fetch_overflow()?;
        // Every silent send was carried out, and those that were refused have been
        // taken out by `reap`.
        self.load.clear();
        self.epoch = self.epoch.wrapping_add(1);
        Ok(())
    }

    fn enter_once(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        let submitter = self.kernel.submitter();
        match timeout.filter(|_| want > 0) {
            None => submitter.submit_and_wait(want)?,
            Some(timeout) => {
                let spec = Timespec::from(timeout);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&spec))?
            }
        };
        Ok(())
    }

    /// Makes room for the completions of a submission: as long as the kernel holds
    /// some back, it would put those of refused sends behind them.
    fn fetch_overflow(&mut self) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            if !self.kernel.submission().cq_overflow() {
                return Ok(());
            }
            self.reap();
            // SAFETY: nothing is submitted, and no argument is given.
            unsafe { self.kernel.submitter().enter::<libc::sigset_t>(0, 0, GET_EVENTS, None)? };
            self.reap();
        }
        Err(io::Error::from_raw_os_error(EBUSY))
    }

    /// The next thing that came of an operation.
    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// The next thing that arrived, and whether the receive goes on.
    pub(super) fn next_received(&mut self) -> Option<(Tag, Received, bool)> {
        self.received.pop()
    }

    /// How many arrivals wait to be taken.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    /// Bytes that have arrived and are still in use.
    pub(super) fn received_bytes(&self) -> usize {
        self.received_bytes
    }

    /// Whether something that arrived for `tag` waits to be taken.
    pub(super) fn has_received(&self, tag: Tag) -> bool {
        self.received.has(tag)
    }

    /// Takes all that arrived for `tag` out of the line.
    pub(super) fn take_received(&mut self, tag: Tag) -> Vec<(Received, bool)> {
        self.received.take(tag)
    }

    /// The bytes of a chunk.
    pub(super) fn lend(&mut self, chunk: &Chunk) -> &mut [u8] {
        self.buffers.lend(chunk)
    }

    /// Takes a chunk back.
    pub(super) fn put_back(&mut self, chunk: Chunk) {
        self.received_bytes -= chunk.len();
        self.buffers.put_back(chunk);
    }

    /// Takes what the kernel has completed.
    fn reap(&mut self) {
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
                    if let Received::Chunk(chunk) = &what {
                        *received_bytes += chunk.len();
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
                FAREWELL => {
                    completions.push_back(Completion::FarewellOver(Tag::from_bits(rest)));
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

/// Whether a poll that ended with `result` has found an error of its socket.
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
                _ => Received::Failed(io::Error::from_raw_os_error(result.abs())),
            }
        }
    }
}

impl Drop for Ring {
    /// Closes what was to be closed and ends what is underway, so that the kernel
    /// lets go of every socket and every byte before the memory is freed.
    fn drop(&mut self) {
        self.submit();
        // Nothing to cancel is an error too.
        let patience = Timespec::from(Duration::from_secs(1));
        let _ = self.kernel.submitter().register_sync_cancel(Some(patience), CancelBuilder::any());
        for _ in 0..ATTEMPTS {
            self.submit();
            if !self.has_more_to_gather() {
                break;
            }
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
