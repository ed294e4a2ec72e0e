//! The form of messages between nodes: bytes on a broker's channel and back. Knows no
//! broker and no sequence's meaning; takes any bytes.
//!
//! | field | form | meaning |
//! | --- | --- | --- |
//! | version | byte | 1; a message of another version is skipped |
//! | kind | byte | 1 publication, 2 command, 3 heartbeat, 4 question, 5 answer, 6 announce, 7 publications |
//! | node | 8 bytes | who sends: the low 58 bits of its random number |
//! | sequence | number | of this node in this channel; 0 where none is counted |
//! | since first | number | how far that is from the first of this numbering; 0 begins one |
//! | body | | by kind |
//!
//! A number has seven bits in each byte, the lowest first, and the highest bit says that
//! another byte follows. A text is its length in bytes, a number, and UTF-8. A client is
//! 16 bytes. Fixed numbers are little-endian.
//!
//! | body | fields |
//! | --- | --- |
//! | publication | flags (bits 0 and 1: form; 2: sender, 3: user, 4: except, 5: key), event, sender, user, except, key, time in ms, payload to the end |
//! | command | byte (0 send, 1 close, 2 join, 3 leave), then its fields; a payload to the end |
//! | heartbeat | number of this beat, time at the sender in ms, byte (1 if all that the sender wants is subscribed, else 0), list of announcements |
//! | question | number of the question, byte (0 count, 1 members), room, most |
//! | answer | number of the question, count, list of members |
//! | announce | nothing: asks all nodes to announce again how far they have published |
//! | publications | 1 to 1,024, each its length in 4 bytes and what a publication has; the message's sequence is the first's |
//!
//! The audience of a publication is the channel's.

mod beat;
mod bundle;
mod cursor;
mod head;
mod publication;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use self::{
    bundle::{PUBLICATIONS, publications},
    cursor::{Malformed, Reader, Writer},
    head::head,
    publication::{PUBLICATION, client, data, form_bits, publication},
};
use super::broker::Channel;
use crate::{
    cluster::{ClusterAnswer, Command, Presence, Question, Who},
    id::ClientId,
    publication::Publication,
};

pub use self::{
    beat::{Announcement, Beat, Numbered},
    bundle::Bundle,
    head::{Number, VERSION},
    publication::{Delivery, encode_publication, encoded_bytes},
};

/// So many members are told in one answer at the most.
const MEMBERS: usize = 10_000;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// Of another version, this one.
    UnknownVersion(u8),
    /// Of no form that is known.
    Malformed,
}

impl From<Malformed> for WireError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A message from one node to others.
#[derive(Debug)]
pub struct Message {
    /// Who sent it.
    pub node: u64,
    /// Its place.
    pub number: Number,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Publications are what most are, and are moved on at once.
pub enum Body {
    /// Deliver this to the members, but for one.
    Publication(Publication, Option<ClientId>),
    /// Deliver these, whose numbers follow one another.
    Publications(Vec<Delivery>),
    /// Do this.
    Command(Command),
    /// The sender lives.
    Beat(Beat),
    /// Answer this, by its number.
    Question(u64, Question),
    /// The answer to a question of that number.
    Answer(u64, ClusterAnswer),
    /// Announce again how far you have published.
    Announce,
}

/// A command as `node` sends it.
pub fn encode_command(node: u64, number: Number, command: &Command) -> Bytes {
    let mut writer = Writer::default();
    head(&mut writer, 2, node, number);
    match command {
        Command::Send { to, event, data } => {
            writer.byte(form_bits(data.form()) << 4);
            writer.wide(to.to_u128());
            writer.text(event);
            crate::copy::append(&mut writer.0, data.bytes());
        }
        Command::Close { who, code, reason } => {
            writer.byte(1);
            encode_who(&mut writer, who);
            writer.number(u64::from(*code));
            writer.text(reason);
        }
        Command::Join { who, room } => {
            writer.byte(2);
            encode_who(&mut writer, who);
            writer.text(room);
        }
        Command::Leave { who, room } => {
            writer.byte(3);
            encode_who(&mut writer, who);
            writer.text(room);
        }
    }
    writer.0.into()
}

fn encode_who(writer: &mut Writer, who: &Who) {
    match who {
        Who::Client(client) => {
            writer.byte(0);
            writer.wide(client.to_u128());
        }
        Who::User(user) => {
            writer.byte(1);
            writer.text(user);
        }
    }
}

fn command(reader: &mut Reader<'_>) -> Result<Command, Malformed> {
    let kind = reader.byte()?;
    if matches!(kind, 0 | 0x10 | 0x20 | 0x30) {
        let (to, event) = (client(reader)?, reader.text()?.into());
        return Ok(Command::Send { to, event, data: data(reader, kind >> 4)? });
    }
    let who = match reader.byte()? {
        0 => Who::Client(client(reader)?),
        1 => Who::User(reader.text()?.into()),
        _ => return Err(Malformed),
    };
    let command = match kind {
        1 => {
            let code = u16::try_from(reader.number()?).map_err(|_| Malformed)?;
            Command::Close { who, code, reason: reader.text()?.into() }
        }
        2 => Command::Join { who, room: reader.text()?.into() },
        3 => Command::Leave { who, room: reader.text()?.into() },
        _ => return Err(Malformed),
    };
    reader.end()?;
    Ok(command)
}

/// A heartbeat as `node` sends it.
pub fn encode_beat(node: u64, beat: &Beat) -> Bytes {
    let mut writer = Writer::default();
    head(&mut writer, 3, node, Number::default());
    beat.encode(&mut writer);
    writer.0.into()
}

/// A question as `node` asks it.
pub fn encode_question(node: u64, ask: u64, question: &Question) -> Bytes {
    let mut writer = Writer::default();
    head(&mut writer, 4, node, Number::default());
    writer.number(ask);
    let (kind, room, most) = match question {
        Question::MemberCount(room) => (0, room, 0),
        Question::Members(room, most) => (1, room, *most),
    };
    writer.byte(kind);
    writer.text(room);
    writer.number(u64::from(most));
    writer.0.into()
}

fn question(reader: &mut Reader<'_>) -> Result<Body, Malformed> {
    let (ask, kind, room) = (reader.number()?, reader.byte()?, reader.text()?);
    let most = u32::try_from(reader.number()?).map_err(|_| Malformed)?;
    reader.end()?;
    match kind {
        0 => Ok(Body::Question(ask, Question::MemberCount(room.into()))),
        1 => Ok(Body::Question(ask, Question::Members(room.into(), most))),
        _ => Err(Malformed),
    }
}

/// An answer as `node` gives it, with 10,000 members at the most.
pub fn encode_answer(node: u64, number: Number, ask: u64, answer: &ClusterAnswer) -> Bytes {
    let mut writer = Writer::default();
    head(&mut writer, 5, node, number);
    writer.number(ask);
    writer.number(answer.count);
    let members = &answer.members[..answer.members.len().min(MEMBERS)];
    writer.number(members.len() as u64);
    for member in members {
        writer.wide(member.client.to_u128());
        writer.byte(u8::from(member.user.is_some()));
        if let Some(user) = &member.user {
            writer.text(user);
        }
    }
    writer.0.into()
}

fn answer(reader: &mut Reader<'_>) -> Result<Body, Malformed> {
    let (ask, count) = (reader.number()?, reader.number()?);
    let members = reader.list(17, |reader| {
        let client = client(reader)?;
        let user = match reader.byte()? {
            0 => None,
            1 => Some(reader.text()?.into()),
            _ => return Err(Malformed),
        };
        Ok(Presence { client, user })
    })?;
    reader.end()?;
    Ok(Body::Answer(ask, ClusterAnswer { count, members, nodes: 1, missing: 0 }))
}

/// The request of `node` that all announce how far they have published.
pub fn encode_announce(node: u64) -> Bytes {
    let mut writer = Writer::default();
    head(&mut writer, 6, node, Number::default());
    writer.0.into()
}

/// Reads what came on `channel`.
///
/// # Errors
/// If it is of another version, or no message that belongs there.
pub fn decode(bytes: &Bytes, channel: &Channel) -> Result<Message, WireError> {
    let mut reader = Reader::new(bytes);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(WireError::UnknownVersion(version));
    }
    let (kind, node) = (reader.byte()?, reader.fixed()?);
    let number = Number { sequence: reader.number()?, since_first: reader.number()? };
    if number.since_first > number.sequence {
        return Err(WireError::Malformed);
    }
    let body = match (kind, channel) {
        (PUBLICATION, _) => {
            let audience = channel.audience().ok_or(Malformed)?;
            publication(&mut reader, audience)
                .map(|(found, except)| Body::Publication(found, except))
        }
        (PUBLICATIONS, _) => {
            let audience = channel.audience().ok_or(Malformed)?;
            publications(&mut reader, &audience).map(Body::Publications)
        }
        (2, Channel::Node(_) | Channel::User(_) | Channel::Everyone) => {
            command(&mut reader).map(Body::Command)
        }
        (3, Channel::Control(_)) => Beat::decode(&mut reader).map(Body::Beat),
        (4, Channel::Control(_)) => question(&mut reader),
        (5, Channel::Node(_)) => answer(&mut reader),
        (6, Channel::Control(_)) => reader.end().map(|()| Body::Announce),
        _ => Err(Malformed),
    }?;
    Ok(Message { node, number, body })
}
