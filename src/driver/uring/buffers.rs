//! The receive buffers of a ring: memory that the kernel fills in the order in
//! which it was given, and lends back piece by piece. Knows the layout that the
//! kernel prescribes; not who sent what.
//!
//! With incremental consumption (Linux 6.12) a buffer takes one receive after the
//! other until it is full, so small messages lie side by side and large ones whole.
//! Without it every receive takes a buffer of its own.
//!
//! The kernel fills buffers in the order in which it was given them. If it had all of
//! them, it would go round through all their memory, however little arrives, and find
//! none of it in the core's cache. So it has a few, those that were in use last, and
//! more when it has found none.

#![allow(unsafe_code, reason = "memory that is shared with the kernel")]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    io,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{Submitter, types::BufRingEntry};

/// The group under which receives name these buffers.
pub(super) const GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC` of the kernel's interface.
const INCREMENTAL: u16 = 2;

/// The kernel wants the entries on a page of their own.
const PAGE_BYTES: usize = 4096;

/// What the kernel is given to fill at first, in bytes: twice what is gathered before
/// it is lent, and the bytes of four connections whose receives are limited.
const SUPPLY_BYTES: usize = 512 << 10;

/// After so many supplies of which less than a half was used, half as much is given.
const SUPPLIES_PER_REVIEW: u32 = 256;

/// Received bytes that lie in a buffer. There is one for each stretch of bytes
/// that the kernel has reported, and it is handed back exactly once.
#[derive(Debug)]
pub(super) struct Chunk {
    buffer: u16,
    start: u32,
    len: u32,
}

impl Chunk {
    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

/// Where one buffer stands.
#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    /// How many of its bytes the kernel has reported.
    filled: u32,
    /// Chunks of it that have not come back.
    chunks: u32,
    /// The kernel is done with it.
    done: bool,
}

/// `count` buffers of `each` bytes.
///
/// Invariant: of every buffer, the bytes below `filled` have been reported by the
/// kernel and are its no more until the buffer is given to it anew, which happens
/// only when the kernel is done with it and all its chunks have come back.
#[derive(Debug)]
pub(super) struct Buffers {
    memory: NonNull<u8>,
    entries: NonNull<BufRingEntry>,
    count: u16,
    each: u32,
    fills: Box<[Fill]>,
    tail: u16,
    /// Buffers that nobody uses, the one that was in use last on top.
    free: Vec<u16>,
    /// Buffers that the kernel has to fill.
    supplied: u16,
    /// As many as it is to have.
    supply: u16,
    /// The fewest that it has had since the last review.
    fewest: u16,
    supplies: u32,
}

impl Buffers {
    /// Buffers that no ring knows yet. `count` is a power of two, at most 2^15;
    /// `each` is at least 1.
    pub(super) fn new(count: u16, each: u32) -> Self {
        debug_assert!(count.is_power_of_two() && count <= 1 << 15 && each > 0);
        let memory = allocate(Self::memory_layout(count, each));
        let entries = allocate(Self::entries_layout(count)).cast();
        let fills = vec![Fill::default(); usize::from(count)].into_boxed_slice();
        let mut buffers = Self {
            memory,
            entries,
            count,
            each,
            fills,
            tail: 0,
            free: (0..count).rev().collect(),
            supplied: 0,
            supply: 0,
            fewest: 0,
            supplies: 0,
        };
        buffers.supply = buffers.least_supply();
        // One more, for a turn that does not lend everything.
        buffers.touch(usize::from(buffers.supply.saturating_add(1).min(count)));
        buffers
    }

    /// Registers them with the ring of `submitter` and gives it all of them. Says
    /// whether the kernel fills them incrementally, which is tried first if
    /// `incremental`.
    ///
    /// # Safety
    /// `self` must not be dropped before that ring is, nor registered again.
    ///
    /// # Errors
    /// Those of the kernel: it is too old, or lacks memory.
    // SAFETY: as above; what the kernel is told of lives in `self`.
    pub(super) unsafe fn register(
        &mut self,
        submitter: &Submitter<'_>,
        incremental: bool,
    ) -> io::Result<bool> {
        let address = self.entries.as_ptr() as u64;
        let register = |flags| {
            // SAFETY: the entries have room for `count`, stand on a page of their
            // own, and live as long as the ring, which the caller promises.
            unsafe { submitter.register_buf_ring_with_flags(address, self.count, GROUP, flags) }
        };
        let incremental = incremental && register(INCREMENTAL).is_ok();
        if !incremental {
            register(0)?;
        }
        self.replenish();
        Ok(incremental)
    }

    /// How many there are, and the size of each in bytes.
    pub(super) fn dimensions(&self) -> (usize, usize) {
        (usize::from(self.count), self.each as usize)
    }

    /// Whether there is a buffer to fill.
    pub(super) fn any_left(&self) -> bool {
        self.supplied > 0 || !self.free.is_empty()
    }

    /// Gives the kernel what it lacks.
    pub(super) fn replenish(&mut self) {
        while self.supplied < self.supply
            && let Some(buffer) = self.free.pop()
        {
            self.give(buffer);
        }
        self.supplies += 1;
        if self.supplies == SUPPLIES_PER_REVIEW {
            if self.fewest > self.supply / 2 {
                self.supply = (self.supply / 2).max(self.least_supply());
            }
            (self.supplies, self.fewest) = (0, self.supplied);
        }
    }

    /// The kernel has found no buffer: it is to have more, if there are more.
    pub(super) fn on_none_left(&mut self) {
        if self.supplied == 0 && !self.free.is_empty() {
            self.supply = self.supply.saturating_mul(2).min(self.count);
            self.replenish();
        }
    }

    fn least_supply(&self) -> u16 {
        let buffers = (SUPPLY_BYTES / self.each as usize).max(2);
        u16::try_from(buffers).unwrap_or(u16::MAX).min(self.count)
    }

    /// Has the memory of the first `buffers` be there before anything is received, so
    /// that it is not mistaken for that of connections.
    fn touch(&mut self, buffers: usize) {
        for at in (0..buffers * self.each as usize).step_by(PAGE_BYTES) {
            // SAFETY: there are as many buffers of as many bytes, and nobody else knows
            // of them yet.
            unsafe { self.memory.as_ptr().add(at).write_volatile(0) };
        }
    }

    /// The kernel reports `len` bytes more in `buffer`, and whether it goes on
    /// with that buffer. `None` if it names no buffer or more than fits, which it
    /// never does.
    pub(super) fn take(&mut self, buffer: u16, len: u32, goes_on: bool) -> Option<Chunk> {
        let fill = self.fills.get_mut(usize::from(buffer))?;
        let start = fill.filled;
        fill.filled = start.checked_add(len).filter(|filled| *filled <= self.each)?;
        fill.chunks += 1;
        fill.done = !goes_on;
        if !goes_on {
            self.supplied = self.supplied.saturating_sub(1);
            self.fewest = self.fewest.min(self.supplied);
        }
        Some(Chunk { buffer, start, len })
    }

    /// The bytes of `chunk`.
    pub(super) fn lend(&mut self, chunk: &Chunk) -> &mut [u8] {
        let start = usize::from(chunk.buffer) * self.each as usize + chunk.start as usize;
        // SAFETY: `take` made the chunk and saw that it lies inside its buffer. The
        // kernel has reported these bytes and writes only behind them until the
        // buffer is given to it again, which waits for this chunk to come back. No
        // two chunks overlap, and the borrow of `self` ends the slice before that.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr().add(start), chunk.len()) }
    }

    /// Takes a chunk back, and its buffer if nothing of that is in use any more.
    #[expect(clippy::needless_pass_by_value, reason = "a chunk comes back once")]
    pub(super) fn put_back(&mut self, chunk: Chunk) {
        let fill = &mut self.fills[usize::from(chunk.buffer)];
        debug_assert!(fill.chunks > 0);
        fill.chunks -= 1;
        if fill.done && fill.chunks == 0 {
            self.free.push(chunk.buffer);
        }
    }

    fn give(&mut self, buffer: u16) {
        self.fills[usize::from(buffer)] = Fill::default();
        self.supplied += 1;
        let index = usize::from(self.tail & (self.count - 1));
        let start = usize::from(buffer) * self.each as usize;
        // SAFETY: the entries are `count` long and zeroed, a valid state of them.
        // The kernel reads those from its head up to the tail; this one lies behind
        // the tail, for no buffer is given twice. Its fields are
        // written one by one because the tail lies in the unused bytes of the first.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(index);
            entry.set_addr(self.memory.as_ptr().add(start) as u64);
            entry.set_len(self.each);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the address is that of the tail in the first entry, aligned to two
        // bytes; the kernel only reads it. The release pairs with its acquire: it
        // sees the entry before the tail that covers it.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn memory_layout(count: u16, each: u32) -> Layout {
        array_layout(usize::from(count) * each as usize)
    }

    fn entries_layout(count: u16) -> Layout {
        array_layout(usize::from(count) * size_of::<BufRingEntry>())
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated in `new` with these layouts. Whoever registered
        // them promised that the ring is gone.
        unsafe {
            dealloc(self.memory.as_ptr(), Self::memory_layout(self.count, self.each));
            dealloc(self.entries.as_ptr().cast(), Self::entries_layout(self.count));
        }
    }
}

fn array_layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes.max(1), PAGE_BYTES)
        .unwrap_or_else(|_| handle_alloc_error(Layout::new::<[u8; PAGE_BYTES]>()))
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout is never of size zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
