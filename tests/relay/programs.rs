//! Server programs that share a Redis, as their clients see them: what is published on
//! one is heard on all, what a client missed is recovered on another, and what is wrong
//! is said.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    server::Server as Redis,
    support::{Client, RawClient, Server, drivers::Bed, on_every_driver, wait_until},
};

/// Node programs that share `redis`, once they are ready.
fn nodes(redis: &Redis, bed: Bed, count: usize) -> Vec<Server> {
    let url = redis.url();
    let flags =
        ["--relay", &url, "--history", "hist:*=1000,5m", "--presence", "pres:*", "--relay-prefix"];
    let start = |_| bed.server(&[&flags[..], &["test:"]].concat());
    let nodes: Vec<Server> = (0..count).map(start).collect();
    for node in &nodes {
        wait_until("the node is ready", || ready(node).0 == 200);
    }
    nodes
}

/// What a node says of itself: the status code and the body.
fn ready(node: &Server) -> (u16, Value) {
    let mut client = RawClient::connect(node.address());
    client.send(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let response = client.read_response();
    (response.status, serde_json::from_str(&response.body).expect("JSON"))
}

fn counter(node: &Server, name: &str) -> u64 {
    ready(node).1["relay"][name].as_u64().expect("a counter")
}

fn one_member_each(nodes: &[Server], room: &str) -> Vec<Client> {
    let member = |node: &Server| {
        let mut client = Client::connect(node.address());
        client.subscribe(room);
        client
    };
    nodes.iter().map(member).collect()
}

#[test]
fn members_on_three_nodes_hear_all_in_each_publishers_order() {
    const EACH: u64 = 200;
    on_every_driver(|bed| {
        let redis = Redis::start(&[]);
        let nodes = nodes(&redis, bed, 3);
        let clients = one_member_each(&nodes, "chat");
        let talk = |mut client: Client| {
            thread::spawn(move || {
                (0..EACH).for_each(|number| client.publish("chat", &json!(number)));
                let mut next: BTreeMap<String, u64> = BTreeMap::new();
                for _ in 0..3 * EACH {
                    let message = client.hear_type("message");
                    let from = message["client_id"].to_string();
                    let expected = next.entry(from).or_default();
                    assert_eq!(message["data"], *expected);
                    *expected += 1;
                }
                client.expect_nothing_more();
            })
        };
        let threads: Vec<_> = clients.into_iter().map(talk).collect();
        for thread in threads {
            thread.join().expect("a client that heard all");
        }
        for node in &nodes {
            assert_eq!((counter(node, "lost"), counter(node, "dropped")), (0, 0));
        }
    });
}

#[test]
fn all_nodes_hear_a_history_in_one_order() {
    const EACH: u64 = 100;
    let redis = Redis::start(&[]);
    let nodes = nodes(&redis, Bed { driver: "epoll", shards: 2 }, 3);
    let clients = one_member_each(&nodes, "hist:all");
    let listen = |mut client: Client| {
        thread::spawn(move || {
            (0..EACH).for_each(|number| client.publish("hist:all", &json!(number)));
            (0..3 * EACH).map(|_| client.hear_type("message")).collect::<Vec<_>>()
        })
    };
    let threads: Vec<_> = clients.into_iter().map(listen).collect();
    let heard: Vec<_> = threads.into_iter().map(|one| one.join().expect("a client")).collect();
    for (index, message) in heard[0].iter().enumerate() {
        assert_eq!(message["offset"], index as u64 + 1);
    }
    let of = |one: &Value| (one["offset"].clone(), one["client_id"].clone(), one["data"].clone());
    let order = |heard: &[Value]| heard.iter().map(of).collect::<Vec<_>>();
    assert!(heard.iter().all(|other| order(other) == order(&heard[0])));
}

#[test]
fn clients_of_a_node_that_is_killed_recover_on_another() {
    on_every_driver(|bed| {
        let redis = Redis::start(&[]);
        let mut nodes = nodes(&redis, bed, 2);
        let mut publisher = Client::connect(nodes[1].address());
        publisher.subscribe("hist:r");
        let mut lost = Client::connect(nodes[0].address());
        lost.say(&json!({"type": "subscribe", "room": "hist:r"}));
        let epoch = lost.hear_type("subscribed")["data"]["epoch"].clone();
        for number in 1..=50 {
            publisher.publish("hist:r", &json!(number));
            assert_eq!(lost.hear_type("message")["offset"], number);
        }
        nodes.remove(0).signal(Signal::KILL);
        (51..=80).for_each(|number| publisher.publish("hist:r", &json!(number)));
        (1..=80).for_each(|number| assert_eq!(publisher.hear_type("message")["offset"], number));
        let mut back = Client::connect(nodes[0].address());
        let recover = json!({"epoch": epoch, "offset": 50});
        back.say(&json!({"type": "subscribe", "room": "hist:r", "recover": recover}));
        let told = back.hear_type("subscribed")["data"].clone();
        assert_eq!((&told["recovered"], &told["offset"]), (&json!(true), &json!(80)));
        for number in 51..=80 {
            let message = back.hear_type("message");
            assert_eq!((&message["offset"], &message["data"]), (&json!(number), &json!(number)));
        }
        publisher.publish("hist:r", &json!("live"));
        assert_eq!(back.hear_type("message")["offset"], 81);
        back.expect_nothing_more();
    });
}

#[test]
fn presence_is_right_again_after_a_node_was_killed() {
    let redis = Redis::start(&[]);
    let mut nodes = nodes(&redis, Bed { driver: "epoll", shards: 1 }, 2);
    let mut clients = one_member_each(&nodes, "pres:r");
    let mut stays = clients.remove(1);
    let goes = clients.remove(0);
    let left = json!(goes.id().to_string());
    let heard = |client: &mut Client, kind: &str, who: &Value| {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            // A silent room is asked, so that no wait is longer than its answer.
            client.say(&json!({"type": "ping"}));
            let mut is_heard = false;
            loop {
                let message = client.hear();
                if message["type"] == "pong" {
                    break;
                }
                is_heard |= message["type"] == kind && message["data"]["client_id"] == *who;
            }
            if is_heard {
                return;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        panic!("{kind} of {who} was never heard");
    };
    wait_until("both are present", || {
        stays.say(&json!({"type": "presence", "room": "pres:r"}));
        loop {
            let message = stays.hear();
            if message["type"] == "presence" {
                return message["data"]["count"] == 2;
            }
        }
    });
    nodes.remove(0).signal(Signal::KILL);
    heard(&mut stays, "presence_leave", &left);
    stays.say(&json!({"type": "presence", "room": "pres:r"}));
    assert_eq!(stays.hear_type("presence")["data"]["count"], 1);
}

#[test]
fn a_redis_that_is_away_is_said_and_local_delivery_goes_on() {
    let mut redis = Redis::start(&[]);
    let nodes = nodes(&redis, Bed { driver: "epoll", shards: 1 }, 2);
    let mut here = one_member_each(&nodes[..1], "chat").remove(0);
    let mut there = one_member_each(&nodes[1..], "chat").remove(0);
    redis.kill();
    wait_until("the node is not ready", || ready(&nodes[0]).0 == 503);
    let reasons = ready(&nodes[0]).1["reasons"].to_string();
    assert!(reasons.to_lowercase().contains("redis"), "{reasons}");
    here.publish("chat", &json!("while it is away"));
    assert_eq!(here.hear_type("message")["data"], "while it is away");
    // A client that comes now is told of its subscription all the same.
    let mut new = one_member_each(&nodes[..1], "pres:new").remove(0);
    new.say(&json!({"type": "presence", "room": "pres:new"}));
    assert_eq!(new.hear_type("error")["error"], "presence is not available");
    redis.restart();
    for node in &nodes {
        wait_until("the node is ready again", || ready(node).0 == 200);
    }
    here.publish("chat", &json!("after it"));
    // What was kept is given on, in order; or it is told that it was lost, for the other
    // node may have subscribed again behind it.
    let (mut heard, mut is_told) = (Vec::new(), false);
    while heard.last() != Some(&json!("after it")) || (heard.len() < 2 && !is_told) {
        let message = there.hear();
        match message["type"].as_str() {
            Some("message") => heard.push(message["data"].clone()),
            Some("gap") => is_told = true,
            _ => panic!("{message}"),
        }
    }
    assert!(heard.len() == 1 || heard == [json!("while it is away"), json!("after it")]);
}
