//! Every kind of message there and back, cut off anywhere, and bytes that are none.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    id::ConnId,
    publication::{Audience, Data, Position},
};

const NODE: u64 = 0x0123_4567_89AB_CDEF;

fn client(slot: u32) -> ClientId {
    ClientId::new(77, ConnId::new(3, slot, 9))
}

fn room(name: &str) -> Channel {
    Channel::Room(name.into())
}

/// One of each kind and variant, and where it belongs.
fn all_kinds() -> Vec<(Channel, Bytes)> {
    let number = Number { sequence: 300, since_first: 200 };
    let mut found = Vec::new();
    for (flags, data) in [
        (0, Data::absent()),
        (7, Data::raw_json("{\"a\":1}").unwrap()),
        (10, Data::text("häh")),
        (15, Data::binary(&b"\x00\xFF"[..])),
    ] {
        let mut publication = Publication::new(Audience::Everyone, "event", data, 1 << 41);
        publication.from = (flags & 1 != 0).then(|| client(1));
        publication.user = (flags & 2 != 0).then(|| "alice".into());
        publication.except = (flags & 4 != 0).then(|| ConnId::new(1, 2, 3));
        publication.key = (flags & 8 != 0).then(|| "key".into());
        let bytes = encode_publication(NODE, number, &publication);
        for channel in [Channel::Everyone, room("r"), Channel::User("u".into())] {
            found.push((channel, bytes.clone()));
        }
    }
    let alone: Vec<Bytes> = found.iter().map(|(_, bytes)| bytes.clone()).step_by(3).collect();
    found.push((room("r"), bundle(&alone, number)));
    for who in [Who::Client(client(1)), Who::User("bob".into())] {
        let close = Command::Close { who: who.clone(), code: 4001, reason: "out".into() };
        let join = Command::Join { who: who.clone(), room: "r".into() };
        for command in [close, join, Command::Leave { who, room: "r".into() }] {
            found.push((Channel::Node(1), encode_command(NODE, number, &command)));
        }
    }
    let send = Command::Send { to: client(2), event: "e".into(), data: Data::binary(&b"x"[..]) };
    found.push((Channel::User("u".into()), encode_command(NODE, number, &send)));
    found.push((Channel::Control(2), encode_beat(NODE, &beat())));
    for question in [Question::MemberCount("r".into()), Question::Members("r".into(), 9)] {
        found.push((Channel::Control(0), encode_question(NODE, 5, &question)));
    }
    let members = vec![
        Presence { client: client(1), user: None },
        Presence { client: client(2), user: Some("carol".into()) },
    ];
    let answer = ClusterAnswer { count: 2, members, nodes: 1, missing: 0 };
    found.push((Channel::Node(1), encode_answer(NODE, number, 5, &answer)));
    found.push((Channel::Control(0), encode_announce(NODE)));
    found
}

/// Publications that were all encoded with `number`, in one message from there on.
fn bundle(alone: &[Bytes], number: Number) -> Bytes {
    let mut bundle = Bundle::new(NODE, number);
    for (message, next) in alone.iter().zip(number.following()) {
        assert!(bundle.takes(next, message.len()));
        bundle.add_encoded(message, number);
    }
    bundle.finish()
}

fn beat() -> Beat {
    let numbered = Numbered {
        first: 3,
        first_age_ms: 900,
        before: 7,
        next_age_ms: 250,
        last: 9,
        last_age_ms: 5,
    };
    let channels = [
        Channel::Control(3),
        Channel::Everyone,
        Channel::Node(u64::MAX),
        room("a\nb{*}"),
        Channel::User("é".into()),
    ];
    let mut announcements: Vec<_> =
        channels.map(|channel| Announcement::Numbered(channel, numbered)).into();
    announcements.push(Announcement::Stored("h".into(), Position { epoch: 1, offset: 2 }));
    Beat { beat: 4, sent_ms: 1 << 40, is_subscribed: true, announcements }
}

/// A received publication, as its sender had it.
fn sent(publication: &Publication, except: Option<ClientId>, node: u64) -> Publication {
    let mut copy = Publication::new(
        publication.audience.clone(),
        &publication.event,
        publication.data.clone(),
        publication.timestamp_ms,
    );
    copy.from = publication.from;
    copy.user.clone_from(&publication.user);
    copy.key.clone_from(&publication.key);
    copy.except = except.and_then(|client| client.conn(node));
    copy
}

/// The same message, written again.
fn again(message: &Message) -> Bytes {
    let Message { node, number, .. } = *message;
    match &message.body {
        Body::Publication(publication, except) => {
            encode_publication(node, number, &sent(publication, *except, node))
        }
        Body::Publications(all) => {
            let mut bundle = Bundle::new(node, number);
            for ((publication, except), number) in all.iter().zip(number.following()) {
                assert!(bundle.takes(number, publication.data.bytes().len()));
                bundle.add(node, &sent(publication, *except, node));
            }
            bundle.finish()
        }
        Body::Command(command) => encode_command(node, number, command),
        Body::Beat(beat) => encode_beat(node, beat),
        Body::Question(ask, question) => encode_question(node, *ask, question),
        Body::Answer(ask, answer) => encode_answer(node, number, *ask, answer),
        Body::Announce => encode_announce(node),
    }
}

#[test]
fn every_kind_of_message_comes_back_as_it_was() {
    for (channel, bytes) in all_kinds() {
        let message = decode(&bytes, &channel).unwrap();
        assert_eq!(message.node, NODE);
        assert_eq!(again(&message), bytes, "{message:?}");
        if let Body::Publication(publication, _) = &message.body {
            let is_right = match (&publication.audience, &channel) {
                (Audience::Everyone, Channel::Everyone) => true,
                (Audience::Room(name), Channel::Room(room)) => name == room,
                (Audience::User(name), Channel::User(user)) => name == user,
                _ => false,
            };
            assert!(is_right, "{publication:?} on {channel:?}");
        }
    }
}

#[test]
fn a_beat_comes_back_with_all_its_announcements() {
    let bytes = encode_beat(NODE, &beat());
    let Body::Beat(found) = decode(&bytes, &Channel::Control(0)).unwrap().body else {
        panic!("no beat");
    };
    assert_eq!(found, beat());
}

#[test]
fn a_message_that_is_cut_off_is_malformed_or_has_less_payload() {
    for (channel, bytes) in all_kinds() {
        for len in 0..bytes.len() {
            match decode(&bytes.slice(..len), &channel) {
                Err(error) => assert_eq!(error, WireError::Malformed),
                Ok(message) => {
                    // Between two of several publications, the first ones are left.
                    let has_payload = matches!(
                        message.body,
                        Body::Publication(..)
                            | Body::Publications(..)
                            | Body::Command(Command::Send { .. })
                    );
                    assert!(has_payload, "{message:?}");
                }
            }
        }
    }
}

#[test]
fn another_version_is_named() {
    for (channel, bytes) in all_kinds() {
        let mut bytes = bytes.to_vec();
        bytes[0] = 2;
        let error = decode(&bytes.into(), &channel).unwrap_err();
        assert_eq!(error, WireError::UnknownVersion(2));
    }
}

#[test]
fn a_message_on_a_channel_where_it_does_not_belong_is_malformed() {
    let channels = [Channel::Control(0), Channel::Node(1), room("r")];
    for (home, bytes) in all_kinds() {
        let fitting = channels.iter().filter(|channel| decode(&bytes, channel).is_ok());
        assert!(fitting.count() <= 1, "{home:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        for (channel, _) in all_kinds() {
            let _ = decode(&bytes.clone().into(), &channel);
            for kind in 1..8 {
                let mut bytes = bytes.clone();
                bytes.splice(0..0, [VERSION, kind, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
                let _ = decode(&bytes.into(), &channel);
            }
        }
    }

    #[test]
    fn one_wrong_byte_is_a_message_or_an_error(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let kinds = all_kinds();
        let (channel, bytes) = index.get(&kinds);
        let mut bytes = bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&bytes.into(), channel);
    }
}

#[test]
fn only_what_follows_and_finds_room_goes_into_a_message_with_others() {
    let number = |sequence| Number { sequence, since_first: sequence - 1 };
    let publication = Publication::new(Audience::Everyone, "e", Data::absent(), 0);
    let begun = || {
        let mut bundle = Bundle::new(NODE, number(1));
        // Whatever its size, the first has a message.
        assert!(bundle.takes(number(1), 1 << 30));
        bundle.add(NODE, &publication);
        bundle
    };
    let mut bundle = begun();
    assert!(bundle.takes(number(2), 100));
    assert!(!bundle.takes(number(2), 70_000), "too large");
    assert!(!bundle.takes(number(3), 100), "not the next");
    assert!(!bundle.takes(Number { sequence: 2, since_first: 0 }, 100), "another numbering");
    let alone = encode_publication(NODE, number(2), &publication);
    for sequence in 2..=1_024 {
        assert!(bundle.takes(number(sequence), alone.len()));
        bundle.add_encoded(&alone, number(2));
    }
    assert!(!bundle.takes(number(1_025), 1));
    let message = decode(&bundle.finish(), &Channel::Everyone).unwrap();
    assert_eq!(message.number, number(1));
    let Body::Publications(all) = message.body else { panic!("{message:?}") };
    assert_eq!(all.len(), 1_024);
    assert!(all.iter().all(|(found, _)| found.event == "e"));
    // What has no number, as in a history, goes alone.
    let mut bundle = Bundle::new(NODE, Number::default());
    bundle.add(NODE, &publication);
    assert!(!bundle.takes(Number::default(), 1));
}

#[test]
fn a_message_with_more_publications_than_are_sent_together_is_malformed() {
    let mut writer = Writer::default();
    head(&mut writer, PUBLICATIONS, NODE, Number { sequence: 1, since_first: 0 });
    for _ in 0..1_025 {
        let at = writer.0.len();
        writer.size(0);
        writer.0.extend_from_slice(b"\x00\x01e\x00");
        writer.set_size(at);
    }
    assert_eq!(decode(&writer.0.into(), &Channel::Everyone).unwrap_err(), WireError::Malformed);
}
