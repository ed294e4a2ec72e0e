//! One server: what is published, appended, read and present.

use shardcast::{
    ClientId, ConnId,
    cluster::Presence,
    relay::broker::{Channel, HistoryLimits, Operation},
};

use crate::{
    peer::{LIMITS, Peer, room},
    server::Server,
};

#[test]
fn what_one_node_publishes_another_receives_in_order() {
    let server = Server::start(&[]);
    let (mut publisher, subscriber) = (Peer::up(&server.url()), Peer::up(&server.url()));
    let channels = [
        room("r"),
        Channel::User("r".into()),
        Channel::Everyone,
        Channel::Control(0),
        Channel::Node(7),
    ];
    for channel in &channels {
        subscriber.subscribe(channel);
    }
    let operations: Vec<_> = (0..1000u64)
        .map(|number| Operation::Publish {
            channel: channels[number as usize % channels.len()].clone(),
            message: number.to_string().into(),
            token: number,
        })
        .collect();
    publisher.submit(operations);
    for number in 0..1000 {
        let (channel, message, position) = subscriber.message();
        assert_eq!(channel, channels[number % channels.len()]);
        assert_eq!((message, position), (number.to_string().into(), None));
        assert_eq!(publisher.published(number as u64), Ok(None));
    }
    subscriber.submit(vec![Operation::Unsubscribe(room("r"))]);
    subscriber.subscribe(&room("other"));
    publisher.publish(&room("r"), "unheard").unwrap();
    publisher.publish(&room("other"), "heard").unwrap();
    assert_eq!(subscriber.message().1, "heard");
}

#[test]
fn appended_publications_have_one_order_and_are_read_back() {
    let server = Server::start(&[]);
    let (mut first, mut second) = (Peer::up(&server.url()), Peer::up(&server.url()));
    second.subscribe(&room("r"));
    let empty = first.read("r", 0, 10, LIMITS).unwrap();
    assert_eq!((empty.last.offset, empty.first, empty.entries.len()), (0, 1, 0));
    for offset in 1..=20 {
        let (position, again) = first.append("r", &format!("m{offset}"), None).unwrap();
        assert_eq!((position.offset, position.epoch, again), (offset, empty.last.epoch, false));
        let (_, message, place) = second.message();
        assert_eq!((message, place), (format!("m{offset}").into(), Some(position)));
    }
    let history = second.read("r", 5, 3, LIMITS).unwrap();
    assert_eq!((history.last.offset, history.first), (20, 1));
    let expected = [(6, "m6".into()), (7, "m7".into()), (8, "m8".into())];
    assert_eq!(history.entries, expected);
    assert!(second.read("r", 20, 10, LIMITS).unwrap().entries.is_empty());
}

#[test]
fn a_history_keeps_no_more_than_its_limits() {
    let server = Server::start(&[]);
    let mut peer = Peer::up(&server.url());
    let operations = (1..=50)
        .map(|token| Operation::Append {
            room: "r".into(),
            message: token.to_string().into(),
            limits: HistoryLimits { count: 10, ..LIMITS },
            once: None,
            token,
        })
        .collect();
    peer.submit(operations);
    peer.published(50).unwrap();
    let history = peer.read("r", 0, 100, LIMITS).unwrap();
    assert_eq!((history.last.offset, history.first, history.entries.len()), (50, 41, 10));
    // Whatever is older than its age is not there for a reader.
    let limits = HistoryLimits { age_ms: 1, ..LIMITS };
    crate::server::until("all of it is too old", || {
        let history = peer.read("r", 0, 100, limits)?;
        (history.entries.is_empty() && history.first == 51).then_some(())
    });
    assert_eq!(peer.append("r", "next", None).unwrap().0.offset, 51);
}

#[test]
fn a_repeat_within_its_window_is_answered_with_the_first_ones_place() {
    let server = Server::start(&[]);
    let (mut peer, subscriber) = (Peer::up(&server.url()), Peer::up(&server.url()));
    subscriber.subscribe(&room("r"));
    let (first, again) = peer.append("r", "a", Some(("key", 60_000))).unwrap();
    assert!(!again);
    assert_eq!(peer.append("r", "a", Some(("key", 60_000))), Ok((first, true)));
    assert_eq!(peer.append("q", "a", Some(("key", 60_000))).unwrap().0.offset, 1);
    assert_eq!(peer.append("r", "b", Some(("short", 1))).unwrap().0.offset, 2);
    crate::server::until("the window is over", || {
        (!peer.append("r", "b", Some(("short", 1))).unwrap().1).then_some(())
    });
    let heard: Vec<_> = (0..3).map(|_| subscriber.message().1).collect();
    assert_eq!(heard, ["a", "b", "b"]);
}

fn who(slot: u32, user: Option<&str>) -> Presence {
    let client = ClientId::new(9, ConnId::new(0, slot, 1));
    Presence { client, user: user.map(Into::into) }
}

fn enter(who: &Presence, ttl_ms: u64) -> Operation {
    Operation::Enter { room: "r".into(), who: who.clone(), ttl_ms }
}

fn leave(who: &Presence) -> Operation {
    Operation::Leave { room: "r".into(), who: who.clone() }
}

#[test]
fn a_user_with_three_connections_joins_once_and_leaves_once() {
    let server = Server::start(&[]);
    let (mut peer, watcher) = (Peer::up(&server.url()), Peer::up(&server.url()));
    watcher.subscribe(&room("r"));
    let alice: Vec<_> = (0..3).map(|slot| who(slot, Some("alice"))).collect();
    let nobody = who(9, None);
    let mut operations: Vec<_> = alice.iter().map(|who| enter(who, 60_000)).collect();
    operations.push(enter(&alice[0], 60_000));
    operations.push(enter(&nobody, 60_000));
    operations.extend(alice[..2].iter().map(leave));
    operations.push(leave(&alice[0]));
    peer.submit(operations);
    assert_eq!(watcher.presence_change(), (alice[0].clone(), true));
    assert_eq!(watcher.presence_change(), (nobody.clone(), true));
    let mut present = peer.present("r").unwrap();
    present.sort_by_key(Presence::key);
    assert_eq!(present.len(), 2);
    assert!(present.contains(&alice[2]) && present.contains(&nobody));
    peer.submit(vec![leave(&alice[2])]);
    assert_eq!(watcher.presence_change(), (alice[2].clone(), false));
}

#[test]
fn who_does_not_come_again_is_present_no_more_when_the_time_is_over() {
    let server = Server::start(&[]);
    let (mut peer, watcher) = (Peer::up(&server.url()), Peer::up(&server.url()));
    watcher.subscribe(&room("r"));
    let (gone, stays) = (who(1, Some("gone")), who(2, Some("stays")));
    peer.submit(vec![enter(&gone, 50), enter(&stays, 60_000)]);
    crate::server::until("one is left", || {
        peer.submit(vec![Operation::Expire { room: "r".into() }]);
        (peer.present("r").unwrap() == [stays.clone()]).then_some(())
    });
    let changes: Vec<_> = (0..3).map(|_| watcher.presence_change()).collect();
    assert_eq!(changes, [(gone.clone(), true), (stays, true), (gone, false)]);
}
