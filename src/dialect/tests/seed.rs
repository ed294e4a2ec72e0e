//! Every message of the "WebSocket Module Guide", section "Message Protocol",
//! as it is printed there.

use serde_json::{Value, value::RawValue};

use super::{client, parse, written};
use crate::dialect::{Command, Event, Payload, Refusal};

const SUBSCRIBE: &str = r#"{
  "type": "subscribe",
  "room": "room-name"
}"#;

const UNSUBSCRIBE: &str = r#"{
  "type": "unsubscribe",
  "room": "room-name"
}"#;

const PUBLISH: &str = r#"{
  "type": "publish",
  "room": "room-name",
  "data": { "any": "payload" }
}"#;

const BROADCAST: &str = r#"{
  "type": "broadcast",
  "data": { "any": "payload" }
}"#;

const PING: &str = r#"{
  "type": "ping"
}"#;

const CONNECTED: &str = r#"{
  "type": "connected",
  "data": {
    "client_id": "uuid-string",
    "message": "Connected to WebSocket server"
  },
  "timestamp": 1234567890123
}"#;

const SUBSCRIBED: &str = r#"{
  "type": "subscribed",
  "room": "room-name",
  "data": {
    "room": "room-name",
    "client_count": 5
  },
  "timestamp": 1234567890123
}"#;

const UNSUBSCRIBED: &str = r#"{
  "type": "unsubscribed",
  "room": "room-name",
  "data": {
    "room": "room-name"
  },
  "timestamp": 1234567890123
}"#;

const MESSAGE: &str = r#"{
  "type": "message",
  "room": "room-name",
  "data": { "any": "payload" },
  "client_id": "sender-uuid",
  "timestamp": 1234567890123
}"#;

const ERROR: &str = r#"{
  "type": "error",
  "error": "error description",
  "timestamp": 1234567890123
}"#;

const PONG: &str = r#"{
  "type": "pong",
  "timestamp": 1234567890123
}"#;

const DATA: &str = r#"{ "any": "payload" }"#;

#[test]
fn requests_are_understood() {
    let room = || "room-name".into();
    let data = Some(Payload::Json(DATA));
    let cases = [
        (SUBSCRIBE, Command::Subscribe { room: room(), recover: None }),
        (UNSUBSCRIBE, Command::Unsubscribe { room: room() }),
        (PUBLISH, Command::Publish { room: room(), data }),
        (BROADCAST, Command::Broadcast { data }),
        (PING, Command::Ping),
    ];
    for (message, command) in cases {
        assert_eq!(parse(message), Ok(command));
    }
}

#[test]
fn events_are_written_in_order_and_spelling() {
    let message = Event::Message {
        event: "message",
        room: Some("room-name"),
        data: Some(Payload::Json(DATA)),
        from: Some(client()),
        user: None,
        offset: None,
    };
    let cases = [
        (CONNECTED, Event::Connected { client_id: client() }),
        (
            SUBSCRIBED,
            Event::Subscribed { room: "room-name", members: 5, position: None, recovered: None },
        ),
        (UNSUBSCRIBED, Event::Unsubscribed { room: "room-name" }),
        (MESSAGE, message),
        (ERROR, Event::Refused { refusal: Refusal::Other("error description"), id: None }),
        (PONG, Event::Pong),
    ];
    for (printed, event) in cases {
        let id = client().to_string();
        let printed = printed.replace("uuid-string", &id).replace("sender-uuid", &id);
        assert_eq!(without_spaces(&written(&event)), without_spaces(&printed));
        // Besides data nothing is written with spaces.
        let outside_data =
            written(&event).replace(DATA, "").replace("Connected to WebSocket server", "");
        let outside_data = outside_data.replace("error description", "");
        assert!(!outside_data.contains(char::is_whitespace));
    }
}

#[test]
fn errors_are_worded_as_in_the_table() {
    for (refusal, text) in [
        (Refusal::InvalidJson, "invalid JSON format"),
        (Refusal::UnknownType, "unknown message type"),
        (Refusal::RoomRequired, "room name is required"),
        (Refusal::NotSubscribed, "not subscribed to this room"),
        (Refusal::RoomFull, "room is at maximum capacity"),
        (Refusal::ServerFull, "server is at maximum capacity"),
    ] {
        let written: Value =
            serde_json::from_str(&written(&Event::Refused { refusal, id: None })).unwrap();
        assert_eq!(written["type"], "error");
        assert_eq!(written["error"], text);
    }
}

#[test]
fn what_a_go_client_marshals_is_understood() {
    // encoding/json escapes these three for HTML.
    let message = r#"{"type":"subscribe","room":"\u003ca\u0026b\u003e"}"#;
    assert_eq!(parse(message), Ok(Command::Subscribe { room: "<a&b>".into(), recover: None }));
}

/// Without the spaces between tokens; the order of keys stays.
fn without_spaces(json: &str) -> String {
    let _valid: &RawValue = serde_json::from_str(json).expect(json);
    let (mut out, mut in_string) = (String::new(), false);
    for letter in json.chars() {
        in_string ^= letter == '"';
        if in_string || !letter.is_whitespace() {
            out.push(letter);
        }
    }
    out
}
