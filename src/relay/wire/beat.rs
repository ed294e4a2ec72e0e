//! Heartbeats: that a node lives, and how far it has published in each channel. Knows
//! nothing of what is concluded from them.

use std::sync::Arc;

use super::{
    super::broker::Channel,
    cursor::{Malformed, Reader, Writer},
};
use crate::publication::Position;

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Counted from 1 for each control channel.
    pub beat: u64,
    /// When it was sent, on the sender's clock, in milliseconds.
    pub sent_ms: u64,
    /// Whether the sender receives everything that it wants to, as far as it knows: what it
    /// subscribed again when it last reached the broker stands.
    pub is_subscribed: bool,
    /// How far the sender has published, in some of its channels.
    pub announcements: Vec<Announcement>,
}

/// How far a node has published in one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A channel in which messages are numbered by their sender.
    Numbered(Channel, Numbered),
    /// A room with history: the last position that the sender knows there.
    Stored(Arc<str>, Position),
}

/// How far a node has counted in a channel. Ages are in milliseconds, back from when the
/// beat was sent.
///
/// `first <= before + 1 <= last + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The first number of this numbering.
    pub first: u64,
    /// How long ago it was given.
    pub first_age_ms: u64,
    /// The last number when the channel was last announced.
    pub before: u64,
    /// How long ago the number behind that was given, if one was.
    pub next_age_ms: u64,
    /// The last number.
    pub last: u64,
    /// How long ago it was given.
    pub last_age_ms: u64,
}

impl Announcement {
    /// About as many bytes as it takes.
    pub fn wire_bytes(&self) -> usize {
        let name = match self {
            Self::Numbered(Channel::Room(name) | Channel::User(name), _)
            | Self::Stored(name, _) => name.len(),
            Self::Numbered(..) => 8,
        };
        name + 32
    }

    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Numbered(channel, numbered) => {
                encode_channel(writer, channel);
                writer.number(numbered.last);
                writer.number(numbered.last.saturating_sub(numbered.before));
                writer.number(numbered.last.saturating_sub(numbered.first));
                writer.number(numbered.first_age_ms);
                writer.number(numbered.next_age_ms);
                writer.number(numbered.last_age_ms);
            }
            Self::Stored(room, position) => {
                writer.byte(5);
                writer.text(room);
                writer.fixed(position.epoch);
                writer.number(position.offset);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let channel = match reader.byte()? {
            0 => Channel::Control(u16::try_from(reader.number()?).map_err(|_| Malformed)?),
            1 => Channel::Everyone,
            2 => Channel::Node(reader.fixed()?),
            3 => Channel::Room(reader.text()?.into()),
            4 => Channel::User(reader.text()?.into()),
            5 => {
                let room = reader.text()?.into();
                let position = Position { epoch: reader.fixed()?, offset: reader.number()? };
                return Ok(Self::Stored(room, position));
            }
            _ => return Err(Malformed),
        };
        let last = reader.number()?;
        let mut back = || reader.number().and_then(|by| last.checked_sub(by).ok_or(Malformed));
        let (before, first) = (back()?, back()?);
        if first > before.saturating_add(1) {
            return Err(Malformed);
        }
        let (first_age_ms, next_age_ms) = (reader.number()?, reader.number()?);
        let last_age_ms = reader.number()?;
        let numbered = Numbered { first, first_age_ms, before, next_age_ms, last, last_age_ms };
        Ok(Self::Numbered(channel, numbered))
    }
}

fn encode_channel(writer: &mut Writer, channel: &Channel) {
    match channel {
        Channel::Control(partition) => {
            writer.byte(0);
            writer.number(u64::from(*partition));
        }
        Channel::Everyone => writer.byte(1),
        Channel::Node(node) => {
            writer.byte(2);
            writer.fixed(*node);
        }
        Channel::Room(room) => {
            writer.byte(3);
            writer.text(room);
        }
        Channel::User(user) => {
            writer.byte(4);
            writer.text(user);
        }
    }
}

impl Beat {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.number(self.beat);
        writer.number(self.sent_ms);
        writer.byte(u8::from(self.is_subscribed));
        writer.number(self.announcements.len() as u64);
        for announcement in &self.announcements {
            announcement.encode(writer);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (beat, sent_ms) = (reader.number()?, reader.number()?);
        let is_subscribed = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let announcements = reader.list(6, Announcement::decode)?;
        reader.end()?;
        Ok(Self { beat, sent_ms, is_subscribed, announcements })
    }
}
