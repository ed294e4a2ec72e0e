//! The queue against a list of its frames, in ten thousand seeded runs, and what
//! it costs against what it is counted as.

use super::*;
use crate::driver::sim::Rng;
use crate::engine::state::waiting::{sequence_of_direct, sequence_of_publication};

/// A frame of the model.
#[derive(Clone, Debug, PartialEq)]
struct Frame {
    sequence: Sequence,
    bytes: Vec<u8>,
    /// The group and key by which it is replaced.
    known: Option<(u64, Option<&'static str>)>,
    /// Of those that are known, only these replace and are replaced.
    conflated: bool,
}

/// A queue and what it should hold.
#[derive(Default)]
struct Pair {
    queue: FrameQueue,
    frames: Vec<Frame>,
    published: u64,
}

impl Pair {
    /// Adds frames in order, often later than all others.
    fn merge(&mut self, rng: &mut Rng) {
        let back = if rng.chance(80) { 0 } else { rng.below(20) };
        let mut sequence = self.published.saturating_sub(back as u64);
        let mut fresh = Vec::new();
        for _ in 0..rng.below(6) {
            sequence += 1 + rng.below(2) as u64;
            let is_publication =
                rng.chance(60) && self.frames.iter().all(|f| f.sequence != sequence * 2);
            let len = if rng.chance(5) { 3000 + rng.below(3000) } else { 1 + rng.below(40) };
            let bytes = vec![sequence as u8; len];
            let owner = Bytes::from(bytes.clone());
            let slice = Slice::whole(&owner);
            let (sequence, tag, known) = match is_publication {
                false => (sequence_of_direct(sequence), Tag::messages(1, false), None),
                true if sequence <= self.published || rng.chance(30) => {
                    (sequence_of_publication(sequence), Tag::NONE, None)
                }
                true => {
                    let known = (rng.below(3) as u64, [None, Some("a"), Some("b")][rng.below(3)]);
                    let conflation = self.queue.conflation.get_or_insert_default();
                    let record = conflation.record(known.0, known.1);
                    conflation.insert_unconflated(record);
                    (sequence_of_publication(sequence), Tag::record(record), Some(known))
                }
            };
            fresh.push(self.queue.store(sequence, &slice, tag));
            self.frames.push(Frame { sequence, bytes, known, conflated: false });
        }
        self.published = self.published.max(sequence);
        self.queue.merge(fresh);
        self.frames.sort_by_key(|frame| frame.sequence);
    }

    fn conflate_new(&mut self) -> usize {
        let before = self.frames.len();
        let frames = self.frames.clone();
        self.frames.retain(|frame| {
            let newer =
                |other: &&Frame| other.sequence > frame.sequence && other.known == frame.known;
            frame.known.is_none() || !frames.iter().any(|other| newer(&other))
        });
        self.frames.iter_mut().for_each(|frame| frame.conflated = true);
        before - self.frames.len()
    }

    /// All that is alive, as it would be sent.
    fn read(&mut self, max: usize) -> (usize, Vec<u8>) {
        self.queue.close_segment();
        let from = self.queue.next_alive(0);
        let mut slices = Slices::new();
        let (next, bytes, _) = self.queue.slices(from, Sequence::MAX, (max, 1000), &mut slices);
        let sent: Vec<u8> = slices.iter().flat_map(|slice| slice.as_slice().to_vec()).collect();
        assert_eq!(sent.len(), bytes);
        (next, sent)
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.below(100) {
            0..=59 => self.merge(rng),
            60..=69 => {
                let (next, sent) = self.read(1 + rng.below(300));
                self.queue.sent(next);
                let mut expected = Vec::new();
                while expected.len() < sent.len() {
                    expected.extend(self.frames.remove(0).bytes);
                }
                assert!(sent == expected);
            }
            70..=79 => {
                if self.queue.pop_front().is_some_and(|dropped| dropped > 0) {
                    self.frames.remove(0);
                }
                self.queue.give_back();
            }
            80..=84 => {
                if self.queue.pop_back().is_some_and(|dropped| dropped > 0) {
                    self.frames.pop();
                }
            }
            85..=94 => assert_eq!(self.queue.conflate_new(), self.conflate_new()),
            _ => self.queue.compact(),
        }
    }

    /// What the queue has allocated.
    fn allocated(&self) -> usize {
        let queue = &self.queue;
        queue.entries.capacity() * size_of::<Waiting>() + queue.segments.allocated()
    }
}

#[test]
fn a_queue_holds_what_a_list_would() {
    for seed in 0..10_000 {
        let mut rng = Rng::new(seed);
        let mut pair = Pair::default();
        for _ in 0..rng.below(60) {
            pair.step(&mut rng);
            let expected: Vec<u8> = pair.frames.iter().flat_map(|f| f.bytes.clone()).collect();
            assert!(pair.read(usize::MAX).1 == expected, "seed {seed}");
        }
        while pair.queue.pop_front().is_some() {}
        let queue = &pair.queue;
        assert!(queue.kept_bytes() == 0 && queue.segments.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_queue_costs_a_tenth_more_than_it_is_counted_as_at_the_most() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut pair = Pair::default();
        let most_len = [1, 3, 40, 5000][rng.below(4)];
        for sequence in 0..rng.below(5000) as u64 {
            let owner = Bytes::from(vec![0; 1 + rng.below(most_len)]);
            let waiting = pair.queue.store(sequence * 2, &Slice::whole(&owner), Tag::NONE);
            pair.queue.merge([waiting]);
            if rng.chance(1) {
                pair.queue.close_segment();
                let len = pair.queue.len();
                pair.queue.sent(rng.below(len + 1));
            }
            let (allocated, kept) = (pair.allocated(), pair.queue.kept_bytes());
            assert!(allocated <= kept / 10 * 11 + 1024, "{allocated} of {kept}, seed {seed}");
        }
    }
}

#[test]
fn short_frames_are_stored_close_together() {
    let mut queue = FrameQueue::default();
    let owner = Bytes::from_static(b"\x82\0");
    for sequence in 0..10_000 {
        let waiting = queue.store(sequence, &Slice::whole(&owner), Tag::messages(1, false));
        queue.merge([waiting]);
    }
    assert!(queue.kept_bytes() < 10_000 * 36, "{}", queue.kept_bytes());
    queue.close_segment();
    let mut slices = Slices::new();
    queue.slices(0, Sequence::MAX, (usize::MAX, 1000), &mut slices);
    assert!(slices.len() < 40, "{} slices", slices.len());
}

#[test]
fn a_large_frame_is_referenced_only_if_it_is_nearly_all_of_its_buffer() {
    let mut queue = FrameQueue::default();
    let owner = Bytes::from(vec![7; 100_000]);
    for (sequence, range) in [(0, 0..95_000), (2, 0..60_000)] {
        let waiting = queue.store(sequence, &Slice::new(&owner, range), Tag::NONE);
        queue.merge([waiting]);
    }
    let mut slices = Slices::new();
    queue.slices(0, Sequence::MAX, (usize::MAX, 1000), &mut slices);
    assert_eq!(slices[0].as_slice().as_ptr(), owner.as_ptr());
    assert_ne!(slices[1].as_slice().as_ptr(), owner.as_ptr());
}

#[test]
fn what_was_replaced_keeps_no_bytes_and_little_else() {
    let mut queue = FrameQueue::default();
    let owner = Bytes::from(vec![7; 10_000]);
    for sequence in 0..1000 {
        let conflation = queue.conflation.get_or_insert_default();
        let record = conflation.record(sequence % 2, None);
        conflation.insert(record);
        let tag = Tag::record(record);
        let waiting = queue.store(sequence * 2, &Slice::new(&owner, 0..5000), tag);
        queue.merge([waiting]);
        assert_eq!(queue.replace(record, waiting), sequence >= 2);
        queue.compact();
        assert!(queue.kept_bytes() < 16 * 1024, "{}", queue.kept_bytes());
    }
    let (mut left, mut entries) = (0, 0);
    while let Some(messages) = queue.pop_front() {
        (left, entries) = (left + messages, entries + 1);
    }
    assert!(left == 2 && entries < 20, "{left} of {entries}");
}
