//! Every bound of the engine, each with its reason. A reader can add up here
//! what one connection, one room and one shard may cost at the most.
//!
//! Knows nothing of flags or files: `server` fills this in from them.

use std::time::Duration;

/// What to do with a connection that takes its messages more slowly than they
/// are sent to it, once [`Limits::queue_bytes`] is exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SlowPolicy {
    /// Close it with 1013 (try again later): it missed nothing until then, and
    /// it knows that it missed what follows.
    #[default]
    Close,
    /// Drop its oldest waiting messages: it sees the newest, with gaps.
    DropOldest,
    /// Drop what arrives while its queue is full: it sees an unbroken beginning,
    /// then a gap.
    DropNewest,
    /// Keep only the newest waiting message for each room and key (a message
    /// without a key: for each room); if that is still too much, drop the oldest.
    Conflate,
}

impl SlowPolicy {
    /// Every policy, for flags and tests.
    pub const ALL: [Self; 4] = [Self::Close, Self::DropOldest, Self::DropNewest, Self::Conflate];

    /// Its name in flags and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::Conflate => "conflate",
        }
    }

    /// The policy of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// All bounds. [`Limits::default`] bounds everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an HTTP request head. Default 8 KiB, what common HTTP servers
    /// allow for a request's headers.
    pub head_bytes: usize,
    /// From accept to the end of the request head. Default 10 s: a slow phone
    /// needs two, a slow-loris attacker all that it gets.
    pub handshake_timeout: Duration,
    /// Bytes of one message, all its fragments together. Default 512,000 (the
    /// `pubsub` seed's `max_message_size`).
    pub message_bytes: usize,
    /// Frames of one message. Default 1,024: a fragment of 500 bytes is already
    /// smaller than a packet; more is a flood of empty frames.
    pub frames_per_message: u32,
    /// Bytes that may wait for one connection beyond the batch that is being
    /// sent. Default 1 MiB: about a second of what a phone's link carries.
    pub queue_bytes: usize,
    /// What happens to a connection above [`Limits::queue_bytes`].
    pub slow_policy: SlowPolicy,
    /// Bytes handed to the driver in one send. Default 256 KiB: large enough to
    /// fill a socket's buffer, small enough that what can no longer be dropped
    /// or conflated is little.
    pub batch_bytes: usize,
    /// Bytes that the messages of one read (at most 256 KiB) may cause to be sent,
    /// to their own connection and to rooms, counted once for each room. Default
    /// 16 MiB; above it the connection is closed as a slow one: nothing else
    /// bounds what handlers answer to thousands of tiny messages at once.
    pub answer_bytes: usize,
    /// How long one batch may take to leave. Default 10 s (the seed's
    /// `write_wait`); then the connection is dropped.
    pub write_timeout: Duration,
    /// A ping is sent to a connection from which nothing came for so long.
    /// Default 54 s (the seed's `ping_interval`). Zero: never.
    pub ping_interval: Duration,
    /// A connection from which nothing came for so long is closed. Default 60 s
    /// (the seed's `pong_wait`); must be above `ping_interval`. Zero: never.
    pub pong_timeout: Duration,
    /// How long the peer may take to answer a Close frame, and to read the
    /// answer to a bad request. Default 5 s.
    pub close_timeout: Duration,
    /// Rooms that one connection may be in. Default 128: its list is searched
    /// one by one.
    pub rooms_per_connection: usize,
    /// Members that one room may have, on all shards together. Default
    /// 1,000,000, which is all connections of a large host.
    pub members_per_room: usize,
    /// Bytes of a room's or user's name. Default 255.
    pub name_bytes: usize,
    /// Connections of the process. Default 1,000,000: 256 MB of the engine's
    /// memory and some 4 GB of the kernel's. The descriptor limit of the process
    /// is usually lower.
    pub connections: usize,
    /// Connections from one address. Default 65,536, as many as one address can
    /// have ports; lower it where no proxy stands in front.
    pub connections_per_address: usize,
    /// Connections above `connections` that are told so (an error event and
    /// close 1013) instead of being cut off, and the HTTP requests that a full
    /// server still answers. Default 256: each has a second for its request, so
    /// that whoever wants to keep a load balancer from asking for the health must
    /// keep connecting.
    pub refusals_at_once: usize,
    /// Messages that may wait in one shard's mailbox. Default 16,384: at 100,000
    /// publications a second, 160 ms of a stalled shard.
    pub mailbox_messages: usize,
    /// Messages that may wait at the sender for a full mailbox. Default 65,536;
    /// above it they are dropped and counted.
    pub overflow_messages: usize,
    /// Mails that a shard takes in before it looks at its sockets again. Default
    /// 16,384, the whole mailbox, so that what was sent to this shard before a
    /// client's bytes arrived is known when they are read.
    pub mails_per_turn: usize,
    /// Events of the driver that a shard takes in before it flushes. Default
    /// 4,096: four reads of each of the 1,024 sockets that one wait reports.
    pub events_per_turn: usize,
    /// Members to which one flush may send from its rooms' logs before the sockets
    /// are read again. Default 512: about 2 ms at 4 µs a send.
    pub sends_per_turn: usize,
    /// Timers that a turn handles. Default 4,096.
    pub timers_per_turn: usize,
    /// How long a drain may take. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 8 * 1024,
            handshake_timeout: Duration::from_secs(10),
            message_bytes: 512_000,
            frames_per_message: 1024,
            queue_bytes: 1024 * 1024,
            slow_policy: SlowPolicy::Close,
            batch_bytes: 256 * 1024,
            answer_bytes: 16 * 1024 * 1024,
            write_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(54),
            pong_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            rooms_per_connection: 128,
            members_per_room: 1_000_000,
            name_bytes: 255,
            connections: 1_000_000,
            connections_per_address: 65_536,
            refusals_at_once: 256,
            mailbox_messages: 16_384,
            overflow_messages: 65_536,
            mails_per_turn: 16_384,
            events_per_turn: 4096,
            sends_per_turn: 512,
            timers_per_turn: 4096,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// The largest frame of which a room's log keeps a copy; a larger one is
    /// referenced. 16 KiB: above it the copy costs more than another `iovec`.
    pub const COPIED_FRAME_BYTES: usize = 16 * 1024;

    /// Headers in a request head. 64 is what `httparse` users commonly allow; a
    /// browser sends about 15.
    pub const HEADERS: usize = 64;

    /// The most shards: a room's set of shards is one 64-bit word.
    pub const SHARDS: usize = 64;

    /// Joins and leaves by room hooks that room hooks are told of, for each event: a
    /// message, a mail, an upgrade, an end. 4,096: about a millisecond, and more
    /// than hooks that come to an end of their own make. What the event itself
    /// brings about, such as leaving all rooms at its end, is not counted.
    pub const HOOKED_MOVES_PER_EVENT: usize = 4096;

    /// How many room hooks deep, each called for what the one before did, a join or
    /// leave may be for room hooks to be told of it. 16: those that call each other
    /// for ever come to an end, those that have a purpose need two or three.
    pub const HOOKED_MOVES_DEEP: u8 = 16;

    /// Connections that a shard describes in one turn for one query. 1,024: about
    /// a millisecond, at one microsecond for each; the next turn goes on.
    pub const INFOS_PER_TURN: usize = 1024;

    /// Slots of the arena at which one turn looks for them. 8,192: where most are
    /// empty, or not of the room in question, that is a tenth of a millisecond.
    pub const SLOTS_PER_TURN: usize = 8192;

    /// What is wrong with these limits together, if anything.
    ///
    /// # Errors
    /// A sentence that names the offending values.
    pub fn check(&self) -> Result<(), String> {
        let positive: [(&str, usize); 13] = [
            ("head_bytes", self.head_bytes),
            ("message_bytes", self.message_bytes),
            ("frames_per_message", self.frames_per_message as usize),
            ("queue_bytes", self.queue_bytes),
            ("batch_bytes", self.batch_bytes),
            ("rooms_per_connection", self.rooms_per_connection),
            ("members_per_room", self.members_per_room),
            ("name_bytes", self.name_bytes),
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("mailbox_messages", self.mailbox_messages),
            ("mails_per_turn", self.mails_per_turn),
            ("events_per_turn", self.events_per_turn),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be at least 1"));
        }
        if self.sends_per_turn == 0 || self.timers_per_turn == 0 {
            return Err("sends_per_turn and timers_per_turn must be at least 1".into());
        }
        let (ping, pong) = (self.ping_interval, self.pong_timeout);
        if !ping.is_zero() && !pong.is_zero() && pong <= ping {
            return Err(format!("pong_timeout ({pong:?}) must be above ping_interval ({ping:?})"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_pong_timeout_at_or_below_the_ping_interval_is_refused_by_name() {
        let limits = Limits { pong_timeout: Duration::from_secs(54), ..Limits::default() };
        assert!(limits.check().unwrap_err().contains("pong_timeout"));
    }

    #[test]
    fn every_policy_is_found_by_its_name() {
        for policy in SlowPolicy::ALL {
            assert_eq!(SlowPolicy::by_name(policy.name()), Some(policy));
        }
    }
}
