//! Rooms over all shards: who hears what, how often and in which order. Sixteen
//! clients, so that the kernel gives some to each shard.

use std::{collections::HashMap, thread};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Server, on_every_driver};

const CLIENTS: usize = 16;

fn connect_all(server: &Server) -> Vec<Client> {
    (0..CLIENTS).map(|_| Client::connect(server.address())).collect()
}

fn members(server: &Server, room: &str) -> Vec<Client> {
    let mut clients = connect_all(server);
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.subscribe(room), index as u64 + 1);
    }
    clients
}

#[test]
fn every_member_hears_every_message_once_in_each_publishers_order() {
    const EACH: u64 = 200;
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let clients = members(&server, "chat");
        let at_once: Vec<_> = clients
            .into_iter()
            .map(|client| thread::spawn(move || talk_and_listen(client, EACH)))
            .collect();
        for client in at_once {
            client.join().expect("a client that heard all");
        }
    });
}

/// Publishes `each` numbers and hears those of all clients.
fn talk_and_listen(mut client: Client, each: u64) {
    let mut next: HashMap<String, u64> = HashMap::new();
    for number in 0..each {
        client.publish("chat", &json!(number));
    }
    for _ in 0..each * CLIENTS as u64 {
        let message = client.hear();
        let from = message["client_id"].as_str().expect("a sender").to_owned();
        let expected = next.entry(from).or_default();
        assert_eq!(message["data"], *expected, "{message}");
        *expected += 1;
    }
    assert_eq!(next.len(), CLIENTS);
    assert_eq!(next[&client.id().to_string()], each);
    client.expect_nothing_more();
}

#[test]
fn a_client_hears_its_rooms_and_its_answers_in_the_order_of_its_requests() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = Client::connect(server.address());
        client.subscribe("a");
        client.subscribe("b");
        for number in 0..300 {
            client.publish("a", &json!(number));
            client.say(&json!({"type": "ping"}));
            client.publish("b", &json!(number));
            client.say(&json!({"type": "broadcast", "data": number}));
        }
        for number in 0..300 {
            let heard = [client.hear(), client.hear(), client.hear(), client.hear()];
            assert_eq!((&heard[0]["room"], &heard[0]["data"]), (&json!("a"), &json!(number)));
            assert_eq!(heard[1]["type"], "pong");
            assert_eq!((&heard[2]["room"], &heard[2]["data"]), (&json!("b"), &json!(number)));
            assert_eq!((&heard[3]["room"], &heard[3]["data"]), (&Value::Null, &json!(number)));
        }
    });
}

#[test]
fn members_are_counted_over_all_shards() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut clients = members(&server, "chat");
        for client in &mut clients[..4] {
            client.unsubscribe("chat");
        }
        assert_eq!(clients[0].subscribe("chat"), CLIENTS as u64 - 3);
        for client in clients.drain(8..) {
            client.close();
        }
        server.wait_for_clients(8);
        assert_eq!(clients[1].subscribe("chat"), 6);
    });
}

#[test]
fn who_has_left_hears_no_more() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut clients = members(&server, "chat");
        for client in &mut clients[..8] {
            client.unsubscribe("chat");
        }
        clients[15].publish("chat", &json!("for members"));
        for client in &mut clients[8..] {
            assert_eq!(client.hear()["data"], "for members");
        }
        clients.iter_mut().for_each(Client::expect_nothing_more);
        clients[0].publish("chat", &json!("from outside"));
        assert_eq!(clients[0].hear()["error"], "not subscribed to this room");
    });
}

#[test]
fn a_broadcast_reaches_every_client_of_every_dialect_once() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut clients = connect_all(&server);
        let mut raw: Vec<_> =
            (0..CLIENTS).map(|_| Client::open(server.address(), "/ws/raw")).collect();
        clients[0].subscribe("some room");
        // An echo says that the connection is open on its shard.
        for client in &mut raw {
            client.send(Message::text("open"));
            assert_eq!(client.receive(), Message::text("open"));
        }
        clients[3].say(&json!({"type": "broadcast", "data": {"to": "all"}}));
        let from = clients[3].id().to_string();
        for client in &mut clients {
            let message = client.hear();
            assert_eq!(message["data"], json!({"to": "all"}));
            assert_eq!((&message["client_id"], &message["room"]), (&json!(from), &Value::Null));
            client.expect_nothing_more();
        }
        for client in &mut raw {
            assert_eq!(client.receive(), Message::text(r#"{"to":"all"}"#));
            client.send(Message::text("nothing more"));
            assert_eq!(client.receive(), Message::text("nothing more"));
        }
    });
}

#[test]
fn clients_have_different_ids_on_all_shards() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let clients = connect_all(&server);
        let mut ids: Vec<_> = clients.iter().map(|client| client.id().to_string()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CLIENTS);
    });
}

#[test]
fn large_publications_reach_all_members_whole() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut clients = members(&server, "chat");
        for size in [20_000, 100_000, 400_000] {
            let data = "€".repeat(size / 3);
            clients[0].publish("chat", &json!(data));
            for client in &mut clients {
                assert_eq!(client.hear()["data"], data);
            }
        }
    });
}

#[test]
fn rooms_come_and_go_with_their_members() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut clients = members(&server, "one");
        for (index, client) in clients.iter_mut().enumerate() {
            client.subscribe(&format!("own {index}"));
        }
        assert_eq!(server.health()["rooms"], 1 + CLIENTS);
        for client in &mut clients {
            client.unsubscribe("one");
        }
        assert_eq!(server.health()["rooms"], CLIENTS);
        clients.into_iter().for_each(Client::close);
        server.wait_for_clients(0);
        assert_eq!(server.health()["rooms"], 0);
    });
}
