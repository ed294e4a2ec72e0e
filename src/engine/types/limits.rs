//! Every bound of the engine, each with its reason. A reader can add up here
//! what one connection, one room and one shard may cost at the most.
//!
//! Knows nothing of flags or files: `server` fills this in from them.

use std::time::Duration;

use super::slow_policy::SlowPolicy;

mod check;

/// All bounds. [`Limits::default`] bounds everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an HTTP request head. Default 8 KiB, what common HTTP servers
    /// allow for a request's headers; at least [`Limits::MIN_HEAD_BYTES`].
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
    /// sent, with what it takes to keep them (some 20 to 30 bytes a message).
    /// Default 1 MiB: about a second of what a phone's link carries.
    pub queue_bytes: usize,
    /// What happens to a connection above [`Limits::queue_bytes`].
    pub slow_policy: SlowPolicy,
    /// Bytes handed to the driver in one send, and never more than a quarter of
    /// [`Limits::queue_bytes`], with a lossy policy a sixteenth. Default 256 KiB: large enough to
    /// fill a socket's buffer, small enough that what can no longer be dropped
    /// or conflated is little.
    pub batch_bytes: usize,
    /// Bytes published into one room that may wait for its members before whoever
    /// publishes into it is not read any more. Default 256 KiB, and never more than
    /// a quarter of [`Limits::queue_bytes`]: enough to keep a flush of large batches
    /// busy, small enough to lie in the core's own cache.
    pub room_share_bytes: usize,
    /// Bytes that may wait for members in all rooms of a shard together before the
    /// share of each room shrinks to a quarter of what is left, and at the least to
    /// [`Limits::MIN_ROOM_SHARE_BYTES`]. Default 4 MiB: one publisher in a hundred
    /// rooms must not keep more waiting than sixteen in one room each.
    pub shard_share_bytes: usize,
    /// Bytes on their way to one shard from all others, counted until the receiving
    /// shard's members have taken them: each other shard has an equal part of it, and
    /// of at least [`Limits::MIN_WINDOW_BYTES`]. One connection may use an eighth of
    /// what is free. Default 4 MiB: a millisecond of what one core copies.
    pub window_bytes: usize,
    /// Bytes of publications on the way from all handles to one shard, counted in the
    /// same way; and as much of other mail (closes, joins, queries), which counts
    /// until it has been looked at. Above it a handle answers
    /// [`Busy`](crate::shard::SendError::Busy). Default 8 MiB.
    pub handle_window_bytes: usize,
    /// How long a connection with unsent data may make no progress at all, as its
    /// driver and the kernel see it. Default 10 s (the seed's `write_wait`); then it
    /// is dropped.
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
    /// Bits of an IPv6 address that make it one address for
    /// [`Limits::connections_per_address`], from 1 to 128. Default 64: a network of
    /// that size is what one household or one rented host is given, and every
    /// address in it is its own to use. An IPv4 address, also one mapped into IPv6,
    /// counts whole.
    pub ipv6_prefix_bits: u8,
    /// Connections above `connections` that are told so (an error event and
    /// close 1013) instead of being cut off, and the HTTP requests that a full
    /// server still answers. Default 256: each has a second for its request, so
    /// that whoever wants to keep a load balancer from asking for the health must
    /// keep connecting.
    pub refusals_at_once: usize,
    /// Mails that a shard takes in before it looks at its sockets again. Default
    /// 16,384, the whole mailbox, so that what was sent to this shard before a
    /// client's bytes arrived is known when they are read.
    pub mails_per_turn: usize,
    /// Events of the driver that a shard takes in before it flushes. Default
    /// 4,096: four reads of each of the 1,024 sockets that one wait reports.
    pub events_per_turn: usize,
    /// Received bytes that a shard takes in before it flushes. Default 1 MiB: about a
    /// millisecond of messages of 16 KiB.
    pub received_bytes_per_turn: usize,
    /// Messages that a shard takes in before it flushes, and of which one connection
    /// may have a sixty-fourth; an accept counts as so much, and a request head as
    /// twice that. Default 16,384: 2 to 5 ms of tiny ones, which is what a
    /// stranger may have to wait.
    pub messages_per_turn: usize,
    /// Small sends that a turn may make from rooms' logs and queues before the
    /// sockets are read again; a member that is only looked at counts a sixteenth, a
    /// send of 16 KiB twice. Default 512: about 2 ms at 4 µs a send.
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
            room_share_bytes: 256 * 1024,
            shard_share_bytes: 4 * 1024 * 1024,
            window_bytes: 4 * 1024 * 1024,
            handle_window_bytes: 8 * 1024 * 1024,
            write_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(54),
            pong_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            rooms_per_connection: 128,
            members_per_room: 1_000_000,
            name_bytes: 255,
            connections: 1_000_000,
            connections_per_address: 65_536,
            ipv6_prefix_bits: 64,
            refusals_at_once: 256,
            mails_per_turn: 16_384,
            events_per_turn: 4096,
            received_bytes_per_turn: 1024 * 1024,
            messages_per_turn: 16_384,
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

    /// Pieces of memory handed to the driver in one send, about. 1,024, as many as
    /// one `sendmsg` takes (`IOV_MAX`): with frames of one byte from many rooms,
    /// `batch_bytes` alone would allow 80,000.
    pub const SLICES_PER_BATCH: usize = 1024;

    /// Headers in a request head. 64 is what `httparse` users commonly allow; a
    /// browser sends about 15.
    pub const HEADERS: usize = 64;

    /// The most shards: a room's set of shards is one 64-bit word.
    pub const SHARDS: usize = 64;

    /// Joins and leaves by room hooks that room hooks are told of, for each event: a
    /// message, a mail, an upgrade, an end. 4,096: about a millisecond, and more
    /// than hooks that come to an end of their own make. What the event itself
    /// brings about, such as leaving all rooms at its end, is not counted.
    pub const HOOK_CHANGES_PER_EVENT: usize = 4096;

    /// How many room hooks deep, each called for what the one before did, a join or
    /// leave may be for room hooks to be told of it. 16: those that call each other
    /// for ever come to an end, those that have a purpose need two or three.
    pub const HOOK_CHANGES_DEPTH: u8 = 16;

    /// Connections that a shard describes in one turn for one query. 1,024: about
    /// a millisecond, at one microsecond for each; the next turn goes on.
    pub const INFOS_PER_TURN: usize = 1024;

    /// For how long a request's id is remembered, in milliseconds. 60,000: longer than a
    /// client takes to connect again and repeat what it has no answer to.
    pub const ONCE_WINDOW_MS: u64 = 60_000;

    /// How many requests with an id are remembered in all. 65,536: about 10 MiB; the
    /// oldest are forgotten beyond it.
    pub const ONCE_KEYS: usize = 65_536;

    /// From this length on, in bytes as it is written, a request's id is taken as unique
    /// among all who publish, so that a client which has come back by another connection
    /// can repeat it. 18: sixteen characters and quotes; UUIDs are longer, what clients
    /// count is shorter.
    pub const UNIQUE_ID_BYTES: usize = 18;

    /// Members in one answer to a question who is present. 1,000: about 100 KiB.
    pub const PRESENCE_PER_ANSWER: usize = 1000;

    /// Answers to such questions that one connection may wait for. 8: a client asks for
    /// a few rooms at once, and each answer may be long.
    pub const PRESENCE_REQUESTS: usize = 8;

    /// Slots of the arena at which one turn looks for them. 8,192: where most are
    /// empty, or not of the room in question, that is a tenth of a millisecond.
    pub const SLOTS_PER_TURN: usize = 8192;

    /// The smallest request head that may be the limit, [`Limits::head_bytes`]: 256 bytes,
    /// a handshake of a client that sends no more than RFC 6455 section 4.1 asks for, with
    /// a path and a host of some fifty bytes. With less, nobody could connect.
    pub const MIN_HEAD_BYTES: usize = 256;

    /// The least window from one shard to another, in bytes: 256 KiB, one flush.
    pub const MIN_WINDOW_BYTES: usize = 256 * 1024;

    /// The least share of a room, in bytes; see [`Limits::shard_share_bytes`].
    pub const MIN_ROOM_SHARE_BYTES: usize = 16 * 1024;

    /// For so long, in milliseconds, a member that falls behind slows down whoever
    /// publishes into its rooms, if a quarter of the members are behind or half of its
    /// budget is used up; and for as long as it takes [`Limits::PACE_BYTES`] in that
    /// time. Then it is left behind and to its policy. 3 s: longer than a connection
    /// that lost packets needs to come back.
    pub const PACE_MS: u64 = 3000;

    /// What a member takes in [`Limits::PACE_MS`] if it reads. 1 MiB: a reader can slow
    /// a room down to 350 KB/s, and no further.
    pub const PACE_BYTES: usize = 1024 * 1024;

    /// A gap between two turns beyond what the shard meant to sleep, in
    /// milliseconds, above which the process stood still (SIGSTOP, a paused or
    /// migrated machine): all deadlines move by it. 1 s.
    pub const STANDSTILL_MS: u64 = 1000;

    /// Bytes on the way from one shard to another, if there are so many shards.
    pub(crate) fn window_of(&self, shards: usize) -> usize {
        let part = self.window_bytes / shards.saturating_sub(1).max(1);
        part.max(Self::MIN_WINDOW_BYTES.min(self.window_bytes))
    }

    /// How many messages one connection may have looked at in a turn, and as how many
    /// an accept counts, which takes some 20 µs. A request head takes twice that to
    /// answer, or to hand its socket over.
    pub(crate) fn messages_at_once(&self) -> usize {
        (self.messages_per_turn / 64).max(1)
    }

    /// Bytes in one batch: what is with the driver is beside the budget of a slow
    /// reader, and can not be dropped any more.
    pub(crate) fn batch_of(&self, policy: SlowPolicy) -> usize {
        match policy {
            SlowPolicy::Close => self.batch_bytes.min((self.queue_bytes / 4).max(1)),
            _ => self.batch_bytes.min((self.queue_bytes / 16).max(1)),
        }
    }

    /// Bytes that wait for members in a room before its publishers are held, when
    /// little waits in other rooms.
    pub(crate) fn room_share(&self) -> usize {
        self.room_share_bytes.min(self.queue_bytes / 4).max(1)
    }
}
