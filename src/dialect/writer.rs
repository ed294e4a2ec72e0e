//! Writes events by a table's templates, without allocation of its own. Must not
//! know which dialects there are.

use bytes::BytesMut;

use super::{
    Encoding, Event, MESSAGE_EVENT, Payload, Stamp, json,
    table::{Envelope, ErrorTexts, Field, Template, Templates, Values},
};
use crate::{cluster::Presence, copy::append, id::ClientId};

/// More than the fixed text of any event: fragments, a client id, a position, a time.
const FIXED_BYTES: usize = 192;

/// About what one of those who are present takes, with a user's name.
const PRESENT_BYTES: usize = 80;

/// Appends `event` as the dialect `envelope` writes it.
pub(super) fn encode(
    envelope: &Envelope,
    event: &Event<'_>,
    at: Stamp,
    out: &mut BytesMut,
) -> Encoding {
    let selected = envelope.template_hook.and_then(|select| select(event));
    let Some(template) = selected.or_else(|| template(&envelope.templates, event)) else {
        return Encoding::Skip;
    };
    fill(template, &values(&envelope.error_texts, event), at, out);
    Encoding::Text
}

fn template(templates: &Templates, event: &Event<'_>) -> Option<&'static Template> {
    match event {
        Event::Connected { .. } => templates.connected,
        Event::Subscribed { .. } => templates.subscribed,
        Event::Unsubscribed { .. } => templates.unsubscribed,
        Event::Message { .. } => templates.message,
        Event::Ack { .. } => templates.ack,
        Event::Gap { .. } => templates.gap,
        Event::Presence { .. } => templates.presence,
        Event::PresenceChange { joined: true, .. } => templates.presence_join,
        Event::PresenceChange { joined: false, .. } => templates.presence_leave,
        Event::Refused { .. } => templates.refused,
        Event::Pong => templates.pong,
    }
}

fn values<'a>(error_texts: &ErrorTexts, event: &Event<'a>) -> Values<'a> {
    let none = Values::default();
    match *event {
        Event::Connected { client_id } => Values { client: Some(client_id), ..none },
        Event::Subscribed { room, members, position, recovered } => {
            Values { room: Some(room), members, recovered, ..none }.at(position)
        }
        Event::Unsubscribed { room } => Values { room: Some(room), ..none },
        Event::Message { event, room, data, from, user, offset } => {
            let event = if event.is_empty() { MESSAGE_EVENT } else { event };
            Values { event, room, data, client: from, user, offset, ..none }
        }
        Event::Ack { id, position, repeated } => {
            Values { id: Some(id), repeated, ..none }.at(position)
        }
        Event::Gap { room, missed } => Values { room: Some(room), missed, ..none },
        Event::Presence { room, count, members, more } => {
            Values { room: Some(room), members: count, present: members, more, ..none }
        }
        Event::PresenceChange { room, who, .. } => {
            let (client, user) = (Some(who.client), who.user.as_deref());
            Values { room: Some(room), client, user, ..none }
        }
        Event::Refused { refusal, id } => {
            Values { error_text: error_texts.of(&refusal), id, ..none }
        }
        Event::Pong => none,
    }
}

fn fill(template: &Template, values: &Values<'_>, at: Stamp, out: &mut BytesMut) {
    let data_bytes = values.data.map_or(0, |data| data.as_bytes().len());
    let name_bytes = values.room.map_or(0, str::len) + values.id.map_or(0, str::len);
    out.reserve(FIXED_BYTES + data_bytes + name_bytes);
    for &(before, field) in template.parts {
        let start = out.len();
        out.extend_from_slice(before.as_bytes());
        if !put(field, values, at, out) {
            out.truncate(start);
        }
    }
    out.extend_from_slice(template.end.as_bytes());
}

/// Appends `field`, or says `false` if there is no such value.
fn put(field: Field, values: &Values<'_>, at: Stamp, out: &mut BytesMut) -> bool {
    match field {
        Field::Event => json::put_string(values.event, out),
        Field::Room => {
            return values.room.map(|room| json::put_string(room, out)).is_some();
        }
        Field::Data => return values.data.map(|data| put_payload(data, out)).is_some(),
        Field::Client => {
            return values.client.map(|client| put_client(client, out)).is_some();
        }
        Field::User => {
            return values.user.map(|user| json::put_string(user, out)).is_some();
        }
        Field::Members => json::put_integer(values.members as u64, out),
        Field::Epoch => return values.epoch.map(|epoch| json::put_hex(epoch, out)).is_some(),
        Field::Offset => {
            return values.offset.map(|offset| json::put_integer(offset, out)).is_some();
        }
        Field::Recovered => {
            return values.recovered.map(|done| json::put_boolean(done, out)).is_some();
        }
        Field::Missed => match values.missed {
            Some(missed) => json::put_integer(missed, out),
            None => out.extend_from_slice(b"null"),
        },
        Field::Present => put_present(values.present, out),
        Field::More => return put_if(values.more, out),
        Field::Id => return values.id.map(|id| out.extend_from_slice(id.as_bytes())).is_some(),
        Field::Repeated => return put_if(values.repeated, out),
        Field::ErrorText => json::put_string(values.error_text, out),
        Field::TimestampMs => json::put_integer(at.timestamp_ms, out),
        Field::Own(put) => put(values, at, out),
    }
    true
}

fn put_client(client: ClientId, out: &mut BytesMut) {
    out.extend_from_slice(b"\"");
    out.extend_from_slice(&client.to_text());
    out.extend_from_slice(b"\"");
}

/// Appends `true`, or nothing if it is not: then it says so.
fn put_if(value: bool, out: &mut BytesMut) -> bool {
    if value {
        json::put_boolean(value, out);
    }
    value
}

fn put_present(present: &[Presence], out: &mut BytesMut) {
    out.reserve(present.len() * PRESENT_BYTES);
    out.extend_from_slice(b"[");
    for (index, Presence { client, user }) in present.iter().enumerate() {
        out.extend_from_slice(if index == 0 { br#"{"client_id":"# } else { br#",{"client_id":"# });
        put_client(*client, out);
        if let Some(user) = user {
            out.extend_from_slice(br#","user":"#);
            json::put_string(user, out);
        }
        out.extend_from_slice(b"}");
    }
    out.extend_from_slice(b"]");
}

fn put_payload(data: Payload<'_>, out: &mut BytesMut) {
    match data {
        Payload::Json(json) => append(out, json.as_bytes()),
        Payload::Text(text) => json::put_string(text, out),
        Payload::Binary(bytes) => json::put_base64(bytes, out),
    }
}
