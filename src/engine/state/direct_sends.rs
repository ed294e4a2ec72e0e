//! What single connections are sent in a turn: answers, events, control frames. All
//! of it lies in one buffer, one run behind the other; each connection has a list of
//! its runs. Knows bytes; not what they say.

use bytes::{Bytes, BytesMut};

use super::connection::{Connection, NONE};

/// Buffers are not kept above this size, each and all of them that the driver may have.
const KEPT_BYTES: usize = 1024 * 1024;
const SPARE_BYTES: usize = 2 * KEPT_BYTES;

/// One that has less room is not used again.
const MIN_BYTES: usize = 4096;

/// What a new one has room for.
const NEW_BYTES: usize = 16 * 1024;

/// A run of [`DirectSends`] for one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectRun {
    /// How many publications the shard had accepted before it.
    pub(crate) published: u64,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// It answers what the connection itself sent.
    pub(crate) is_answer: bool,
    /// The connection's next run, or [`NONE`].
    pub(crate) next: u32,
}

/// The direct sends of a turn, and who has any.
#[derive(Debug, Default)]
pub(crate) struct DirectSends {
    bytes: BytesMut,
    /// What that has room for from its front on.
    room: usize,
    /// Buffers of earlier flushes, which the driver may have kept until now, and their
    /// room.
    spares: Vec<(BytesMut, usize)>,
    runs: Vec<DirectRun>,
    /// Connections with direct sends or something else to look at in the flush.
    ready: Vec<u32>,
}

impl DirectSends {
    /// Bytes that wait for the flush.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nobody is to be looked at in the flush.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Has the flush look at the connection in `slot`.
    #[inline]
    pub(crate) fn mark_ready(&mut self, connection: &mut Connection, slot: u32) {
        if !connection.flags.ready {
            connection.flags.ready = true;
            self.ready.push(slot);
        }
    }

    /// Appends bytes that `write` makes to what the connection in `slot` is sent,
    /// behind so many publications; `is_answer` if they answer what it sent itself.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the path of every message; measured")]
    pub(crate) fn write(
        &mut self,
        (connection, slot): (&mut Connection, u32),
        published: u64,
        is_answer: bool,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        if start == end {
            return;
        }
        if let Some(last) = self.runs.get_mut(connection.direct_tail as usize)
            && last.end == start
            && last.published == published
            && last.is_answer == is_answer
        {
            last.end = end;
            return;
        }
        let index = self.runs.len() as u32;
        self.runs.push(DirectRun { published, start, end, is_answer, next: NONE });
        match self.runs.get_mut(connection.direct_tail as usize) {
            Some(last) => last.next = index,
            None => connection.direct_head = index,
        }
        connection.direct_tail = index;
        self.mark_ready(connection, slot);
    }

    /// The run of that index; none for [`NONE`].
    pub(crate) fn run(&self, index: u32) -> Option<&DirectRun> {
        self.runs.get(index as usize)
    }

    /// Begins a flush: the bytes of all runs, and who is to be looked at.
    pub(crate) fn take(&mut self) -> (Bytes, Vec<u32>) {
        self.room = self.bytes.capacity();
        (self.bytes.split().freeze(), std::mem::take(&mut self.ready))
    }

    /// Everybody has been looked at: forgets all runs. `ready` is the emptied list.
    pub(crate) fn clear(&mut self, bytes: Bytes, ready: Vec<u32>) {
        debug_assert!(ready.is_empty());
        // Who became ready meanwhile stays so.
        if self.ready.is_empty() {
            self.ready = ready;
        }
        self.runs.clear();
        // The next turn is likely to need as much.
        let wanted = bytes.len().clamp(MIN_BYTES, KEPT_BYTES);
        drop(bytes);
        if reclaim(&mut self.bytes, self.room, wanted) {
            return;
        }
        // The driver still has it: until it has sent that, others serve.
        let used = (std::mem::take(&mut self.bytes), self.room);
        let mut spares = self.spares.iter_mut();
        let free = spares.position(|(bytes, room)| reclaim(bytes, *room, wanted));
        self.bytes = match free {
            Some(index) => self.spares.swap_remove(index).0,
            None => BytesMut::with_capacity(wanted.max(NEW_BYTES)),
        };
        let kept: usize = self.spares.iter().map(|(_, room)| room).sum();
        if kept + used.1 > SPARE_BYTES {
            self.spares.clear();
        }
        if used.1 <= KEPT_BYTES {
            self.spares.push(used);
        }
    }
}

/// Goes back to the front of a buffer with `room`, which lies in the core's own cache, as
/// what is behind what the last turn used does not. Whether there is `wanted` then, and
/// not too much.
fn reclaim(bytes: &mut BytesMut, room: usize, wanted: usize) -> bool {
    room <= KEPT_BYTES && bytes.try_reclaim(wanted.max(room))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        Dialect, SlowPolicy, engine::process::admission::Admit, engine::state::connection::NONE,
    };

    #[test]
    fn a_turn_writes_where_the_last_one_did() {
        let peer = "127.0.0.1:9".parse().unwrap();
        let mut connection =
            Connection::new(0, peer, Admit::Yes, Dialect::Raw, SlowPolicy::default());
        let mut sends = DirectSends::default();
        let mut places = HashSet::new();
        for turn in 0..20 {
            let len = if turn == 0 { 500_000 } else { 20_000 };
            let write = |out: &mut BytesMut| out.resize(len, 7);
            sends.write((&mut connection, 0), 0, false, write);
            let (bytes, mut ready) = sends.take();
            ready.clear();
            (connection.direct_head, connection.direct_tail) = (NONE, NONE);
            connection.flags.ready = false;
            places.insert(bytes.as_ptr());
            sends.clear(bytes, ready);
        }
        assert_eq!(places.len(), 1);
    }

    #[test]
    fn what_a_driver_keeps_is_not_kept_here_without_bound() {
        let peer = "127.0.0.1:9".parse().unwrap();
        let mut connection =
            Connection::new(0, peer, Admit::Yes, Dialect::Raw, SlowPolicy::default());
        let (mut sends, mut with_driver) = (DirectSends::default(), Vec::new());
        for flush in 0..100 {
            let len = if flush % 7 == 0 { 2 * KEPT_BYTES } else { 300_000 };
            let write = |out: &mut BytesMut| out.resize(len, 7);
            sends.write((&mut connection, 0), 0, false, write);
            let (bytes, mut ready) = sends.take();
            ready.clear();
            (connection.direct_head, connection.direct_tail) = (NONE, NONE);
            connection.flags.ready = false;
            with_driver.push(bytes.clone());
            sends.clear(bytes, ready);
            let kept: usize = sends.spares.iter().map(|(_, room)| room).sum();
            assert!(kept + sends.bytes.capacity() <= SPARE_BYTES + KEPT_BYTES);
        }
    }

    #[test]
    fn two_buffers_serve_a_driver_that_keeps_a_turns_bytes_until_the_next() {
        let peer = "127.0.0.1:9".parse().unwrap();
        let mut connection =
            Connection::new(0, peer, Admit::Yes, Dialect::Raw, SlowPolicy::default());
        let (mut sends, mut kept) = (DirectSends::default(), Bytes::new());
        let mut places = HashSet::new();
        for turn in 0..20 {
            for _ in 0..40 {
                let write = |out: &mut BytesMut| out.extend_from_slice(&[7; 16 * 1024]);
                sends.write((&mut connection, 0), 0, false, write);
            }
            let (bytes, mut ready) = sends.take();
            ready.clear();
            // What the driver had of the turn before has left by now.
            kept = bytes.clone();
            (connection.direct_head, connection.direct_tail) = (NONE, NONE);
            connection.flags.ready = false;
            if turn >= 4 {
                places.insert(bytes.as_ptr());
            }
            sends.clear(bytes, ready);
        }
        drop(kept);
        assert!(places.len() <= 2, "{} buffers", places.len());
    }
}
