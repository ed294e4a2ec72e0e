//! What the silent sends of one submission read: small batches side by side in
//! one buffer, large ones where they are. Nothing here moves before the submission
//! has been carried out, for the kernel is given the addresses. Knows bytes; not
//! sockets, not the ring.

use std::{io, ops::Range};

use bytes::{Bytes, BytesMut};
use libc::{EAGAIN, EINTR, iovec, msghdr};

use super::arrivals::Tag;
use crate::{batch::Slice, copy::append, driver::tail::Tail};

/// A single slice up to this size is copied: less than a reference count costs
/// when it is taken and given back.
const COPY_BYTES: usize = 256;

/// Batches of several slices up to this size are copied: one `memcpy` costs less
/// than handing the kernel many small pieces.
const GATHER_BYTES: usize = 4096;

/// Copied bytes of one submission: enough for a turn's worth of small batches.
const SCRATCH_BYTES: usize = 128 << 10;

/// The most pieces of one send; a batch of more is copied. The kernel's own bound
/// is 1024.
const PIECES_PER_SEND: usize = 64;

/// Pieces of all sends of a submission.
const PIECES: usize = 4096;

/// Bytes that are copied of batches of too many pieces, in one submission.
const WHOLE_BYTES: usize = 4 << 20;

/// Sends of more than one piece in a submission.
const HEADERS: usize = 512;

/// One send, as the kernel is to be told of it.
pub(super) enum Queued<'a> {
    One(&'a [u8]),
    Many(*const msghdr),
}

/// Where the bytes of one send are.
#[derive(Clone, Debug)]
enum Place {
    Scratch(Range<usize>),
    Kept(Range<usize>),
}

/// The bytes of all silent sends of one submission.
///
/// Contract: what [`Load::add`] gives out stays valid, at its address, until
/// [`Load::clear`]. So `scratch`, `pieces` and `headers` never grow beyond the
/// space that they were made with: whoever adds asks [`Load::has_room_for`] first.
pub(super) struct Load {
    sends: Vec<(Tag, Place)>,
    scratch: Box<[u8]>,
    used: usize,
    kept: Vec<Bytes>,
    whole_bytes: usize,
    pieces: Vec<iovec>,
    headers: Vec<msghdr>,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            sends: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            used: 0,
            kept: Vec::new(),
            whole_bytes: 0,
            pieces: Vec::with_capacity(PIECES),
            headers: Vec::with_capacity(HEADERS),
        }
    }

    /// Whether `batch` can be added before the next `clear`.
    pub(super) fn has_room_for(&self, batch: &[Slice<'_>]) -> bool {
        SCRATCH_BYTES - self.used >= GATHER_BYTES
            && PIECES - self.pieces.len() >= batch.len().min(PIECES_PER_SEND)
            && self.headers.len() < HEADERS
            && self.whole_bytes < WHOLE_BYTES
    }

    /// Adds one send, of at least one byte; its number, and what the kernel is to
    /// be told.
    pub(super) fn add(&mut self, tag: Tag, batch: &[Slice<'_>]) -> (u32, Queued<'_>) {
        debug_assert!(self.has_room_for(batch));
        let index = self.sends.len() as u32;
        let total = batch.iter().map(Slice::len).sum::<usize>();
        let max = if batch.len() == 1 { COPY_BYTES } else { GATHER_BYTES };
        let place = if total <= max { self.copy(batch) } else { self.keep(batch, total) };
        self.sends.push((tag, place.clone()));
        let queued = match place {
            Place::Scratch(range) => Queued::One(&self.scratch[range]),
            Place::Kept(range) if range.len() == 1 => Queued::One(&self.kept[range.start]),
            Place::Kept(range) => Queued::Many(self.header(range)),
        };
        (index, queued)
    }

    /// The kernel reports of send `index` that it took so much, or failed. What is
    /// left of it, unless it took everything.
    pub(super) fn refused(
        &self,
        index: u32,
        taken: io::Result<usize>,
    ) -> Option<(Tag, io::Result<Tail>)> {
        let (tag, place) = self.sends.get(index as usize)?;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) if matches!(error.raw_os_error(), Some(EAGAIN | EINTR)) => 0,
            Err(error) => return Some((*tag, Err(error))),
        };
        let mut tail = Tail::default();
        match place {
            Place::Scratch(range) => {
                let copy = Bytes::copy_from_slice(&self.scratch[range.clone()]);
                tail.keep(&[Slice::whole(&copy)], taken);
            }
            Place::Kept(range) => {
                let slices = self.kept[range.clone()].iter().map(Slice::whole);
                tail.keep(&slices.collect::<Vec<_>>(), taken);
            }
        }
        (!tail.is_empty()).then_some((*tag, Ok(tail)))
    }

    /// Forgets everything: the kernel has carried out all sends.
    pub(super) fn clear(&mut self) {
        self.sends.clear();
        self.used = 0;
        self.kept.clear();
        self.whole_bytes = 0;
        self.pieces.clear();
        self.headers.clear();
    }

    fn copy(&mut self, batch: &[Slice<'_>]) -> Place {
        let start = self.used;
        for slice in batch {
            let end = self.used + slice.len();
            self.scratch[self.used..end].copy_from_slice(slice.as_slice());
            self.used = end;
        }
        Place::Scratch(start..self.used)
    }

    fn keep(&mut self, batch: &[Slice<'_>], total: usize) -> Place {
        let start = self.kept.len();
        if batch.len() > PIECES_PER_SEND {
            let mut whole = BytesMut::with_capacity(total);
            for slice in batch {
                append(&mut whole, slice.as_slice());
            }
            self.kept.push(whole.freeze());
            self.whole_bytes += total;
        } else if let ([only], Some(last)) = (batch, self.kept.last())
            && std::ptr::eq(only.as_slice(), &raw const **last)
        {
            // The same for the next member of a room.
            return Place::Kept(start - 1..start);
        } else {
            let slices = batch.iter().filter(|slice| !slice.is_empty());
            self.kept.extend(slices.map(Slice::to_bytes));
        }
        Place::Kept(start..self.kept.len())
    }

    /// The description of the kept bytes `range`, at an address that stays.
    fn header(&mut self, range: Range<usize>) -> *const msghdr {
        let first = self.pieces.len();
        for bytes in &self.kept[range] {
            // The kernel only reads what it sends; the interface does not say so.
            let iov_base = bytes.as_ptr().cast_mut().cast();
            self.pieces.push(iovec { iov_base, iov_len: bytes.len() });
        }
        let pieces = &mut self.pieces[first..];
        self.headers.push(msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: pieces.as_mut_ptr(),
            msg_iovlen: pieces.len() as _,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        });
        let last = self.headers.len() - 1;
        &raw const self.headers[last]
    }
}
