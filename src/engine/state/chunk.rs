//! Small runs of bytes that live a little longer than a turn, cut from one buffer, so
//! that each costs no allocation of its own. Knows no meaning of theirs.

use bytes::{Bytes, BytesMut};

/// Bytes of the buffer: what one run keeps alive at the most. A socket may keep a
/// multiple of it in one batch.
const CHUNK_BYTES: usize = 32 * 1024;

/// Longer runs have an allocation of their own.
pub(crate) const LONGEST_RUN_BYTES: usize = CHUNK_BYTES / 2;

/// Runs that are written one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Chunk(BytesMut);

impl Chunk {
    /// What `write` appends, which is about so long.
    pub(crate) fn write(&mut self, about: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if about > LONGEST_RUN_BYTES {
            let mut own = BytesMut::with_capacity(about);
            write(&mut own);
            return own.freeze();
        }
        if self.0.capacity() < about && !self.0.try_reclaim(about) {
            self.0 = BytesMut::with_capacity(CHUNK_BYTES);
        }
        write(&mut self.0);
        // An empty run would keep the buffer alive.
        if self.0.is_empty() { Bytes::new() } else { self.0.split().freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_share_a_buffer_that_is_used_again() {
        let mut chunk = Chunk::default();
        let mut run = |len: usize| chunk.write(len, |out| out.resize(len, b'x'));
        let (first, second) = (run(100), run(200));
        assert_eq!(first.as_ptr_range().end, second.as_ptr_range().start);
        assert!(!first.is_unique() && run(0).is_empty());
        let place = first.as_ptr();
        drop((first, second));
        for _ in 0..1000 {
            drop(run(1000));
        }
        let again = (0..40).map(|_| run(1000).as_ptr()).any(|start| start == place);
        assert!(again, "a buffer that nobody needs is not allocated anew");
        assert!(run(LONGEST_RUN_BYTES + 1).is_unique());
    }
}
