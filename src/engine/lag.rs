//! What waits for one connection that cannot take everything at once, and what
//! its policy throws away of it. Knows frames as bytes with an order, no more.
//!
//! While a slow reader is within its budget, publications wait in their rooms'
//! logs and cost it a cursor; here lie only its direct sends. Above the budget a
//! lossy policy first brings the rest here, then drops.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;

use super::{connection::Control, limits::SlowPolicy, timers::Tick};

/// A frame's place among all frames of its shard: publications have even
/// numbers, direct sends the odd ones between them.
pub(crate) type Order = u64;

/// The order of the publication with this sequence number.
pub(crate) fn order_of_publication(sequence: u64) -> Order {
    sequence * 2
}

/// The order of a direct send after `published` publications.
pub(crate) fn order_of_direct(published: u64) -> Order {
    published * 2 + 1
}

/// A waiting frame.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) order: Order,
    pub(crate) bytes: Bytes,
    /// It answers what the connection itself sent.
    pub(crate) own: bool,
    /// The serial number of the channel that it was published in, `None` for a
    /// direct send.
    pub(crate) channel: Option<u64>,
    pub(crate) key: Option<Box<str>>,
}

/// A connection's waiting frames.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// A batch is with the driver.
    pub(crate) in_flight: bool,
    /// When something of it last left, as far as is known.
    pub(crate) since: Tick,
    /// Bytes that were unsent when the driver was last asked; 0 before.
    pub(crate) unsent: usize,
    /// In ascending order.
    queue: VecDeque<Queued>,
    bytes: usize,
    own_bytes: usize,
    pong: Option<Bytes>,
    ping: Option<Bytes>,
    close: Option<Bytes>,
}

impl Lag {
    /// Bytes that wait here, control frames not counted (at most 400).
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of them that answer what the connection itself sent.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.pong.is_none() && self.ping.is_none() && self.close.is_none()
    }

    pub(crate) fn nth(&self, index: usize) -> Option<&Queued> {
        self.queue.get(index)
    }

    /// Forgets the first `count` frames: they were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        for gone in self.queue.drain(..count) {
            self.bytes -= gone.bytes.len();
            self.own_bytes -= if gone.own { gone.bytes.len() } else { 0 };
        }
    }

    /// Adds frames that are in order among themselves.
    pub(crate) fn merge(&mut self, frames: impl IntoIterator<Item = Queued>) {
        let before = self.queue.len();
        let mut sorted = true;
        for frame in frames {
            self.bytes += frame.bytes.len();
            self.own_bytes += if frame.own { frame.bytes.len() } else { 0 };
            sorted &= self.queue.back().is_none_or(|last| last.order <= frame.order);
            self.queue.push_back(frame);
        }
        if !sorted {
            debug_assert!(before > 0 || self.queue.len() > 1);
            // Stable: what was accepted first among equals stays first.
            self.queue.make_contiguous().sort_by_key(|queued| queued.order);
        }
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

    /// Throws away all data. Returns how many frames.
    pub(crate) fn clear(&mut self) -> usize {
        (self.bytes, self.own_bytes) = (0, 0);
        let count = self.queue.len();
        self.queue = VecDeque::new();
        count
    }

    /// Drops what the policy drops until no more than `budget` bytes wait.
    /// Returns how many frames were dropped.
    pub(crate) fn enforce(&mut self, policy: SlowPolicy, budget: usize) -> usize {
        if self.bytes <= budget {
            return 0;
        }
        let before = self.queue.len();
        match policy {
            SlowPolicy::Close => {}
            SlowPolicy::DropOldest => self.drop_oldest(budget),
            SlowPolicy::DropNewest => {
                while self.bytes > budget {
                    let Some(gone) = self.queue.pop_back() else { break };
                    self.bytes -= gone.bytes.len();
                }
            }
            SlowPolicy::Conflate => {
                self.conflate();
                self.drop_oldest(budget);
            }
        }
        before - self.queue.len()
    }

    fn drop_oldest(&mut self, budget: usize) {
        while self.bytes > budget {
            let Some(gone) = self.queue.pop_front() else { break };
            self.bytes -= gone.bytes.len();
        }
    }

    /// Keeps the newest publication for each channel and key, and every direct
    /// send.
    fn conflate(&mut self) {
        let mut seen: HashSet<(u64, Option<&str>)> = HashSet::new();
        let mut keep: Vec<bool> = Vec::with_capacity(self.queue.len());
        for queued in self.queue.iter().rev() {
            keep.push(match queued.channel {
                Some(channel) => seen.insert((channel, queued.key.as_deref())),
                None => true,
            });
        }
        let mut keep = keep.into_iter().rev();
        self.queue.retain(|_| keep.next().unwrap_or(true));
        self.bytes = self.queue.iter().map(|queued| queued.bytes.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(order: Order, channel: Option<u64>, key: Option<&str>) -> Queued {
        let bytes = Bytes::from(format!("{order:04}"));
        Queued { order, bytes, own: false, channel, key: key.map(Into::into) }
    }

    fn orders(lag: &Lag) -> Vec<Order> {
        lag.queue.iter().map(|queued| queued.order).collect()
    }

    fn full() -> Lag {
        let mut lag = Lag::default();
        lag.merge((1..=6).map(|order| frame(order, Some(0), None)));
        lag
    }

    #[test]
    fn each_policy_keeps_what_it_promises() {
        let cases = [
            (SlowPolicy::Close, vec![1, 2, 3, 4, 5, 6]),
            (SlowPolicy::DropOldest, vec![4, 5, 6]),
            (SlowPolicy::DropNewest, vec![1, 2, 3]),
            (SlowPolicy::Conflate, vec![6]),
        ];
        for (policy, kept) in cases {
            let mut lag = full();
            let dropped = lag.enforce(policy, 12);
            assert_eq!(orders(&lag), kept, "{policy:?}");
            assert_eq!((dropped, lag.bytes()), (6 - kept.len(), kept.len() * 4), "{policy:?}");
        }
    }

    #[test]
    fn conflation_keeps_the_newest_for_each_room_and_key_and_all_direct_sends() {
        let mut lag = Lag::default();
        lag.merge([
            frame(2, Some(0), Some("a")),
            frame(3, None, None),
            frame(4, Some(0), Some("b")),
            frame(6, Some(1), Some("a")),
            frame(8, Some(0), Some("a")),
        ]);
        lag.enforce(SlowPolicy::Conflate, 16);
        assert_eq!(orders(&lag), [3, 4, 6, 8]);
    }

    #[test]
    fn what_comes_late_is_put_at_its_place() {
        let mut lag = Lag::default();
        lag.merge([frame(3, None, None), frame(7, None, None)]);
        lag.merge([frame(2, Some(0), None), frame(6, Some(0), None)]);
        lag.merge([frame(5, None, None)]);
        assert_eq!(orders(&lag), [2, 3, 5, 6, 7]);
        lag.sent(2);
        assert_eq!((orders(&lag), lag.bytes()), (vec![5, 6, 7], 12));
    }

    #[test]
    fn only_the_newest_pong_is_kept_and_the_close_comes_last() {
        let mut lag = Lag::default();
        lag.control(Control::Close(Bytes::from_static(b"close")));
        lag.control(Control::Pong(Bytes::from_static(b"1")));
        lag.control(Control::Pong(Bytes::from_static(b"2")));
        let control = lag.take_control();
        assert_eq!(control[0].as_deref(), Some(&b"2"[..]));
        assert_eq!(control[2].as_deref(), Some(&b"close"[..]));
        assert!(lag.is_empty());
    }
}
