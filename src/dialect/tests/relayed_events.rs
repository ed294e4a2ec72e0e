//! What clients are told of the other nodes, word for word: acknowledgements,
//! positions, gaps, presence.

use serde_json::Value;

use super::{AT, client, written};
use crate::{
    cluster::Presence,
    dialect::{Dialect, Encoding, Event, Refusal},
    publication::Position,
};

const POSITION: Position = Position { epoch: 0x0123_4567_89AB_CDEF, offset: 7 };

/// The events with their text, in which `$A` is the client's id and `$T` the time.
fn goldens(alone: &Presence, alice: &Presence) -> Vec<String> {
    let members = [alone.clone(), alice.clone()];
    let subscribed = |position, recovered| {
        written(&Event::Subscribed { room: "r", members: 2, position, recovered })
    };
    let refused = |id| written(&Event::Refused { refusal: Refusal::Dropped, id });
    let ack = |id, position, repeated| written(&Event::Ack { id, position, repeated });
    let list = |count, members, more| written(&Event::Presence { room: "r", count, members, more });
    let change = |who, joined| written(&Event::PresenceChange { room: "r", who, joined });
    vec![
        subscribed(Some(POSITION), None),
        subscribed(Some(POSITION), Some(true)),
        subscribed(Some(Position { epoch: 0, offset: 0 }), Some(false)),
        subscribed(None, Some(false)),
        written(&Event::Message {
            event: "message",
            room: Some("r"),
            data: None,
            from: Some(client()),
            user: None,
            offset: Some(u64::MAX),
        }),
        ack("17", None, false),
        ack(r#""a\"b""#, Some(POSITION), false),
        ack("-1.50e3", Some(POSITION), true),
        ack("1", None, true),
        refused(Some(r#""x""#)),
        written(&Event::Gap { room: "r", missed: Some(3) }),
        written(&Event::Gap { room: "r", missed: None }),
        list(0, &[], false),
        list(2, &members, false),
        list(9, &members[1..], true),
        change(alone, true),
        change(alice, true),
        change(alice, false),
    ]
}

const GOLDENS: &[&str] = &[
    r#"{"type":"subscribed","room":"r","data":{"room":"r","client_count":2,"epoch":"0123456789abcdef","offset":7},"timestamp":$T}"#,
    r#"{"type":"subscribed","room":"r","data":{"room":"r","client_count":2,"epoch":"0123456789abcdef","offset":7,"recovered":true},"timestamp":$T}"#,
    r#"{"type":"subscribed","room":"r","data":{"room":"r","client_count":2,"epoch":"0000000000000000","offset":0,"recovered":false},"timestamp":$T}"#,
    r#"{"type":"subscribed","room":"r","data":{"room":"r","client_count":2,"recovered":false},"timestamp":$T}"#,
    r#"{"type":"message","room":"r","client_id":"$A","offset":18446744073709551615,"timestamp":$T}"#,
    r#"{"type":"ack","id":17,"timestamp":$T}"#,
    r#"{"type":"ack","id":"a\"b","epoch":"0123456789abcdef","offset":7,"timestamp":$T}"#,
    r#"{"type":"ack","id":-1.50e3,"epoch":"0123456789abcdef","offset":7,"repeated":true,"timestamp":$T}"#,
    r#"{"type":"ack","id":1,"repeated":true,"timestamp":$T}"#,
    r#"{"type":"error","error":"message could not be relayed","id":"x","timestamp":$T}"#,
    r#"{"type":"gap","room":"r","data":{"missed":3},"timestamp":$T}"#,
    r#"{"type":"gap","room":"r","data":{"missed":null},"timestamp":$T}"#,
    r#"{"type":"presence","room":"r","data":{"count":0,"members":[]},"timestamp":$T}"#,
    r#"{"type":"presence","room":"r","data":{"count":2,"members":[{"client_id":"$A"},{"client_id":"$A","user":"al\"ice"}]},"timestamp":$T}"#,
    r#"{"type":"presence","room":"r","data":{"count":9,"members":[{"client_id":"$A","user":"al\"ice"}],"more":true},"timestamp":$T}"#,
    r#"{"type":"presence_join","room":"r","data":{"client_id":"$A"},"timestamp":$T}"#,
    r#"{"type":"presence_join","room":"r","data":{"client_id":"$A","user":"al\"ice"},"timestamp":$T}"#,
    r#"{"type":"presence_leave","room":"r","data":{"client_id":"$A","user":"al\"ice"},"timestamp":$T}"#,
];

#[test]
fn each_event_of_the_relay_is_written_word_for_word() {
    let alone = Presence { client: client(), user: None };
    let alice = Presence { client: client(), user: Some("al\"ice".into()) };
    let all = goldens(&alone, &alice);
    assert_eq!(all.len(), GOLDENS.len());
    for (written, golden) in all.iter().zip(GOLDENS) {
        let golden = golden.replace("$A", &client().to_string());
        assert_eq!(*written, golden.replace("$T", &AT.timestamp_ms.to_string()));
        assert!(serde_json::from_str::<Value>(written).is_ok());
    }
}

#[test]
fn raw_says_nothing_of_the_relay() {
    let who = Presence { client: client(), user: None };
    let events = [
        Event::Ack { id: "1", position: None, repeated: false },
        Event::Gap { room: "r", missed: None },
        Event::Presence { room: "r", count: 0, members: &[], more: false },
        Event::PresenceChange { room: "r", who: &who, joined: true },
        Event::PresenceChange { room: "r", who: &who, joined: false },
    ];
    let mut out = bytes::BytesMut::new();
    for event in events {
        assert_eq!(Dialect::Raw.encode(&event, &AT, &mut out), Encoding::Skip);
    }
    assert!(out.is_empty());
}

#[test]
fn each_refusal_of_the_relay_has_its_text() {
    for (refusal, text) in [
        (Refusal::InvalidId, "invalid id"),
        (Refusal::InvalidRecover, "invalid recover position"),
        (Refusal::Dropped, "message could not be relayed"),
        (Refusal::RefusedByRelay, "message was refused by the relay"),
        (Refusal::HistoryUnavailable, "history is not available"),
        (Refusal::PresenceNotKept, "presence is not enabled for this room"),
        (Refusal::PresenceUnavailable, "presence is not available"),
    ] {
        assert_eq!(Dialect::Pubsub.error_text(&refusal), text);
    }
}
