//! Writes events by a table's templates, without allocation of its own. Must not
//! know which dialects there are.

use bytes::BytesMut;

use super::{
    Encoding, Event, MESSAGE_EVENT, Payload, Stamp, json,
    table::{Envelope, ErrorTexts, Field, Template, Templates, Values},
};
use crate::copy::append;

/// More than the fixed text of any event: fragments, a client id, a time.
const FIXED_BYTES: usize = 192;

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
        Event::Refused(_) => templates.refused,
        Event::Pong => templates.pong,
    }
}

fn values<'a>(error_texts: &ErrorTexts, event: &Event<'a>) -> Values<'a> {
    let none = Values::default();
    match *event {
        Event::Connected { client_id } => Values { client: Some(client_id), ..none },
        Event::Subscribed { room, members } => Values { room: Some(room), members, ..none },
        Event::Unsubscribed { room } => Values { room: Some(room), ..none },
        Event::Message { event, room, data, from, user } => {
            let event = if event.is_empty() { MESSAGE_EVENT } else { event };
            Values { event, room, data, client: from, user, ..none }
        }
        Event::Refused(refusal) => Values { error_text: error_texts.of(&refusal), ..none },
        Event::Pong => none,
    }
}

fn fill(template: &Template, values: &Values<'_>, at: Stamp, out: &mut BytesMut) {
    let data_bytes = values.data.map_or(0, |data| data.as_bytes().len());
    out.reserve(FIXED_BYTES + data_bytes + values.room.map_or(0, str::len));
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
            let Some(client) = values.client else {
                return false;
            };
            out.extend_from_slice(b"\"");
            out.extend_from_slice(&client.to_text());
            out.extend_from_slice(b"\"");
        }
        Field::User => {
            return values.user.map(|user| json::put_string(user, out)).is_some();
        }
        Field::Members => json::put_integer(values.members as u64, out),
        Field::ErrorText => json::put_string(values.error_text, out),
        Field::TimestampMs => json::put_integer(at.timestamp_ms, out),
        Field::Own(put) => put(values, at, out),
    }
    true
}

fn put_payload(data: Payload<'_>, out: &mut BytesMut) {
    match data {
        Payload::Json(json) => append(out, json.as_bytes()),
        Payload::Text(text) => json::put_string(text, out),
        Payload::Binary(bytes) => json::put_base64(bytes, out),
    }
}
