//! Sending: a batch goes out with as few copies and calls as its shape allows,
//! and what the socket refuses is kept. Knows a writer that may refuse; not
//! readiness, not ids.

use std::io::{self, IoSlice, Write};

use mio::net::TcpStream;
use smallvec::SmallVec;
use socket2::SockRef;

use crate::{batch::Slice, copy::append, driver::tail::Tail};

/// Batches of several slices up to this size are gathered by copying: one
/// `memcpy` costs less than handing the kernel many small pieces.
pub(super) const GATHER_BYTES: usize = 4096;

/// The most pieces per call. More than the kernel's 8 on its own stack, few
/// enough that the list stays in one page.
const PIECES: usize = 64;

/// `MSG_NOSIGNAL`: a peer that has left must not raise SIGPIPE, whatever the
/// embedding program does with signals. The same on every Linux.
const NO_SIGNAL: i32 = 0x4000;

/// A socket as a writer: one call of the kernel per call.
#[derive(Debug)]
pub(super) struct Wire<'a>(pub(super) &'a TcpStream);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(self.0).send_vectored_with_flags(pieces, NO_SIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends until nothing of `tail` is left (`true`) or the writer takes no more.
///
/// # Errors
/// Those of the connection; the tail is of no use then.
pub(super) fn flush(tail: &mut Tail, wire: &mut impl Write) -> io::Result<bool> {
    while !tail.is_empty() {
        let pieces = tail.pieces().take(PIECES).map(|bytes| IoSlice::new(bytes));
        let pieces = pieces.collect::<SmallVec<[_; PIECES]>>();
        let offered = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let taken = attempt(|| wire.write_vectored(&pieces))?;
        drop(pieces);
        tail.advance(taken);
        if taken < offered {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sends `batch`; what could not leave at once, if anything. `gather` is scratch
/// space of any content.
///
/// # Errors
/// Those of the connection. A full socket is none.
pub(super) fn send(
    wire: &mut impl Write,
    batch: &[Slice<'_>],
    gather: &mut Vec<u8>,
) -> io::Result<Option<Box<Tail>>> {
    let total = batch.iter().map(Slice::len).sum::<usize>();
    let sent = match batch {
        _ if total == 0 => 0,
        [only] => attempt(|| wire.write(only.as_slice()))?,
        several if total <= GATHER_BYTES => {
            gather.clear();
            for slice in several {
                append(gather, slice.as_slice());
            }
            attempt(|| wire.write(gather))?
        }
        several => send_pieces(wire, several)?,
    };
    if sent == total {
        return Ok(None);
    }
    let mut tail = Box::<Tail>::default();
    tail.keep(batch, sent);
    Ok(Some(tail))
}

/// Sends the slices in groups until one is not taken whole; how many bytes left.
fn send_pieces(wire: &mut impl Write, batch: &[Slice<'_>]) -> io::Result<usize> {
    let mut sent = 0;
    for group in batch.chunks(PIECES) {
        let pieces = group.iter().map(|slice| IoSlice::new(slice.as_slice()));
        let pieces = pieces.collect::<SmallVec<[_; PIECES]>>();
        let offered = group.iter().map(Slice::len).sum::<usize>();
        if offered == 0 {
            continue;
        }
        let taken = attempt(|| wire.write_vectored(&pieces))?;
        sent += taken;
        if taken < offered {
            break;
        }
    }
    Ok(sent)
}

/// Writes once; a full socket takes nothing, an interruption does not count.
fn attempt(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::driver::sim::Rng;

    /// Takes a random part of each write, or refuses or is interrupted.
    struct Fitful {
        rng: Rng,
        taken: Vec<u8>,
        calls: usize,
        willing: bool,
    }

    impl Fitful {
        fn new(seed: u64) -> Self {
            Self { rng: Rng::new(seed), taken: Vec::new(), calls: 0, willing: false }
        }

        fn willing() -> Self {
            Self { willing: true, ..Self::new(0) }
        }
    }

    impl Write for Fitful {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            self.calls += 1;
            let all = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
            let taken = match self.rng.below(4) {
                _ if self.willing => all.len(),
                0 => return Err(io::ErrorKind::WouldBlock.into()),
                1 => return Err(io::ErrorKind::Interrupted.into()),
                _ => self.rng.piece(all.len()),
            };
            self.taken.extend_from_slice(&all[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn buffers(rng: &mut Rng, longest: usize) -> Vec<Bytes> {
        let count = rng.below(200);
        let mut fill = || (0..rng.below(longest)).map(|_| rng.next_u64() as u8).collect();
        (0..count).map(|_| fill()).collect()
    }

    #[test]
    fn every_byte_leaves_once_and_in_order() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let longest = [8, 40, 20_000][rng.below(3)];
            let owners = buffers(&mut rng, longest);
            let batch = owners.iter().map(Slice::whole).collect::<Vec<_>>();
            let mut wire = Fitful::new(seed);
            let tail = send(&mut wire, &batch, &mut Vec::new()).unwrap();
            if let Some(mut tail) = tail {
                while !flush(&mut tail, &mut wire).unwrap() {}
                assert!(tail.is_empty());
            }
            assert!(wire.taken == owners.concat(), "seed {seed}");
        }
    }

    #[test]
    fn small_batches_leave_in_one_write() {
        let owners = vec![Bytes::from_static(&[7; 40]); 100];
        let batch = owners.iter().map(Slice::whole).collect::<Vec<_>>();
        let mut wire = Fitful::willing();
        assert!(send(&mut wire, &batch, &mut Vec::new()).unwrap().is_none());
        assert_eq!((wire.calls, wire.taken.len()), (1, 4000));
    }

    #[test]
    fn nothing_to_send_calls_nobody() {
        let empty = Bytes::new();
        let mut wire = Fitful::willing();
        let batch = [Slice::whole(&empty), Slice::whole(&empty)];
        assert!(send(&mut wire, &batch, &mut Vec::new()).unwrap().is_none());
        assert!(send(&mut wire, &[], &mut Vec::new()).unwrap().is_none());
        assert_eq!(wire.calls, 0);
    }
}
