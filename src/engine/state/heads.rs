//! The next frame of each of the sides that are merged: a binary heap of which
//! only the first two are asked for. Knows sides as numbers.
//!
//! Of two frames of one sequence, that of the side with the lower number is first.

use smallvec::SmallVec;

use super::waiting::Sequence;

/// A side, numbered by whoever merges.
pub(crate) type Side = u32;

/// The heads of the sides that have something left.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Each is no later than those at twice its place plus one and plus two.
    heap: SmallVec<[(Sequence, Side); 8]>,
}

impl Heads {
    /// Adds a side whose next frame has `sequence`; none if it has none.
    pub(crate) fn add(&mut self, side: Side, sequence: Option<Sequence>) {
        let Some(sequence) = sequence else { return };
        let mut at = self.heap.len();
        self.heap.push((sequence, side));
        while at > 0 && self.heap[at] < self.heap[(at - 1) / 2] {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// The side with the earliest frame, and the sequence of the earliest frame of
    /// all others: up to that one all of the side's frames come first.
    pub(crate) fn first(&self) -> Option<(Side, Sequence)> {
        let (_, side) = *self.heap.first()?;
        let second = self.heap.iter().skip(1).take(2).min();
        Some((side, second.map_or(Sequence::MAX, |(sequence, _)| *sequence)))
    }

    /// Some of the first side's frames were taken: `sequence` is that of its next,
    /// if there is one.
    pub(crate) fn replace_first(&mut self, sequence: Option<Sequence>) {
        match sequence {
            Some(sequence) => self.heap[0].0 = sequence,
            None => drop(self.heap.swap_remove(0)),
        }
        let mut at = 0;
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.heap[child] < self.heap[least] {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::sim::Rng;

    #[test]
    fn sides_are_merged_as_if_they_were_sorted() {
        for seed in 0..2000 {
            let mut rng = Rng::new(seed);
            let sides: Vec<Vec<Sequence>> = (0..rng.below(12))
                .map(|_| {
                    let mut side: Vec<_> =
                        (0..rng.below(20)).map(|_| rng.below(40) as Sequence).collect();
                    side.sort_unstable();
                    side
                })
                .collect();
            let mut expected: Vec<(Sequence, Side)> = (0..)
                .zip(&sides)
                .flat_map(|(side, sequences)| {
                    sequences.iter().map(move |sequence| (*sequence, side))
                })
                .collect();
            expected.sort_unstable();
            let mut heads = Heads::default();
            let mut next = vec![0; sides.len()];
            for (side, sequences) in (0..).zip(&sides) {
                heads.add(side, sequences.first().copied());
            }
            let mut merged = Vec::new();
            while let Some((side, until)) = heads.first() {
                let (sequences, next) = (&sides[side as usize], &mut next[side as usize]);
                assert!(sequences[*next] <= until, "seed {seed}");
                merged.push((sequences[*next], side));
                *next += 1;
                heads.replace_first(sequences.get(*next).copied());
            }
            assert_eq!(merged, expected, "seed {seed}");
        }
    }
}
