//! Who gets what a handler sends: rooms, users, everyone, one connection; on one
//! shard and across shards.

use serde_json::{Value, json};
use shardcast::{Builder, ConnId, Data, dialect::Payload};
use tungstenite::Message;

use super::bed::{Bed, on_shards};
use crate::support::{Client, wait_until};

/// Events that send as they are told to.
fn senders(builder: Builder) -> Builder {
    builder
        .on("login", |conn, msg| {
            conn.set_user(&msg.parse::<String>()?)?;
            conn.emit("welcome", None);
            Ok(())
        })
        .on("room", |conn, msg| {
            conn.to(msg.room().unwrap_or_default()).emit("room", msg.data());
            Ok(())
        })
        .on("others", |conn, msg| {
            conn.to(msg.room().unwrap_or_default()).except_self().emit("others", msg.data());
            Ok(())
        })
        .on("user", |conn, msg| {
            conn.to_user(msg.to().unwrap_or_default()).emit("user", msg.data());
            Ok(())
        })
        .on("everyone", |conn, msg| {
            conn.to_everyone().emit("everyone", msg.data());
            Ok(())
        })
        .on("everyone else", |conn, msg| {
            conn.to_everyone().except_self().emit("everyone else", msg.data());
            Ok(())
        })
        .on("one", |conn, msg| {
            let id = msg.to().unwrap_or_default().parse()?;
            conn.send_to(ConnId::from_u64(id), "one", msg.data());
            Ok(())
        })
}

fn log_in(client: &mut Client, user: &str) {
    client.say(&json!({"type": "login", "data": user}));
    client.hear_type("welcome");
}

/// A client on each shard, and two more wherever they come.
fn crowd(bed: &Bed) -> Vec<Client> {
    let mut clients = bed.client_on_each_shard();
    clients.extend([bed.client(), bed.client()]);
    clients
}

/// Asserts that exactly `receivers` of `clients` hear `kind`, once. Those that
/// must not are asked last, when the shards of all others have delivered; there
/// must be a receiver on each shard for that to mean something.
fn only(clients: &mut [Client], receivers: &[usize], kind: &str) -> Vec<Value> {
    let heard = receivers.iter().map(|receiver| clients[*receiver].hear_type(kind)).collect();
    clients.iter_mut().for_each(Client::expect_nothing_more);
    heard
}

#[test]
fn a_room_is_all_its_members_the_sender_among_them() {
    on_shards(|shards| {
        let bed = Bed::start(shards, senders);
        let mut clients = crowd(&bed);
        let last = clients.len() - 1;
        for client in &mut clients[..last] {
            client.subscribe("r");
        }
        let sender = clients[0].id().to_string();
        clients[0].say(&json!({"type": "room", "room": "r", "data": 1}));
        let members: Vec<_> = (0..last).collect();
        for message in only(&mut clients, &members, "room") {
            assert_eq!(message["room"], "r");
            assert_eq!(message["data"], 1);
            assert_eq!(message["client_id"], *sender);
        }
        clients[0].say(&json!({"type": "others", "room": "r", "data": 2}));
        only(&mut clients, &members[1..], "others");
        // Who is no member may send as well, and leaves out nobody then.
        clients[last].say(&json!({"type": "others", "room": "r", "data": 3}));
        only(&mut clients, &members, "others");
    });
}

#[test]
fn everyone_is_every_connection() {
    on_shards(|shards| {
        let bed = Bed::start(shards, senders);
        let mut clients = crowd(&bed);
        let all: Vec<_> = (0..clients.len()).collect();
        clients[1].say(&json!({"type": "everyone", "data": 1}));
        for message in only(&mut clients, &all, "everyone") {
            assert!(message.get("room").is_none(), "{message}");
        }
        clients[0].say(&json!({"type": "everyone else"}));
        only(&mut clients, &all[1..], "everyone else");
    });
}

#[test]
fn a_user_is_all_connections_of_that_user_on_all_shards() {
    on_shards(|shards| {
        let bed = Bed::start(shards, senders);
        let mut clients = crowd(&bed);
        let last = clients.len() - 1;
        for client in &mut clients[..last] {
            log_in(client, "alice");
        }
        log_in(&mut clients[last], "bob");
        // A room of the same name is something else.
        clients[last].subscribe("alice");
        let alices: Vec<_> = (0..last).collect();
        clients[last].say(&json!({"type": "user", "to": "alice", "data": {"n": 1}}));
        for message in only(&mut clients, &alices, "user") {
            assert_eq!(message["data"], json!({"n": 1}));
            assert!(message.get("room").is_none(), "{message}");
        }
        clients[0].say(&json!({"type": "user", "to": "nobody"}));
        only(&mut clients, &[], "user");
    });
}

#[test]
fn a_connection_acts_for_the_last_user_that_was_set() {
    on_shards(|shards| {
        let bed = Bed::start(shards, senders);
        let mut clients = crowd(&bed);
        for client in &mut clients {
            log_in(client, "alice");
        }
        log_in(&mut clients[0], "alice");
        log_in(&mut clients[1], "bob");
        let rest: Vec<_> = (0..clients.len()).filter(|client| *client != 1).collect();
        clients[1].say(&json!({"type": "user", "to": "alice"}));
        only(&mut clients, &rest, "user");
        clients[0].say(&json!({"type": "user", "to": "bob"}));
        only(&mut clients, &[1], "user");
    });
}

#[test]
fn one_connection_is_reached_on_the_same_shard_and_on_another() {
    on_shards(|shards| {
        let bed = Bed::start(shards, senders);
        let mut clients = crowd(&bed);
        let ids: Vec<_> = clients.iter().map(|client| bed.id(client)).collect();
        for (receiver, id) in ids.iter().enumerate() {
            let to = id.to_u64().to_string();
            clients[0].say(&json!({"type": "one", "to": to, "data": receiver}));
            let heard = only(&mut clients, &[receiver], "one");
            assert_eq!(heard[0]["data"], receiver);
        }
    });
}

#[test]
fn what_is_sent_to_a_connection_that_does_not_exist_goes_nowhere() {
    on_shards(|shards| {
        let bed = Bed::start(shards, senders);
        let mut clients = bed.client_on_each_shard();
        let gone: Vec<_> = bed.client_on_each_shard().iter().map(|gone| bed.id(gone)).collect();
        wait_until("they are gone", || {
            bed.handle.connections().wait().expect("an answer").len() == clients.len()
        });
        // Their places are taken by others.
        let mut others: Vec<_> = (0..4).map(|_| bed.client()).collect();
        for id in gone {
            clients[0].say(&json!({"type": "one", "to": id.to_u64().to_string()}));
        }
        for client in clients.iter_mut().chain(&mut others) {
            client.expect_nothing_more();
        }
    });
}

#[test]
fn a_shard_that_does_not_exist_has_no_connections() {
    on_shards(|shards| {
        let bed = Bed::start(shards, senders);
        let mut client = bed.client();
        for shard in [63, 64, 255] {
            for slot in [0, 1, ConnId::MAX_SLOTS - 1] {
                let id = ConnId::new(shard, slot, 0).to_u64().to_string();
                client.say(&json!({"type": "one", "to": id}));
            }
        }
        client.expect_nothing_more();
    });
}

#[test]
fn a_receiver_gets_direct_sends_and_publications_in_the_order_of_the_calls() {
    let bed = Bed::start(1, |builder| {
        builder.on("go", |conn, _| {
            conn.join("a")?;
            conn.join("b")?;
            for number in 0..50 {
                let data = Data::json(&number)?;
                match number % 4 {
                    0 => conn.to("a").emit("n", &data),
                    1 => conn.emit("n", &data),
                    2 => conn.to("b").emit("n", &data),
                    _ => conn.to_everyone().emit("n", &data),
                }
            }
            Ok(())
        })
    });
    let mut client = bed.client();
    client.say(&json!({"type": "go"}));
    for number in 0..50 {
        assert_eq!(client.hear_type("n")["data"], number);
    }
}

#[test]
fn members_of_two_dialects_get_the_same_publication_each_in_its_form() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| {
            builder.on_connect(|conn| conn.join("r")).on_binary(|conn, bytes| {
                conn.to("r").emit("bytes", Payload::Binary(bytes));
                Ok(())
            })
        });
        let mut envelopes = bed.client_on_each_shard();
        let mut raws = bed.raw_on_each_shard();
        let publish = |data: Data| bed.handle.publish("r", "news", data).expect("room for it");

        publish(Data::raw_json(r#"{"a": 1.0}"#).unwrap());
        publish(Data::text("plain \"text\""));
        publish(Data::absent());
        publish(Data::binary(&b"\x00\xFF"[..]));
        for client in &mut envelopes {
            let text = client.text();
            assert!(text.contains(r#""type":"news","room":"r","data":{"a": 1.0}"#), "{text}");
            assert_eq!(client.hear_type("news")["data"], "plain \"text\"");
            assert!(client.hear_type("news").get("data").is_none());
            assert_eq!(client.hear_type("news")["data"], "AP8=");
        }
        for client in &mut raws {
            assert_eq!(client.receive(), Message::text(r#"{"a": 1.0}"#));
            assert_eq!(client.receive(), Message::text("plain \"text\""));
            assert_eq!(client.receive(), Message::binary(&b"\x00\xFF"[..]));
        }

        raws[0].send(vec![1_u8]);
        envelopes[0].say(&json!({"type": "publish", "room": "r", "data": "hi"}));
        for client in &mut envelopes {
            let mut heard = [client.text(), client.text()];
            heard.sort();
            assert!(heard[0].contains(r#""type":"bytes","room":"r","data":"AQ==""#), "{heard:?}");
            assert!(heard[1].contains(r#""type":"message","room":"r","data":"hi""#), "{heard:?}");
        }
        for client in &mut raws {
            let heard = [client.receive(), client.receive()];
            // Publishers on two shards have no common order.
            assert!(heard.contains(&Message::binary(vec![1_u8])), "{heard:?}");
            assert!(heard.contains(&Message::text(r#""hi""#)), "{heard:?}");
        }
    });
}
