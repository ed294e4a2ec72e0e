//! Two and three nodes on one server that fails under load.

use std::{thread, time::Duration};

use shardcast::{
    Audience, ClientId, ConnId,
    cluster::{Presence, ToRelay},
};

use crate::{
    load::Load,
    node::{Node, room},
    proxy::Proxy,
    server::{Server, until},
};

#[test]
fn publications_reach_every_other_node_once_and_in_order() {
    let server = Server::start(&[]);
    let outcome = Load::start(&server.url(), 3).check();
    assert_eq!(outcome.lost, 0);
    assert!(outcome.kept > 0);
}

#[test]
fn users_broadcasts_and_rooms_are_told_apart() {
    let server = Server::start(&[]);
    let nodes = Node::several(&server.url(), 2);
    let audiences = [Audience::Everyone, Audience::User("a".into()), room("a")];
    for audience in &audiences[1..] {
        nodes[1].join(audience);
    }
    for audience in &audiences {
        nodes[0].publish(audience.clone(), "to all");
    }
    for audience in &audiences {
        until("delivered", || (nodes[1].delivered(audience) == ["to all"]).then_some(()));
        assert!(nodes[0].delivered(audience).is_empty());
    }
}

#[test]
fn a_server_that_is_killed_under_load_loses_only_what_is_counted() {
    let settings = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(&settings);
    let load = Load::start(&server.url(), 2);
    for _ in 0..2 {
        server.kill();
        load.nodes.iter().for_each(Node::wait_not_ready);
        server.restart();
        load.goes_on();
    }
    load.check();
}

#[test]
fn a_server_that_is_stopped_under_load_loses_only_what_is_counted() {
    let server = Server::start(&[]);
    let load = Load::start(&server.url(), 2);
    server.pause();
    load.nodes.iter().for_each(Node::wait_not_ready);
    server.resume();
    load.goes_on();
    load.check();
}

#[test]
fn a_network_that_fails_in_any_way_loses_only_what_is_counted() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let nodes = vec![Node::start(&server.url(), 1), Node::start(&proxy.url(), 2)];
    let load = Load::on(Node::ready(nodes));
    // Half-open: connections stand, and nothing passes.
    proxy.hold(true);
    load.nodes[1].wait_not_ready();
    proxy.hold(false);
    load.goes_on();
    // Reset while it is used.
    for _ in 0..5 {
        let before = load.nodes[1].counter("reconnects");
        proxy.reset();
        until("it is connected again", || {
            (load.nodes[1].counter("reconnects") > before).then_some(())
        });
        load.goes_on();
    }
    // No connection at all for a while.
    proxy.refuse(true);
    proxy.reset();
    load.nodes[1].wait_not_ready();
    proxy.refuse(false);
    load.goes_on();
    // Slow.
    proxy.delay(Duration::from_millis(100));
    load.goes_on();
    proxy.delay(Duration::ZERO);
    load.check();
}

#[test]
fn a_node_whose_shards_are_full_stops_reading_and_loses_nothing() {
    const COUNT: u64 = 20_000;
    let server = Server::start(&[]);
    let nodes = Node::several(&server.url(), 2);
    nodes[1].join(&room("r"));
    nodes[1].fill(true);
    let padding = "x".repeat(1000);
    for number in 0..COUNT {
        nodes[0].publish(room("r"), &format!("{number} {padding}"));
    }
    until("all is published", || (nodes[0].counter("published") >= COUNT).then_some(()));
    nodes[1].wait_not_ready();
    let received = nodes[1].counter("received");
    assert!(received < COUNT / 2, "{received} were read that nobody takes");
    nodes[1].fill(false);
    nodes[1].wait_ready();
    until("all of it", || (nodes[1].delivered(&room("r")).len() as u64 == COUNT).then_some(()));
    let expected = (0..COUNT).map(|number| format!("{number} {padding}"));
    assert!(nodes[1].delivered(&room("r")).into_iter().eq(expected));
}

#[test]
fn presence_is_right_after_a_node_vanishes() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let stays = Node::start(&server.url(), 1);
    let vanishes = Node::start(&proxy.url(), 2);
    let audience = room("p:r");
    for node in [&stays, &vanishes] {
        node.wait_ready();
        node.join(&audience);
    }
    let who = |slot, user: &str| Presence {
        client: ClientId::new(2 << 20 | 7, ConnId::new(0, slot, 1)),
        user: Some(user.into()),
    };
    stays.send(ToRelay::Present("p:r".into(), who(1, "stays")));
    vanishes.send(ToRelay::Present("p:r".into(), who(2, "vanishes")));
    vanishes.send(ToRelay::Present("p:r".into(), who(3, "stays")));
    until("both are there", || (stays.presence_changes().len() == 2).then_some(()));
    proxy.refuse(true);
    proxy.hold(true);
    until("one is left", || {
        let changes = stays.presence_changes();
        (changes.last() == Some(&("vanishes".to_owned(), false))).then_some(())
    });
    assert_eq!(stays.presence_changes().len(), 3);
    proxy.reset();
    thread::yield_now();
}
