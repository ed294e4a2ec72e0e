//! One server that ends, stops or forgets while it is used.

use shardcast::relay::broker::BrokerError;

use crate::{
    peer::{LIMITS, Peer, room},
    server::Server,
};

#[test]
fn after_a_restart_subscriptions_can_be_made_again_and_are_heard() {
    let mut server = Server::start(&[]);
    let (mut publisher, subscriber) = (Peer::up(&server.url()), Peer::up(&server.url()));
    subscriber.subscribe(&room("r"));
    for round in 0..3 {
        server.kill();
        publisher.wait_down();
        subscriber.wait_down();
        assert_eq!(publisher.publish(&room("r"), "lost"), Err(BrokerError::Away));
        server.restart();
        publisher.wait_up();
        subscriber.wait_up();
        subscriber.subscribe(&room("r"));
        publisher.publish(&room("r"), &format!("{round}")).unwrap();
        assert_eq!(subscriber.message().1, format!("{round}"));
    }
    let counters = subscriber.status.counters.all();
    assert!(counters.contains(&("reconnects", 3)), "{counters:?}");
}

#[test]
fn a_server_that_is_stopped_counts_as_away_until_it_goes_on() {
    let server = Server::start(&[]);
    let mut peer = Peer::up(&server.url());
    peer.subscribe(&room("r"));
    server.pause();
    assert_eq!(peer.publish(&room("r"), "a"), Err(BrokerError::Away));
    peer.wait_down_by("within a second");
    server.resume();
    peer.wait_up();
    peer.publish(&room("r"), "b").unwrap();
}

#[test]
fn scripts_that_the_server_forgets_are_given_again_without_loss_of_order() {
    let server = Server::start(&[]);
    let (mut peer, subscriber) = (Peer::up(&server.url()), Peer::up(&server.url()));
    subscriber.subscribe(&room("r"));
    for number in 1..=20 {
        server.ask::<()>(&["SCRIPT", "FLUSH"]);
        assert_eq!(peer.append("r", &number.to_string(), None).unwrap().0.offset, number);
        assert_eq!(subscriber.message().1, number.to_string());
    }
}

#[test]
fn a_history_outlives_a_server_that_writes_it_down() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut peer = Peer::up(&server.url());
    let mut last = None;
    for number in 1..=50 {
        last = Some(peer.append("r", &number.to_string(), None).unwrap().0);
    }
    server.kill();
    peer.wait_down();
    server.restart();
    peer.wait_up();
    let history = peer.read("r", 20, 100, LIMITS).unwrap();
    assert_eq!(Some(history.last), last);
    let offsets: Vec<u64> = history.entries.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (21..=50).collect::<Vec<_>>());
}

#[test]
fn a_history_that_was_forgotten_has_another_epoch() {
    let mut server = Server::start(&["--save", ""]);
    let mut peer = Peer::up(&server.url());
    let before = peer.append("r", "a", None).unwrap().0;
    server.kill();
    peer.wait_down();
    server.restart();
    peer.wait_up();
    let after = peer.read("r", before.offset, 10, LIMITS).unwrap();
    assert_ne!(after.last.epoch, before.epoch);
    assert_eq!(after.last.offset, 0);
    assert_eq!(peer.append("r", "b", None).unwrap().0.offset, 1);
}
