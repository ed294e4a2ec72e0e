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
#[cfg(test)]
mod tests;

use bytes::Bytes;

use self::cursor::{Malformed, Reader, Writer};
use super::broker::Channel;
use crate::{
    cluster::{ClusterAnswer, Command, Presence, Question, Who},
    id::ClientId,
    publication::{Audience, Data, Form, Publication},
};

pub use self::{
    beat::{Announcement, Beat, Numbered},
    bundle::Bundle,
};

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;
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

/// The place of a message in what a node has published in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number {
    /// Counted from 1; 0 where none is counted.
    pub sequence: u64,
    /// How far it is from the first of this numbering.
    pub since_first: u64,
}

impl Number {
    /// This one and those behind it.
    pub(super) fn following(self) -> impl Iterator<Item = Self> {
        (0..).map(move |behind| Self {
            sequence: self.sequence.saturating_add(behind),
            since_first: self.since_first.saturating_add(behind),
        })
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

/// A publication, and the member that it is not for.
pub type Delivery = (Publication, Option<ClientId>);

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

fn head(writer: &mut Writer, kind: u8, node: u64, number: Number) {
    writer.byte(VERSION);
    writer.byte(kind);
    writer.fixed(node);
    writer.number(number.sequence);
    writer.number(number.since_first);
}

/// A publication as `node` sends it alone.
pub fn encode_publication(node: u64, number: Number, publication: &Publication) -> Bytes {
    let mut writer = Writer(Vec::with_capacity(encoded_bytes(publication)));
    head(&mut writer, bundle::PUBLICATION, node, number);
    encode_body(&mut writer, node, publication);
    writer.0.into()
}

/// About as many bytes as an encoded publication has.
pub fn encoded_bytes(publication: &Publication) -> usize {
    let Publication { event, data, user, key, .. } = publication;
    let len = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
    96 + event.len() + len(user) + len(key) + data.bytes().len()
}

fn encode_body(writer: &mut Writer, node: u64, publication: &Publication) {
    let Publication { event, data, from, user, except, key, timestamp_ms, .. } = publication;
    let flag = |is_there: bool, bit: u8| u8::from(is_there) << bit;
    let flags = flag(from.is_some(), 2) | flag(user.is_some(), 3);
    let flags = flags | flag(except.is_some(), 4) | flag(key.is_some(), 5);
    writer.byte(form_bits(data.form()) | flags);
    writer.text(event);
    if let Some(from) = from {
        writer.wide(from.to_u128());
    }
    if let Some(user) = user {
        writer.text(user);
    }
    if let Some(conn) = except {
        writer.wide(ClientId::new(node, *conn).to_u128());
    }
    if let Some(key) = key {
        writer.text(key);
    }
    writer.number(*timestamp_ms);
    crate::copy::append(&mut writer.0, data.bytes());
}

fn form_bits(form: Form) -> u8 {
    match form {
        Form::Absent => 0,
        Form::Json => 1,
        Form::Text => 2,
        Form::Binary => 3,
    }
}

/// The payload to the end. Text is checked, since what is here told to be text is believed
/// everywhere; that JSON is valid the sending node has checked.
fn data(reader: &mut Reader<'_>, form: u8) -> Result<Data, Malformed> {
    let form = [Form::Absent, Form::Json, Form::Text, Form::Binary][usize::from(form & 3)];
    let bytes = reader.rest();
    let is_right = match form {
        Form::Absent => bytes.is_empty(),
        Form::Json => !bytes.is_empty() && simdutf8::basic::from_utf8(&bytes).is_ok(),
        Form::Text => simdutf8::basic::from_utf8(&bytes).is_ok(),
        Form::Binary => true,
    };
    if is_right { Ok(Data::trusted(form, bytes)) } else { Err(Malformed) }
}

fn client(reader: &mut Reader<'_>) -> Result<ClientId, Malformed> {
    reader.wide().map(ClientId::from_u128)
}

fn publication(reader: &mut Reader<'_>, audience: Audience) -> Result<Delivery, Malformed> {
    let flags = reader.byte()?;
    if flags >> 6 != 0 {
        return Err(Malformed);
    }
    let has = |bit: u8| flags >> bit & 1 == 1;
    let event = reader.text()?;
    let from = has(2).then(|| client(reader)).transpose()?;
    let user = has(3).then(|| reader.text()).transpose()?;
    let except = has(4).then(|| client(reader)).transpose()?;
    let key = has(5).then(|| reader.text()).transpose()?;
    let timestamp_ms = reader.number()?;
    let data = data(reader, flags)?;
    let mut publication = Publication::new(audience, event, data, timestamp_ms);
    publication.from = from;
    publication.user = user.map(Into::into);
    publication.key = key.map(Into::into);
    Ok((publication, except))
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
        (bundle::PUBLICATION, _) => {
            let audience = channel.audience().ok_or(Malformed)?;
            publication(&mut reader, audience)
                .map(|(found, except)| Body::Publication(found, except))
        }
        (bundle::PUBLICATIONS, _) => {
            bundle::publications(&mut reader, &channel.audience().ok_or(Malformed)?)
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
