//! That the tables can say what other JSON envelopes need, by small ones that
//! resemble them: no envelope room, bare events, nested data, own time formats.

use bytes::BytesMut;

use super::{AT, client};
use crate::{
    cluster::Presence,
    dialect::{
        Command, Encoding, Event, Incoming, Parsed, Payload, Refusal, json, members, pubsub,
        reader,
        table::{BuiltIn, Envelope, ErrorTexts, Field, Fields, Keys, Template, Templates, Wire},
        values, writer,
    },
};

const NONE: Templates = Templates {
    connected: None,
    subscribed: None,
    unsubscribed: None,
    message: None,
    ack: None,
    gap: None,
    presence: None,
    presence_join: None,
    presence_leave: None,
    refused: None,
    pong: None,
};

fn error_texts() -> &'static ErrorTexts {
    match &pubsub::FORMAT.wire {
        Wire::Envelope(envelope) => &envelope.error_texts,
        Wire::Bare => panic!("pubsub has an envelope"),
    }
}

fn parse<'m>(envelope: &Envelope, text: &'m str) -> Result<Command<'m>, Refusal<'static>> {
    reader::parse(envelope, Incoming::Text(text)).command
}

fn copy(texts: &ErrorTexts) -> ErrorTexts {
    ErrorTexts { ..*texts }
}

fn written(envelope: &Envelope, event: &Event<'_>) -> Option<String> {
    let mut out = BytesMut::new();
    match writer::encode(envelope, event, AT, &mut out) {
        Encoding::Text => Some(String::from_utf8(out.to_vec()).unwrap()),
        Encoding::Skip => None,
        Encoding::Binary => panic!("JSON is text"),
    }
}

fn to_room(room: Option<&str>) -> Event<'_> {
    Event::Message {
        event: "notice",
        room,
        data: Some(Payload::Json("{\"a\":1}")),
        from: Some(client()),
        user: Some("456"),
        offset: None,
    }
}

/// `{action, data}`: the room inside data, a reply by status, events bare.
fn by_action() -> Envelope {
    Envelope {
        keys: Keys {
            event: "action",
            data: "data",
            room: "room",
            to: "to",
            id: None,
            recover: None,
        },
        commands: &[("subscribe", BuiltIn::Subscribe)],
        room_in_data: Some("room_id"),
        read_hook: None,
        templates: Templates {
            subscribed: Some(&Template {
                parts: &[(r#"{"status":"subscribed","room":"#, Field::Room)],
                end: "}",
            }),
            message: Some(&Template { parts: &[("", Field::Data)], end: "" }),
            ..NONE
        },
        template_hook: None,
        error_texts: copy(error_texts()),
    }
}

#[test]
fn a_room_can_be_named_inside_data() {
    let envelope = by_action();
    let room = || Ok(Command::Subscribe { room: "w".into(), recover: None });
    assert_eq!(parse(&envelope, r#"{"action":"subscribe","data":{"x":[],"room_id":"w"}}"#), room());
    assert_eq!(
        parse(&envelope, r#"{"action":"subscribe","room":"w","data":{"room_id":"v"}}"#),
        room()
    );
    for absent in ["", r#","data":{}"#, r#","data":"w""#, r#","data":{"room_id":null}"#] {
        let message = format!(r#"{{"action":"subscribe"{absent}}}"#);
        assert_eq!(parse(&envelope, &message), Err(Refusal::RoomRequired), "{message}");
    }
    let number = r#"{"action":"subscribe","data":{"room_id":5}}"#;
    assert_eq!(parse(&envelope, number), Err(Refusal::InvalidJson));
}

#[test]
fn events_can_be_bare_or_untold() {
    let envelope = by_action();
    assert_eq!(written(&envelope, &to_room(Some("r"))).unwrap(), "{\"a\":1}");
    let subscribed = Event::Subscribed { room: "w", members: 3, position: None, recovered: None };
    assert_eq!(written(&envelope, &subscribed).unwrap(), r#"{"status":"subscribed","room":"w"}"#);
    assert_eq!(written(&envelope, &Event::Pong), None);
}

#[test]
fn a_dialect_can_leave_out_ids_and_all_of_the_relay() {
    let envelope = by_action();
    let message = r#"{"action":"subscribe","room":"w","id":"7","":[],"recover":5}"#;
    let parsed = reader::parse(&envelope, Incoming::Text(message));
    let command = Ok(Command::Subscribe { room: "w".into(), recover: None });
    assert_eq!(parsed, Parsed { command, id: None });
    let who = Presence { client: client(), user: None };
    for event in [
        Event::Ack { id: "1", position: None, repeated: true },
        Event::Gap { room: "w", missed: None },
        Event::Presence { room: "w", count: 1, members: &[], more: true },
        Event::PresenceChange { room: "w", who: &who, joined: true },
        Event::PresenceChange { room: "w", who: &who, joined: false },
    ] {
        assert_eq!(written(&envelope, &event), None);
    }
}

#[test]
fn a_dialect_can_name_ids_and_write_who_is_present_its_own_way() {
    const PRESENCE: Template = Template {
        parts: &[(
            r#"{"action":"members","count":"#,
            Field::Own(|values, _, out| json::put_integer(values.present.len() as u64, out)),
        )],
        end: "}",
    };
    const ACK: Template = Template { parts: &[(r#"{"status":"ok","ref":"#, Field::Id)], end: "}" };
    let envelope = by_action();
    let keys = Keys { id: Some("ref"), recover: Some("since"), ..envelope.keys };
    let templates = Templates { presence: Some(&PRESENCE), ack: Some(&ACK), ..NONE };
    let envelope = Envelope { keys, templates, ..by_action() };
    let message = r#"{"action":"subscribe","room":"w","ref":"7","id":[],"since":5}"#;
    let parsed = reader::parse(&envelope, Incoming::Text(message));
    assert_eq!(parsed, Parsed { command: Err(Refusal::InvalidRecover), id: Some("\"7\"") });
    let members = [Presence { client: client(), user: None }];
    let presence = Event::Presence { room: "w", count: 3, members: &members, more: true };
    assert_eq!(written(&envelope, &presence).unwrap(), r#"{"action":"members","count":1}"#);
    let ack = Event::Ack { id: "\"7\"", position: None, repeated: true };
    assert_eq!(written(&envelope, &ack).unwrap(), r#"{"status":"ok","ref":"7"}"#);
}

/// `{type, payload, room, to, from, timestamp}`: the type names the audience.
fn by_audience() -> Envelope {
    const TO_ROOM: Template = Template {
        parts: &[
            (r#"{"type":"room_message","payload":"#, Field::Data),
            (r#","room":"#, Field::Room),
            (
                r#","from":"#,
                Field::Own(|values, _, out| {
                    out.extend_from_slice(values.user.unwrap_or("0").as_bytes());
                }),
            ),
            (
                r#","timestamp":"#,
                Field::Own(|_, at, out| {
                    json::put_string(&format!("T{}", at.timestamp_ms), out);
                }),
            ),
        ],
        end: "}",
    };
    const TO_ALL: Template = Template {
        parts: &[(r#"{"type":"broadcast","payload":"#, Field::Data), (r#","user":"#, Field::User)],
        end: "}",
    };
    Envelope {
        keys: Keys {
            event: "type",
            data: "payload",
            room: "room",
            to: "to",
            id: None,
            recover: None,
        },
        commands: &[("join_room", BuiltIn::Subscribe), ("room_message", BuiltIn::Publish)],
        room_in_data: None,
        read_hook: None,
        templates: Templates { message: Some(&TO_ALL), ..NONE },
        template_hook: Some(|event| match event {
            Event::Message { room: Some(_), .. } => Some(&TO_ROOM),
            _ => None,
        }),
        error_texts: copy(error_texts()),
    }
}

#[test]
fn a_hook_can_choose_the_template() {
    let envelope = by_audience();
    assert_eq!(
        written(&envelope, &to_room(Some("r"))).unwrap(),
        r#"{"type":"room_message","payload":{"a":1},"room":"r","from":456,"timestamp":"T1234567890123"}"#,
    );
    let to_all = r#"{"type":"broadcast","payload":{"a":1},"user":"456"}"#;
    assert_eq!(written(&envelope, &to_room(None)).unwrap(), to_all);
}

/// A broadcast that may name a room, and its payload, inside data.
fn nested_broadcast<'m>(fields: &Fields<'m>) -> Option<Result<Command<'m>, Refusal<'static>>> {
    if fields.event != "broadcast" {
        return None;
    }
    let data = fields.data?;
    let payload = members::member(data, "payload").map(|payload| Payload::Json(payload.get()));
    Some(match members::member(data, "room").map(values::text) {
        None | Some(Ok(None)) => Ok(Command::Broadcast { data: payload }),
        Some(Ok(Some(room))) => Ok(Command::Publish { room, data: payload }),
        Some(Err(refusal)) => Err(refusal),
    })
}

#[test]
fn a_hook_can_understand_nested_commands() {
    let envelope = Envelope { read_hook: Some(nested_broadcast), ..by_audience() };
    let envelope = Envelope { keys: Keys { data: "data", ..envelope.keys }, ..envelope };
    let data = Some(Payload::Json("{ }"));
    assert_eq!(
        parse(&envelope, r#"{"type":"broadcast","data":{"room":"r","payload":{ }}}"#),
        Ok(Command::Publish { room: "r".into(), data }),
    );
    assert_eq!(
        parse(&envelope, r#"{"type":"broadcast","data":{"payload":{ }}}"#),
        Ok(Command::Broadcast { data }),
    );
    assert_eq!(
        parse(&envelope, r#"{"type":"join_room","room":"r"}"#),
        Ok(Command::Subscribe { room: "r".into(), recover: None }),
    );
}
