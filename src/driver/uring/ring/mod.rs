//! The ring: operations go in, completions come out, and whatever the kernel may
//! still read or write is owned here until it is done with it. What is unsafe of the
//! driver is in this folder and in `buffers`; what they offer is safe. Knows when the
//! kernel is entered; not what a connection is owed.
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

mod completions;
mod kinds;
mod operations;
mod setup;

use std::{collections::VecDeque, fmt, io, time::Duration};

use bytes::Bytes;
use io_uring::{
    IoUring,
    squeue::Entry,
    types::{CancelBuilder, SubmitArgs, Timespec},
};
use libc::{EAGAIN, EBUSY, EINTR, ETIME};
use slab::Slab;

use super::{
    arrivals::{Arrivals, Received, Tag},
    buffers::{Buffers, Chunk},
    load::Load,
};

pub(super) use self::{
    kinds::Completion,
    setup::{RingSettings, missing_operations, set_up},
};

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
    receive_limit: u32,
    incremental: bool,
    limited: bool,
    silent: bool,
    /// How long a closed connection may take to accept what it was sent before.
    pub(super) linger_time: &'static Timespec,
    /// The eventfd's poll must be armed again.
    unwatched: bool,
    /// The eventfd was written to since this was last asked.
    woken: bool,
    /// The kernel would not take what is queued.
    broken: bool,
}

/// `IORING_ENTER_GETEVENTS` of the kernel's interface.
const GET_EVENTS: u32 = 1;

/// How often a submission that the kernel cuts short is continued.
const ATTEMPTS: usize = 1000;

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
            receive_limit: settings.receive_limit.min(settings.buffer_bytes),
            incremental: false,
            limited: false,
            silent: settings.silent,
            linger_time: &kinds::LINGER_TIME,
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
        ring.limited = settings.limited && ring.can_limit_receives()?;
        Ok(ring)
    }

    /// Whether a receive ends after about [`Ring::receive_limit`] bytes.
    pub(super) fn limits_receives(&self) -> bool {
        self.limited
    }

    /// The most bytes of a receive that does not go on, and of each piece of one that
    /// does, if the kernel limits it.
    pub(super) fn receive_limit(&self) -> usize {
        self.receive_limit as usize
    }

    /// Whether the kernel puts several receives into one buffer.
    pub(super) fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// The lowest byte of the number of the submission that comes next.
    pub(super) fn epoch_byte(&self) -> u8 {
        self.epoch as u8
    }

    /// The number of the submission that comes next.
    #[cfg(test)]
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

    /// Gives the kernel the buffers that it lacks. Comes once a turn, when those of the
    /// last have come back: otherwise it would be given others, which nobody has used.
    pub(super) fn replenish(&mut self) {
        self.buffers.replenish();
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
}

impl Drop for Ring {
    /// Closes what was to be closed and ends what is underway, so that the kernel
    /// lets go of every socket and every byte before the memory is freed.
    fn drop(&mut self) {
        self.submit();
        // Nothing to cancel is an error too.
        let timeout = Timespec::from(Duration::from_secs(1));
        let _ = self.kernel.submitter().register_sync_cancel(Some(timeout), CancelBuilder::any());
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
