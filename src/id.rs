//! The identity of a connection, the one value by which every layer and every
//! thread names it. Knows nothing of what a connection is.

use std::fmt;

/// Names one connection for as long as the process runs.
///
/// 64 bits: 8 of shard, 24 of slot in that shard's arena, 32 of generation. The
/// generation is advanced each time a slot is given to a new connection, so an
/// identity that outlives its connection matches nothing: a late completion, a
/// message to someone who has gone, a timer that fires after the close are all
/// harmless.
///
/// ```
/// use shardcast::id::ConnId;
/// let id = ConnId::new(3, 70_000, 9);
/// assert_eq!((id.shard(), id.slot(), id.generation()), (3, 70_000, 9));
/// assert_eq!(ConnId::from_u64(id.to_u64()), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

impl ConnId {
    /// The most slots that one shard's arena can have: 2^24.
    pub const MAX_SLOTS: u32 = 1 << 24;

    /// Puts an identity together.
    ///
    /// # Panics
    /// In debug builds, if `slot` is not below [`ConnId::MAX_SLOTS`].
    pub const fn new(shard: u8, slot: u32, generation: u32) -> Self {
        debug_assert!(slot < Self::MAX_SLOTS);
        Self((shard as u64) << 56 | (slot as u64) << 32 | generation as u64)
    }

    /// The shard to which the connection belongs, for life.
    pub const fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The connection's place in its shard's arena and in its driver's table.
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & (Self::MAX_SLOTS - 1)
    }

    /// Which of the successive tenants of that slot is meant.
    pub const fn generation(self) -> u32 {
        self.0 as u32
    }

    /// The identity as one integer, for `user_data`, tokens and logs.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`ConnId::to_u64`].
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}#{}", self.shard(), self.slot(), self.generation())
    }
}

/// The identity by which clients know a connection: a UUID.
///
/// Version 8 (RFC 9562 section 5.8), made of 58 bits that are random per process
/// and the 64 bits of the [`ConnId`], so that it is unique across nodes, costs a
/// connection no memory, and leads back to its connection without a table. It is
/// a name, not a secret.
///
/// ```
/// use shardcast::id::{ClientId, ConnId};
/// let id = ConnId::new(0, 17, 1);
/// let client = ClientId::new(0x1234_5678, id);
/// assert_eq!(client.to_string().parse::<ClientId>().unwrap(), client);
/// assert_eq!(client.conn(0x1234_5678), Some(id));
/// assert_eq!(client.conn(0x8765_4321), None); // another process's
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u128);

impl ClientId {
    /// The length of its text, in bytes.
    pub const TEXT_LEN: usize = 36;

    /// Bits of a process's random number that go into the identity.
    const NODE_MASK: u64 = (1 << 58) - 1;

    /// The identity of connection `conn` of the process that drew `node`, of
    /// which the low 58 bits count.
    pub const fn new(node: u64, conn: ConnId) -> Self {
        // Layout: 48 bits of node, version, 10 bits of node and the top 2 of
        // conn, variant, 62 bits of conn.
        let node = (node & Self::NODE_MASK) as u128;
        let conn = conn.0 as u128;
        let high = (node >> 10) << 80;
        let middle = ((node & 0x3FF) << 2 | conn >> 62) << 64;
        let low = conn & ((1 << 62) - 1);
        Self(high | 8 << 76 | middle | 2 << 62 | low)
    }

    /// The connection that it names, if it comes from the process that drew
    /// `node`.
    pub const fn conn(self, node: u64) -> Option<ConnId> {
        let conn = ((self.0 >> 64 & 3) << 62 | self.0 & ((1 << 62) - 1)) as u64;
        let conn = ConnId(conn);
        if Self::new(node, conn).0 == self.0 { Some(conn) } else { None }
    }

    /// The low 58 bits of the random number of the process that it comes from.
    ///
    /// ```
    /// # use shardcast::id::{ClientId, ConnId};
    /// assert_eq!(ClientId::new(0x1234_5678, ConnId::new(0, 17, 1)).node(), 0x1234_5678);
    /// ```
    pub const fn node(self) -> u64 {
        ((self.0 >> 80) as u64) << 10 | (self.0 >> 66) as u64 & 0x3FF
    }

    /// The bits by which a process's random number is known: the low 58.
    pub const fn node_of(number: u64) -> u64 {
        number & Self::NODE_MASK
    }

    /// The identity as one integer, for messages between nodes.
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    /// The inverse of [`ClientId::to_u128`].
    pub const fn from_u128(raw: u128) -> Self {
        Self(raw)
    }

    /// Its text (RFC 9562 section 4), lower case, without allocation.
    pub fn to_text(self) -> [u8; Self::TEXT_LEN] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; Self::TEXT_LEN];
        let bytes = self.0.to_be_bytes();
        let mut at = 0;
        for (index, byte) in bytes.into_iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.to_text() {
            fmt::Write::write_char(f, char::from(byte))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID in its usual form of 36 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidClientId;

impl fmt::Display for InvalidClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a client id is a UUID: 8-4-4-4-12 hexadecimal digits")
    }
}

impl std::error::Error for InvalidClientId {}

impl std::str::FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, InvalidClientId> {
        if text.len() != Self::TEXT_LEN {
            return Err(InvalidClientId);
        }
        let mut value = 0u128;
        for (index, byte) in text.bytes().enumerate() {
            if matches!(index, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(InvalidClientId);
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).ok_or(InvalidClientId)?;
            value = value << 4 | u128::from(digit);
        }
        Ok(Self(value))
    }
}
