//! What each dialect reads and writes, and that tables can say what they must.

mod reader;
mod relayed_events;
mod relayed_requests;
mod seed;
mod tables;
mod writer;

use bytes::BytesMut;

use super::{Command, Dialect, Encoding, Event, Incoming, Parsed, Refusal, Stamp};
use crate::id::{ClientId, ConnId};

const AT: Stamp = Stamp { timestamp_ms: 1_234_567_890_123 };

fn client() -> ClientId {
    ClientId::new(42, ConnId::new(0, 7, 1))
}

fn parse(text: &str) -> Result<Command<'_>, Refusal<'static>> {
    Dialect::Pubsub.parse(Incoming::Text(text)).command
}

/// The event as `pubsub` writes it.
fn written(event: &Event<'_>) -> String {
    let mut out = BytesMut::new();
    assert_eq!(Dialect::Pubsub.encode(event, &AT, &mut out), Encoding::Text);
    String::from_utf8(out.to_vec()).expect("a text message is UTF-8")
}

#[test]
fn every_dialect_is_found_by_its_name() {
    for (number, &dialect) in Dialect::ALL.iter().enumerate() {
        assert_eq!(dialect as usize, number);
        assert_eq!(Dialect::by_name(dialect.name()), Some(dialect));
        assert_eq!(dialect.subprotocol(), format!("shardcast.{}", dialect.name()));
    }
    assert_eq!(Dialect::COUNT, Dialect::ALL.len());
    assert_eq!(Dialect::by_name("PubSub"), None);
    assert_eq!(Dialect::default(), Dialect::Pubsub);
}

#[test]
fn parse_results_stay_small() {
    assert!(size_of::<Refusal<'_>>() <= 24);
    assert!(size_of::<Result<Command<'_>, Refusal<'_>>>() <= 104);
    assert!(size_of::<Parsed<'_>>() <= 120);
}
