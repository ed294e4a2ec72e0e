//! What a hold keeps back of a connection: bytes that had arrived, and the end behind
//! them. Knows no ring.

use std::collections::VecDeque;

use crate::driver::Gone;

/// What a hold keeps back.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// None of them empty.
    pub(super) portions: VecDeque<Vec<u8>>,
    /// What comes behind them.
    pub(super) end: Option<Gone>,
}

impl Kept {
    /// Keeps `bytes`, to be lent in portions of at most `portion` bytes.
    pub(super) fn push(&mut self, bytes: &[u8], portion: usize) {
        if bytes.is_empty() {
            return;
        }
        match self.portions.back_mut() {
            Some(last) if last.len() + bytes.len() <= portion => last.extend(bytes),
            _ => self.portions.extend(bytes.chunks(portion).map(<[u8]>::to_vec)),
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.portions.into_iter().flatten().collect()
    }
}
