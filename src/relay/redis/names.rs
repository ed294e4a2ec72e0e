//! Names of channels and keys: where in Redis a room is. Every name is
//! `prefix{partition}:kind:name`; the prefix has no brace, so that the first pair of braces,
//! which decides a cluster's slot, is always ours, whatever a room is called.

use crate::relay::broker::Channel;

/// Partitions of a cluster. A node has a heartbeat in each, and each is on one server.
pub(super) const CLUSTER_PARTITIONS: u16 = 16;

/// CRC-16/XMODEM, by which a cluster makes slots (Redis Cluster Specification, "Key
/// distribution model"), and we partitions.
const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = (at as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| crc << 8 ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The slot of a partition in a cluster.
pub(super) fn slot(partition: u16) -> u16 {
    crc16(partition.to_string().as_bytes()) % 16_384
}

/// Makes names.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// What each name begins with, for each partition: `prefix{7}:`.
    starts: Vec<String>,
}

/// A name and the partition that it is in.
pub(super) type Place = (u16, Vec<u8>);

impl Names {
    pub(super) fn new(prefix: &str, partitions: u16) -> Self {
        let start = |partition| format!("{prefix}{{{partition}}}:");
        Self { starts: (0..partitions.max(1)).map(start).collect() }
    }

    pub(super) fn partitions(&self) -> u16 {
        self.starts.len() as u16
    }

    /// The partition of a room or user.
    fn partition(&self, name: &[u8]) -> u16 {
        crc16(name) % self.partitions()
    }

    fn name(&self, partition: u16, kind: u8, name: &[u8]) -> Vec<u8> {
        let start = self.starts.get(usize::from(partition)).or(self.starts.first());
        let start = start.map_or("", String::as_str);
        let mut whole = Vec::with_capacity(start.len() + 2 + name.len());
        whole.extend_from_slice(start.as_bytes());
        whole.extend_from_slice(&[kind, b':']);
        whole.extend_from_slice(name);
        whole
    }

    pub(super) fn channel(&self, channel: &Channel) -> Place {
        let partition = self.partition_of(channel);
        let name = match channel {
            Channel::Control(_) => self.name(partition, b'c', b""),
            Channel::Everyone => self.name(partition, b'e', b""),
            Channel::Node(node) => self.name(partition, b'n', format!("{node:016x}").as_bytes()),
            Channel::Room(room) => self.name(partition, b'r', room.as_bytes()),
            Channel::User(user) => self.name(partition, b'u', user.as_bytes()),
        };
        (partition, name)
    }

    pub(super) fn partition_of(&self, channel: &Channel) -> u16 {
        match channel {
            Channel::Control(partition) => *partition % self.partitions(),
            Channel::Everyone => 0,
            Channel::Node(node) => self.partition(&node.to_be_bytes()),
            Channel::Room(name) | Channel::User(name) => self.partition(name.as_bytes()),
        }
    }

    pub(super) fn room_channel(&self, room: &str) -> Vec<u8> {
        self.name(self.room(room), b'r', room.as_bytes())
    }

    pub(super) fn room(&self, room: &str) -> u16 {
        self.partition(room.as_bytes())
    }

    /// A key of a room: `m` its epoch and last offset, `s` its stream, `x`, `p` and `k` who
    /// is present, until when, by connection, and how many connections each has.
    pub(super) fn key(&self, kind: u8, room: &str) -> Vec<u8> {
        self.name(self.room(room), kind, room.as_bytes())
    }

    /// The key that remembers a publication by its own key. The room's length in front
    /// keeps two pairs of room and key apart.
    pub(super) fn once(&self, room: &str, once: &str) -> Vec<u8> {
        let mut name = self.name(self.room(room), b'o', format!("{}:", room.len()).as_bytes());
        name.extend_from_slice(room.as_bytes());
        name.extend_from_slice(once.as_bytes());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slot by the rules of the specification, hash tags among them.
    fn slot_of(name: &[u8]) -> u16 {
        let tag = name.iter().position(|&byte| byte == b'{').and_then(|open| {
            let rest = &name[open + 1..];
            let close = rest.iter().position(|&byte| byte == b'}')?;
            (close > 0).then(|| &rest[..close])
        });
        crc16(tag.unwrap_or(name)) % 16_384
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"foo"), 12_182);
    }

    #[test]
    fn no_name_of_a_room_changes_its_slot_or_leaves_the_prefix() {
        let names = Names::new("app:", CLUSTER_PARTITIONS);
        for room in ["", "}{", "{1}", "{}", "a\nb", "*", "\0", "\r\nPING\r\n", &"é".repeat(127)] {
            let (partition, channel) = names.channel(&Channel::Room(room.into()));
            let keys = [b'm', b's', b'x', b'p', b'k'].map(|kind| names.key(kind, room));
            for name in keys.into_iter().chain([channel, names.once(room, "}{2}")]) {
                assert_eq!(slot_of(&name), slot(partition), "{room:?}");
                assert!(name.starts_with(format!("app:{{{partition}}}:").as_bytes()));
            }
        }
    }

    #[test]
    fn two_things_never_have_one_name() {
        let names = Names::new("app:", 1);
        assert_ne!(names.once("a", "bc"), names.once("ab", "c"));
        assert_ne!(names.once("1", "1:a"), names.once("11:", "a"));
        let channels = [
            Channel::Control(0),
            Channel::Everyone,
            Channel::Node(7),
            Channel::Room("".into()),
            Channel::User("".into()),
            Channel::Room("0000000000000007".into()),
        ];
        let all: std::collections::BTreeSet<_> =
            channels.iter().map(|channel| names.channel(channel)).collect();
        assert_eq!(all.len(), channels.len());
    }
}
