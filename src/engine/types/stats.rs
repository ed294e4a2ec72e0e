//! Counters of one shard. Plain integers: only the shard's thread writes them,
//! a query copies them out.

use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one shard, or all of them together, counted since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Stats {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Connections now upgraded and open.
    connections,
    /// Rooms now existing. Filled in for the whole process, 0 for one shard.
    rooms,
    /// Sockets accepted.
    accepted,
    /// Connections upgraded to WebSocket.
    upgraded,
    /// Requests that were no valid upgrade, answered with an HTTP error.
    handshakes_failed,
    /// Connections that were refused because a limit was reached.
    connections_refused,
    /// Messages received, control frames not counted.
    messages_received,
    /// Bytes received, headers included.
    bytes_received,
    /// Publications accepted by this shard, for local and remote members.
    publications,
    /// Deliveries of publications: one for each member and publication.
    deliveries,
    /// Messages sent to single connections.
    direct_messages,
    /// Bytes handed to the driver, headers included.
    bytes_sent,
    /// Batches handed to the driver (each is about one system call).
    sends,
    /// Frames encoded for publications.
    frames_encoded,
    /// Messages that a slow consumer's policy dropped.
    messages_dropped,
    /// Connections closed for being slow.
    slow_disconnects,
    /// Connections closed because the peer broke the protocol.
    protocol_errors,
    /// Handlers and hooks that panicked.
    handler_panics,
    /// Times a connection was held: not read, because others had not taken what it
    /// published, or it had not taken its own answers.
    holds,
    /// Mails taken in.
    mails_received,
}
