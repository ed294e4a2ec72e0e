//! The dialect `pubsub`: rooms by subscription, `{type, room, data}` in and
//! `{type, room, data, client_id, timestamp}` out. Constants only.
//!
//! Source: the protocol section of the "WebSocket Module Guide" with its
//! examples and its table of errors; the texts of the other errors are ours.

use super::{
    Rules,
    table::{BuiltIn, Envelope, ErrorTexts, Field, Format, Keys, Template, Templates, Wire},
};

pub(super) const FORMAT: Format = Format {
    name: "pubsub",
    subprotocol: "shardcast.pubsub",
    rules: Rules {
        greets: true,
        publish_needs_membership: true,
        unsubscribe_needs_membership: true,
    },
    wire: Wire::Envelope(&ENVELOPE),
};

pub(super) const ENVELOPE: Envelope = Envelope {
    keys: Keys {
        event: "type",
        data: "data",
        room: "room",
        to: "to",
        id: Some("id"),
        recover: Some("recover"),
    },
    commands: &[
        ("publish", BuiltIn::Publish),
        ("subscribe", BuiltIn::Subscribe),
        ("unsubscribe", BuiltIn::Unsubscribe),
        ("broadcast", BuiltIn::Broadcast),
        ("ping", BuiltIn::Ping),
        ("presence", BuiltIn::Presence),
    ],
    room_in_data: None,
    read_hook: None,
    templates: Templates {
        connected: Some(&CONNECTED),
        subscribed: Some(&SUBSCRIBED),
        unsubscribed: Some(&UNSUBSCRIBED),
        message: Some(&MESSAGE),
        ack: Some(&ACK),
        gap: Some(&GAP),
        presence: Some(&PRESENCE),
        presence_join: Some(&PRESENCE_JOIN),
        presence_leave: Some(&PRESENCE_LEAVE),
        refused: Some(&ERROR),
        pong: Some(&PONG),
    },
    template_hook: None,
    error_texts: ErrorTexts {
        invalid_json: "invalid JSON format",
        unknown_type: "unknown message type",
        invalid_id: "invalid id",
        invalid_recover: "invalid recover position",
        room_required: "room name is required",
        not_subscribed: "not subscribed to this room",
        room_full: "room is at maximum capacity",
        server_full: "server is at maximum capacity",
        too_many_rooms: "maximum number of rooms reached",
        room_name_too_long: "room name is too long",
        busy: "server is busy",
        dropped: "message could not be relayed",
        refused_by_relay: "message was refused by the relay",
        history_unavailable: "history is not available",
        presence_not_kept: "presence is not enabled for this room",
        presence_unavailable: "presence is not available",
        internal: "internal server error",
    },
};

const CONNECTED: Template = Template {
    parts: &[
        (r#"{"type":"connected","data":{"client_id":"#, Field::Client),
        (r#","message":"Connected to WebSocket server"},"timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const SUBSCRIBED: Template = Template {
    parts: &[
        (r#"{"type":"subscribed","room":"#, Field::Room),
        (r#","data":{"room":"#, Field::Room),
        (r#","client_count":"#, Field::Members),
        (r#","epoch":"#, Field::Epoch),
        (r#","offset":"#, Field::Offset),
        (r#","recovered":"#, Field::Recovered),
        (r#"},"timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const UNSUBSCRIBED: Template = Template {
    parts: &[
        (r#"{"type":"unsubscribed","room":"#, Field::Room),
        (r#","data":{"room":"#, Field::Room),
        (r#"},"timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const MESSAGE: Template = Template {
    parts: &[
        (r#"{"type":"#, Field::Event),
        (r#","room":"#, Field::Room),
        (r#","data":"#, Field::Data),
        (r#","client_id":"#, Field::Client),
        (r#","offset":"#, Field::Offset),
        (r#","timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const ACK: Template = Template {
    parts: &[
        (r#"{"type":"ack","id":"#, Field::Id),
        (r#","epoch":"#, Field::Epoch),
        (r#","offset":"#, Field::Offset),
        (r#","repeated":"#, Field::Repeated),
        (r#","timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const GAP: Template = Template {
    parts: &[
        (r#"{"type":"gap","room":"#, Field::Room),
        (r#","data":{"missed":"#, Field::Missed),
        (r#"},"timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const PRESENCE: Template = Template {
    parts: &[
        (r#"{"type":"presence","room":"#, Field::Room),
        (r#","data":{"count":"#, Field::Members),
        (r#","members":"#, Field::Present),
        (r#","more":"#, Field::More),
        (r#"},"timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const PRESENCE_JOIN: Template = Template {
    parts: &[
        (r#"{"type":"presence_join","room":"#, Field::Room),
        (r#","data":{"client_id":"#, Field::Client),
        (r#","user":"#, Field::User),
        (r#"},"timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const PRESENCE_LEAVE: Template = Template {
    parts: &[
        (r#"{"type":"presence_leave","room":"#, Field::Room),
        (r#","data":{"client_id":"#, Field::Client),
        (r#","user":"#, Field::User),
        (r#"},"timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const ERROR: Template = Template {
    parts: &[
        (r#"{"type":"error","error":"#, Field::ErrorText),
        (r#","id":"#, Field::Id),
        (r#","timestamp":"#, Field::TimestampMs),
    ],
    end: "}",
};

const PONG: Template =
    Template { parts: &[(r#"{"type":"pong","timestamp":"#, Field::TimestampMs)], end: "}" };
