//! Frames of several rooms' logs in one run of bytes, in the order in which they were
//! published: small frames cost less to copy than a driver and the kernel need for
//! a piece of memory each. Members of the same rooms with the same cursors are sent
//! the same run, which is made once. Knows logs; no connections.

use bytes::Bytes;

use super::{
    chunk::Chunk,
    connection::Membership,
    room_log::{Cursor, RoomLog},
    rooms::Rooms,
    waiting::Sequence,
};
use crate::copy::append;

/// The list of a run's frames is not kept if it has grown beyond so many.
const KEPT_FRAMES: usize = 1024;

/// What is in the run that was made last, and how it is made.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// The memberships that have something coming, with their cursors: filled in by
    /// whoever asks for a run.
    pub(crate) coming: Vec<(Membership, Cursor)>,
    /// The groups and cursors of the run that was made last; none if there is none.
    of: Vec<(u32, Cursor)>,
    run: Bytes,
    publications: u64,
    /// The frames of a run: each one's place, its side of `coming` and its cursor.
    frames: Vec<(Sequence, u32, Cursor)>,
    chunk: Chunk,
}

impl Merged {
    /// The logs change: no run can be used again.
    pub(crate) fn forget(&mut self) {
        self.of.clear();
        self.run = Bytes::new();
        if self.frames.capacity() > KEPT_FRAMES {
            self.frames = Vec::new();
        }
    }

    /// The frames of `coming` in one run, and how many those are. `None` if they are of
    /// more than `max` bytes, which are better not copied.
    pub(crate) fn run(&mut self, rooms: &mut Rooms, max: usize) -> Option<(&Bytes, u64)> {
        let sides = self.coming.iter().map(|(side, cursor)| (side.group, *cursor));
        if !(self.of.len() == self.coming.len() && sides.eq(self.of.iter().copied())) {
            self.forget();
            self.make(rooms, max)?;
            let sides = self.coming.iter().map(|(side, cursor)| (side.group, *cursor));
            self.of.extend(sides);
        }
        Some((&self.run, self.publications))
    }

    fn make(&mut self, rooms: &mut Rooms, max: usize) -> Option<()> {
        let mut bytes = 0;
        self.frames.clear();
        for (side, (membership, from)) in (0..).zip(&self.coming) {
            let log = &mut rooms.group_mut(membership.group).log;
            bytes += log.bytes_between(*from, log.end());
            if bytes > max {
                return None;
            }
            log.freeze();
            let mut cursor = *from;
            while let Some(sequence) = log.entries().publication(cursor) {
                self.frames.push((sequence, side, cursor));
                cursor = cursor.wrapping_add(1);
            }
        }
        // No two have the same sequence. Rooms are often joined in the order in which
        // they are published to.
        if !self.frames.is_sorted() {
            self.frames.sort_unstable();
        }
        self.run = self.chunk.write(bytes, |run| {
            for (_, side, cursor) in &self.frames {
                let (membership, _) = self.coming[*side as usize];
                let log: &RoomLog = &rooms.group(membership.group).log;
                append(run, log.frame(*cursor).as_slice());
            }
            debug_assert_eq!(run.len(), bytes);
        });
        self.publications = self.frames.len() as u64;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        driver::sim::Rng,
        engine::{process::shared_room::SharedRoom, state::room_log::NOBODY},
    };

    /// Three rooms, and frames that were published in them in turns.
    fn published(rng: &mut Rng, frames: u64) -> (Rooms, Vec<Vec<(u64, String)>>) {
        let mut rooms = Rooms::default();
        let mut logged = vec![Vec::new(); 3];
        for slot in 0..3 {
            let room = rooms.create(Arc::new(SharedRoom::everyone()));
            let group = rooms.group_for(room, 0);
            rooms.add(group, slot);
        }
        for sequence in 0..frames {
            let (index, frame) = (rng.below(3), format!("{sequence},"));
            let log = &mut rooms.group_mut(index as u32).log;
            log.open().extend_from_slice(frame.as_bytes());
            log.commit(sequence, NOBODY, None);
            if rng.chance(20) {
                log.freeze();
            }
            logged[index].push((sequence, frame));
        }
        (rooms, logged)
    }

    #[test]
    fn a_run_has_the_frames_of_all_rooms_in_the_order_of_publication() {
        for seed in 0..2000 {
            let mut rng = Rng::new(seed);
            let frames = rng.below(30) as u64;
            let (mut rooms, logged) = published(&mut rng, frames);
            let mut merged = Merged::default();
            for _ in 0..3 {
                let mut expected = Vec::new();
                merged.coming.clear();
                for (group, frames) in (0..).zip(&logged) {
                    let from = rng.below(frames.len() + 1);
                    merged.coming.push((Membership { group, position: 0 }, from as Cursor));
                    expected.extend(&frames[from..]);
                }
                expected.sort();
                let text: String = expected.iter().map(|(_, frame)| frame.as_str()).collect();
                let (run, publications) = merged.run(&mut rooms, 1 << 20).unwrap();
                assert_eq!(std::str::from_utf8(run).unwrap(), text, "seed {seed}");
                assert_eq!(publications, expected.len() as u64, "seed {seed}");
                assert!(text.is_empty() || merged.run(&mut rooms, text.len() - 1).is_some());
                merged.forget();
                assert!(text.is_empty() || merged.run(&mut rooms, text.len() - 1).is_none());
            }
        }
    }

    #[test]
    fn members_of_the_same_rooms_with_the_same_cursors_are_sent_the_same_run() {
        let (mut rooms, _) = published(&mut Rng::new(1), 30);
        let mut merged = Merged::default();
        let mut run = |cursors: [Cursor; 2], position| {
            let sides = (0..).zip(cursors);
            merged.coming.clear();
            merged
                .coming
                .extend(sides.map(|(group, cursor)| (Membership { group, position }, cursor)));
            merged.run(&mut rooms, 1 << 20).unwrap().0.clone()
        };
        let (first, same, other) = (run([0, 0], 0), run([0, 0], 1), run([0, 1], 0));
        assert_eq!(first.as_ptr_range(), same.as_ptr_range());
        assert!(other.len() < first.len());
    }
}
