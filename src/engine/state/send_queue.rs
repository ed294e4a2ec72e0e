//! What waits for one connection that cannot take everything at once. Knows
//! frames as bytes with an order, and rooms as numbers.
//!
//! While a slow reader is within its budget, publications wait in their rooms'
//! logs and cost it a cursor; in its own queue lie only its direct sends, and what
//! was published in rooms that it has left. What a lossy policy keeps goes on
//! waiting in the logs if a cursor can say which frames those are (`drop-oldest`),
//! and comes here if not.

use bytes::Bytes;

use super::{frame_queue::FrameQueue, waiting::Tag};
use crate::engine::types::{
    limits::Limits,
    time::{TICK_MS, Tick},
};

/// A frame that leaves before all data of its connection.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    /// Only the newest is kept (RFC 6455 section 5.5.3).
    Pong(Bytes),
    Ping(Bytes),
    Close(Bytes),
}

/// A connection's waiting frames.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// A batch is with the driver.
    pub(crate) in_flight: bool,
    /// When something of it last left, as far as is known.
    pub(crate) since: Tick,
    /// How much it has taken since it fell behind.
    pub(crate) progress: Progress,
    /// Bytes that were unsent when the driver was last asked; 0 before.
    pub(crate) unsent: usize,
    /// It is on the list of those that are too slow.
    pub(crate) is_over_budget: bool,
    /// It has been cut off (`drop-newest`): what arrives is dropped until a quarter
    /// of its budget is free.
    pub(crate) is_full: bool,
    /// Bytes in the queue from which on that is over.
    pub(crate) refill_at: usize,
    pub(crate) queue: FrameQueue,
    pub(crate) logs: LogBacklog,
    pong: Option<Bytes>,
    ping: Option<Bytes>,
    close: Option<Bytes>,
}

impl SendQueue {
    /// Bytes that are kept here, control frames not counted (at most 400).
    pub(crate) fn bytes(&self) -> usize {
        self.queue.kept_bytes()
    }

    /// Bytes that others had kept for this connection, here and in its rooms' logs.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes().saturating_sub(self.answer_bytes()) + self.logs.bytes()
    }

    /// Those of the bytes kept here that answer what the connection itself sent.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.queue.answer_bytes()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.pong.is_none() && self.ping.is_none() && self.close.is_none()
    }

    /// What a publication with that key must be tagged with if it comes into the
    /// queue unconflated: a connection that conflates wants to know it again.
    pub(crate) fn tag(&mut self, conflates: bool, serial: u64, key: Option<&str>) -> Tag {
        if !conflates {
            return Tag::NONE;
        }
        let conflation = self.queue.conflation.get_or_insert_default();
        let record = conflation.record(serial, key);
        conflation.insert_unconflated(record);
        Tag::record(record)
    }

    /// Queues a frame that leaves before all data.
    pub(crate) fn control(&mut self, control: Control) {
        match control {
            Control::Pong(frame) => self.pong = Some(frame),
            Control::Ping(frame) => self.ping = Some(frame),
            Control::Close(frame) => self.close = Some(frame),
        }
    }

    /// Takes the control frames, the Close last.
    pub(crate) fn take_control(&mut self) -> [Option<Bytes>; 3] {
        [self.pong.take(), self.ping.take(), self.close.take()]
    }

    /// Throws away all data. Returns how many messages.
    pub(crate) fn clear(&mut self) -> usize {
        let mut dropped = 0;
        while let Some(messages) = self.queue.pop_front() {
            dropped += messages;
        }
        self.queue = FrameQueue::default();
        dropped
    }
}

/// What a connection that has fallen behind takes, in two spans of
/// [`Limits::PACE_MS`].
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// When it fell behind, and when the present span began.
    span: Option<(Tick, Tick)>,
    /// Bytes of the span before, and of the present one.
    before: usize,
    now: usize,
}

/// [`Limits::PACE_MS`] in ticks.
const PACE_TICKS: Tick = (Limits::PACE_MS / TICK_MS) as Tick;

impl Progress {
    /// A batch of so many bytes is with the driver; the one before has left.
    pub(crate) fn count(&mut self, now: Tick, bytes: usize) {
        let (_, begun) = self.span.get_or_insert((now, now));
        let passed = now.wrapping_sub(*begun);
        if passed > PACE_TICKS {
            self.before = if passed > 2 * PACE_TICKS { 0 } else { self.now };
            (self.now, *begun) = (0, now);
        }
        self.now += bytes;
    }

    /// Whether it reads: it fell behind of late, or has taken enough of late.
    pub(crate) fn is_paced(&self, now: Tick) -> bool {
        let Some((fell_behind, begun)) = self.span else { return true };
        let recent = now.wrapping_sub(begun) <= 2 * PACE_TICKS;
        now.wrapping_sub(fell_behind) <= PACE_TICKS
            || (recent && self.before + self.now >= Limits::PACE_BYTES)
    }
}

/// How much waits for a blocked connection in its rooms' logs, as a running sum:
/// each look at a room adds what was published there since the last one, whatever
/// the number of the other rooms.
///
/// Invariant: `bytes` is the sum, over the rooms that were looked at, of what was
/// published between the connection's cursor and that look. A room that was not
/// looked at since the connection was blocked had nothing for it then. Cursors of
/// a blocked connection move only where this is told
/// ([`LogBacklog::forget`], [`LogBacklog::reset`]).
#[derive(Debug, Default)]
pub(crate) struct LogBacklog {
    /// The serial number of each group, ascending, and how much was ever
    /// published in it at the last look.
    seen: Vec<(u64, u64)>,
    bytes: usize,
}

impl LogBacklog {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all rooms: the next look at each counts all that waits there.
    pub(crate) fn reset(&mut self) {
        self.seen.clear();
        self.bytes = 0;
    }

    /// In the group `serial` so much was ever published: `sent` before the
    /// connection's cursor, `now` in all.
    pub(crate) fn observe(&mut self, serial: u64, sent: u64, now: u64) {
        debug_assert!(sent <= now);
        match self.seen.binary_search_by_key(&serial, |(serial, _)| *serial) {
            Ok(index) => {
                let seen = &mut self.seen[index].1;
                self.bytes += (now - sent.max(*seen)) as usize;
                *seen = now;
            }
            Err(index) => {
                self.bytes += (now - sent) as usize;
                self.seen.insert(index, (serial, now));
            }
        }
    }

    /// What waits in the group `serial` behind a cursor with `sent` before it
    /// waits there no more.
    pub(crate) fn forget(&mut self, serial: u64, sent: u64) {
        if let Ok(index) = self.seen.binary_search_by_key(&serial, |(serial, _)| *serial) {
            let (_, seen) = self.seen.remove(index);
            self.bytes -= seen.saturating_sub(sent) as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_pong_is_kept_and_the_close_comes_last() {
        let mut send_queue = SendQueue::default();
        send_queue.control(Control::Close(Bytes::from_static(b"close")));
        send_queue.control(Control::Pong(Bytes::from_static(b"1")));
        send_queue.control(Control::Pong(Bytes::from_static(b"2")));
        let control = send_queue.take_control();
        assert_eq!(control[0].as_deref(), Some(&b"2"[..]));
        assert_eq!(control[2].as_deref(), Some(&b"close"[..]));
        assert!(send_queue.is_empty());
    }

    #[test]
    fn who_takes_little_counts_as_reading_for_one_span_and_who_takes_much_for_ever() {
        let (mut little, mut much) = (Progress::default(), Progress::default());
        for tick in (0..PACE_TICKS * 5).step_by(10) {
            little.count(tick, 1000);
            much.count(tick, Limits::PACE_BYTES / 15);
            assert_eq!(little.is_paced(tick), tick <= PACE_TICKS, "tick {tick}");
            assert!(much.is_paced(tick), "tick {tick}");
        }
        assert!(!much.is_paced(PACE_TICKS * 8), "it has stopped");
    }

    #[test]
    fn a_look_counts_only_what_is_new() {
        let mut logs = LogBacklog::default();
        logs.observe(7, 100, 150);
        logs.observe(3, 0, 10);
        logs.observe(7, 100, 150);
        assert_eq!(logs.bytes(), 60);
        logs.observe(7, 100, 180);
        assert_eq!(logs.bytes(), 90);
        logs.forget(7, 100);
        assert_eq!(logs.bytes(), 10);
    }

    #[test]
    fn a_member_that_comes_back_is_not_charged_for_what_it_missed() {
        let mut logs = LogBacklog::default();
        logs.observe(7, 100, 100);
        logs.observe(7, 400, 450);
        assert_eq!(logs.bytes(), 50);
    }
}
