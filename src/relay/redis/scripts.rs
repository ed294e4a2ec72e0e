//! What the server does in one step, as scripts, and the form of what they take, answer
//! and publish. Knows no connection.
//!
//! What a script publishes begins with a byte that no message of a node begins with: the
//! position of a publication, or a change of presence, stands in front.

use bytes::Bytes;
use redis::{Cmd, Script, Value};

use super::names::Names;
use crate::{
    cluster::{Position, Presence},
    id::ClientId,
    relay::broker::{Arrival, Channel, History, HistoryLimits},
};

/// First byte of a publication with its position.
const POSITION: u8 = 0xF1;
/// First byte of a change of presence.
const PRESENCE: u8 = 0xF2;
/// Digits of an epoch.
const EPOCH_LEN: usize = 16;

/// The scripts, with the names that the server gives them.
pub(super) struct Scripts {
    append: Script,
    read: Script,
    presence: Script,
    /// `SPUBLISH` in a cluster.
    publish: &'static str,
}

impl Scripts {
    pub(super) fn new(is_cluster: bool) -> Self {
        Self {
            append: Script::new(include_str!("scripts/append.lua")),
            read: Script::new(include_str!("scripts/read.lua")),
            presence: Script::new(include_str!("scripts/presence.lua")),
            publish: if is_cluster { "SPUBLISH" } else { "PUBLISH" },
        }
    }

    /// Gives the server all of them.
    pub(super) fn load() -> redis::Pipeline {
        let mut pipeline = redis::pipe();
        for code in [
            include_str!("scripts/append.lua"),
            include_str!("scripts/read.lua"),
            include_str!("scripts/presence.lua"),
        ] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(code);
        }
        pipeline
    }

    pub(super) fn publish(&self, channel: &[u8], message: &[u8]) -> Cmd {
        let mut command = redis::cmd(self.publish);
        command.arg(channel).arg(message);
        command
    }

    pub(super) fn append(
        &self,
        names: &Names,
        what: &Append<'_>,
        epoch: u64,
        place: &Place,
    ) -> Cmd {
        let channel = names.room_channel(what.room);
        let mut command = call(&self.append);
        command.arg(if what.once.is_some() { 3 } else { 2 });
        command.arg(names.key(b'm', what.room)).arg(names.key(b's', what.room));
        if let Some((once, _)) = what.once {
            command.arg(names.once(what.room, once));
        }
        let limits = bounded(what.limits);
        command.arg(&what.message[..]).arg(channel).arg(self.publish);
        command.arg(limits.count).arg(limits.age_ms).arg(epoch_text(epoch));
        command.arg(what.once.map_or(1, |(_, window)| window.clamp(1, MOST_MS)));
        command.arg(&place.at).arg(&place.others);
        command
    }

    pub(super) fn read(&self, names: &Names, what: &Read<'_>, epoch: u64, place: &Place) -> Cmd {
        let mut command = call(&self.read);
        command.arg(2).arg(names.key(b'm', what.room)).arg(names.key(b's', what.room));
        // Beyond 2^53 Lua's numbers have gaps; no offset comes near.
        command.arg(what.after.min(MOST_OFFSET)).arg(what.count.min(MOST_ENTRIES));
        command.arg(bounded(what.limits).age_ms).arg(epoch_text(epoch));
        command.arg(&place.at).arg(&place.others);
        command
    }

    pub(super) fn presence(&self, names: &Names, what: &PresenceCall<'_>) -> Cmd {
        let (room, name, ttl_ms, who) = match *what {
            PresenceCall::Enter(room, who, ttl_ms) => (room, "enter", ttl_ms, Some(who)),
            PresenceCall::Leave(room, who) => (room, "leave", 0, Some(who)),
            PresenceCall::Expire(room) => (room, "expire", 0, None),
            PresenceCall::List(room) => (room, "list", 0, None),
        };
        let channel = names.room_channel(room);
        let mut command = call(&self.presence);
        command.arg(3);
        for kind in [b'x', b'p', b'k'] {
            command.arg(names.key(kind, room));
        }
        command.arg(name).arg(channel).arg(self.publish);
        command.arg(ttl_ms.min(MOST_MS)).arg(who.map_or_else(String::new, presence_text));
        command
    }
}

/// Where a history is: it may have been somewhere else before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The server's address; empty if there is no other.
    pub(super) at: String,
    /// Those of the other masters.
    pub(super) others: Vec<String>,
}

/// What [`Scripts::append`] takes.
pub(super) struct Append<'a> {
    pub(super) room: &'a str,
    pub(super) message: &'a Bytes,
    pub(super) limits: HistoryLimits,
    pub(super) once: Option<(&'a str, u64)>,
}

/// What [`Scripts::read`] takes.
pub(super) struct Read<'a> {
    pub(super) room: &'a str,
    pub(super) after: u64,
    pub(super) count: u64,
    pub(super) limits: HistoryLimits,
}

/// What [`Scripts::presence`] takes.
pub(super) enum PresenceCall<'a> {
    Enter(&'a str, &'a Presence, u64),
    Leave(&'a str, &'a Presence),
    Expire(&'a str),
    List(&'a str),
}

/// A hundred years.
const MOST_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
const MOST_OFFSET: u64 = 1 << 52;
/// Entries of one answer.
const MOST_ENTRIES: u64 = 100_000;

fn bounded(limits: HistoryLimits) -> HistoryLimits {
    HistoryLimits {
        count: limits.count.clamp(1, MOST_OFFSET),
        age_ms: limits.age_ms.clamp(1, MOST_MS),
    }
}

fn call(script: &Script) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash());
    command
}

fn epoch_text(epoch: u64) -> String {
    Position { epoch, offset: 0 }.epoch_text()
}

fn presence_text(who: &Presence) -> String {
    let user = who.user.as_deref().map_or_else(String::new, |user| format!("u{user}"));
    format!("{}{user}", who.client)
}

fn presence(text: &[u8]) -> Option<Presence> {
    let text = std::str::from_utf8(text).ok()?;
    let client = text.get(..ClientId::TEXT_LEN)?.parse().ok()?;
    let user = match text.get(ClientId::TEXT_LEN..)? {
        "" => None,
        user => Some(user.strip_prefix('u')?.into()),
    };
    Some(Presence { client, user })
}

/// What was published on a channel. What has no form of ours is given to the node as it
/// is, which counts it.
pub(super) fn arrival(channel: &Channel, message: Vec<u8>) -> Arrival {
    let message = Bytes::from(message);
    if let Channel::Room(room) = channel {
        match message.first() {
            Some(&POSITION) => {
                if let Some((position, at)) = position(&message[1..]) {
                    let message = message.slice(1 + at..);
                    let channel = channel.clone();
                    return Arrival::Message { channel, message, position: Some(position) };
                }
            }
            Some(&PRESENCE) => {
                if let Some((who, joined)) = presence_change(&message[1..]) {
                    return Arrival::PresenceChanged { room: room.clone(), who, joined };
                }
            }
            _ => {}
        }
    }
    Arrival::Message { channel: channel.clone(), message, position: None }
}

fn presence_change(bytes: &[u8]) -> Option<(Presence, bool)> {
    let (change, who) = bytes.split_first()?;
    match change {
        b'+' => Some((presence(who)?, true)),
        b'-' => Some((presence(who)?, false)),
        _ => None,
    }
}

/// The position in front of a message, and where the message begins.
fn position(bytes: &[u8]) -> Option<(Position, usize)> {
    let epoch = epoch(bytes.get(..EPOCH_LEN)?)?;
    let rest = &bytes[EPOCH_LEN..];
    // Twenty digits are the most that an offset can have.
    let end = rest.iter().take(21).position(|&byte| byte == b';')?;
    let offset = number(&rest[..end])?;
    Some((Position { epoch, offset }, EPOCH_LEN + end + 1))
}

fn epoch(bytes: &[u8]) -> Option<u64> {
    Position::parse_epoch(std::str::from_utf8(bytes).ok()?)
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The bytes of a string.
pub(super) fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// The answer to an append.
pub(super) fn appended(answer: &Value) -> Option<(Position, bool)> {
    let Value::Array(parts) = answer else { return None };
    let [first, second, Value::Int(again)] = &parts[..] else { return None };
    let epoch = epoch(bytes_of(first)?)?;
    Some((Position { epoch, offset: number(bytes_of(second)?)? }, *again == 1))
}

/// The answer to a read.
pub(super) fn history(answer: Value) -> Option<History> {
    let Value::Array(parts) = answer else { return None };
    let Ok([epoch_part, last, first, Value::Array(list)]) = <[Value; 4]>::try_from(parts) else {
        return None;
    };
    let last =
        Position { epoch: epoch(bytes_of(&epoch_part)?)?, offset: number(bytes_of(&last)?)? };
    let first = number(bytes_of(&first)?)?;
    let entries = list.into_iter().map(entry).collect::<Option<Vec<_>>>()?;
    Some(History { last, first, entries })
}

/// An entry of a stream: its id, and its fields with their values.
fn entry(value: Value) -> Option<(u64, Bytes)> {
    let Value::Array(parts) = value else { return None };
    let Ok([id, Value::Array(fields)]) = <[Value; 2]>::try_from(parts) else { return None };
    let id = bytes_of(&id)?;
    let end = id.iter().position(|&byte| byte == b'-')?;
    let offset = number(&id[..end])?;
    match fields.into_iter().nth(1)? {
        Value::BulkString(message) => Some((offset, message.into())),
        _ => None,
    }
}

/// The answer to a question who is present: one for each key.
pub(super) fn present(answer: &Value) -> Option<Vec<Presence>> {
    let Value::Array(list) = answer else { return None };
    let mut seen = std::collections::HashSet::new();
    let everybody = list.iter().filter_map(|value| presence(bytes_of(value)?));
    Some(everybody.filter(|who| seen.insert((who.user.is_some(), who.key()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnId;

    fn room() -> Channel {
        Channel::Room("r".into())
    }

    #[test]
    fn a_position_stands_in_front_of_its_message() {
        let bytes = b"\xF10000000000000abc17;\x01hello;".to_vec();
        let position = Some(Position { epoch: 0xABC, offset: 17 });
        let message = Bytes::from_static(b"\x01hello;");
        assert_eq!(
            arrival(&room(), bytes),
            Arrival::Message { channel: room(), message, position }
        );
    }

    #[test]
    fn a_change_of_presence_is_told_from_a_message() {
        let client = ClientId::new(5, ConnId::new(0, 1, 2));
        for user in [None, Some("al\u{e9};\n")] {
            let who = Presence { client, user: user.map(Into::into) };
            let mut bytes = b"\xF2+".to_vec();
            bytes.extend(presence_text(&who).into_bytes());
            let room_name = "r".into();
            let change = Arrival::PresenceChanged { room: room_name, who, joined: true };
            assert_eq!(arrival(&room(), bytes), change);
        }
    }

    #[test]
    fn foreign_bytes_are_given_on_as_they_are() {
        for bytes in [
            &b""[..],
            b"\xF1",
            b"\xF10000000000000abc",
            b"\xF10000000000000abc;x",
            b"\xF10000000000000abc111111111111111111111111;x",
            b"\xF10000000000000ABC1;x",
            b"\xF2",
            b"\xF2+",
            b"\xF2?00000000-0000-8000-8000-000000000000",
            b"\xF2+00000000-0000-8000-8000-000000000000x",
            b"\xFF\xFE",
        ] {
            let message = Bytes::from_static(bytes);
            let expected = Arrival::Message { channel: room(), message, position: None };
            assert_eq!(arrival(&room(), bytes.to_vec()), expected);
        }
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for value in [Value::Nil, Value::Int(1), Value::Array(vec![Value::Nil; 4])] {
            assert_eq!((appended(&value), present(&value)), (None, present(&value)));
            assert_eq!(history(value), None);
        }
    }
}
