//! What single connections are sent in a turn: answers, events, control frames. All
//! of it lies in one buffer, one run behind the other; each connection has a list of
//! its runs. Knows bytes; not what they say.

use bytes::{Bytes, BytesMut};

use super::connection::{Connection, NONE};

/// A turn's buffer is not kept above this size.
const KEPT_BYTES: usize = 1024 * 1024;

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
    /// The buffer of an earlier turn, which the driver may have kept until now.
    spare: BytesMut,
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
        if !self.bytes.try_reclaim(wanted) {
            // The driver still has it: until it has sent that, the other one serves.
            std::mem::swap(&mut self.bytes, &mut self.spare);
        }
        if !self.bytes.try_reclaim(wanted) || self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::with_capacity(wanted.max(NEW_BYTES));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        Dialect, SlowPolicy, engine::process::admission::Admit, engine::state::connection::NONE,
    };

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
