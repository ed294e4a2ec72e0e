//! What a socket would not take: bytes that wait for it, in order. Knows no
//! socket.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::batch::Slice;

/// Remainders smaller than this are copied, so that a slow peer does not keep a
/// large shared buffer alive.
const COPY_BELOW_BYTES: usize = 4096;

/// Bytes that are still to be sent, in order.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<Bytes>);

impl Tail {
    /// Keeps `batch` without its first `skip` bytes.
    pub(super) fn keep(&mut self, batch: &[Slice<'_>], mut skip: usize) {
        let mut small = Vec::new();
        for slice in batch {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            if slice.len() - skipped < COPY_BELOW_BYTES {
                small.extend_from_slice(&slice.as_slice()[skipped..]);
                continue;
            }
            self.push(&mut small);
            self.0.push_back(slice.to_bytes().slice(skipped..));
        }
        self.push(&mut small);
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, none of it empty.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter()
    }

    /// How many bytes are left.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Forgets the first `taken` bytes.
    pub(super) fn advance(&mut self, mut taken: usize) {
        while let Some(first) = self.0.front_mut() {
            if taken < first.len() {
                if taken > 0 {
                    *first = unpinned(first.slice(taken..));
                }
                return;
            }
            taken -= first.len();
            self.0.pop_front();
        }
    }

    fn push(&mut self, small: &mut Vec<u8>) {
        if !small.is_empty() {
            self.0.push_back(Bytes::from(std::mem::take(small).into_boxed_slice()));
        }
    }
}

fn unpinned(bytes: Bytes) -> Bytes {
    if bytes.len() < COPY_BELOW_BYTES { Bytes::copy_from_slice(&bytes) } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_remainder_pins_a_shared_buffer_only_if_it_is_large() {
        let shared = Bytes::from(vec![1; 64 << 10]);
        let mut tail = Tail::default();
        tail.keep(&[Slice::new(&shared, 0..100), Slice::new(&shared, 100..200)], 50);
        assert!(shared.is_unique());
        assert_eq!(tail.0.len(), 1);
        tail.keep(&[Slice::new(&shared, 0..20_000)], 0);
        assert!(!shared.is_unique());
        tail.advance(150 + 19_000);
        assert!(shared.is_unique());
        assert_eq!(tail.0.iter().map(Bytes::len).sum::<usize>(), 1_000);
    }
}
