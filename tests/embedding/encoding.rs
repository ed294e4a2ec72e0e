//! A publication is encoded once per process and dialect, however many members
//! it has on however many shards.

use serde_json::json;
use shardcast::{Data, dialect::MESSAGE_EVENT, dialect::Payload};

use super::bed::Bed;
use crate::support::Client;

fn encoded(bed: &Bed) -> u64 {
    bed.handle.stats().wait().expect("an answer").frames_encoded
}

/// How many frames are encoded while `publish` publishes once and all of the
/// clients get it.
fn cost(bed: &Bed, clients: &mut [Client], publish: impl FnOnce(&mut [Client])) -> u64 {
    let before = encoded(bed);
    publish(clients);
    for client in clients {
        client.receive();
    }
    encoded(bed) - before
}

/// Publishes in every way there is; each must cost `frames`.
fn each_costs(bed: &Bed, clients: &mut [Client], frames: u64) {
    let data = || Data::text("x".repeat(100));
    let large = || Data::text("x".repeat(100_000));
    let publish = |data| bed.handle.publish("r", "e", data).unwrap();
    assert_eq!(cost(bed, clients, |_| publish(data())), frames, "by the handle");
    assert_eq!(cost(bed, clients, |_| publish(large())), frames, "large, by the handle");
    let all = |_: &mut [Client]| bed.handle.broadcast("e", data()).unwrap();
    assert_eq!(cost(bed, clients, all), frames, "broadcast by the handle");
    let user = |_: &mut [Client]| bed.handle.send_to_user("alice", "e", data()).unwrap();
    assert_eq!(cost(bed, clients, user), frames, "to a user by the handle");
    for message in [
        json!({"type": "publish", "room": "r", "data": "x"}),
        json!({"type": "publish", "room": "r", "data": "x".repeat(100_000)}),
        json!({"type": "broadcast", "data": "x"}),
        json!({"type": "relay", "data": "x"}),
    ] {
        // From a connection of each shard.
        for sender in 0..2 {
            let send = |clients: &mut [Client]| clients[sender].say(&message);
            assert_eq!(cost(bed, clients, send), frames, "{}", message["type"]);
        }
    }
}

fn start(shards: usize) -> Bed {
    Bed::start(shards, |builder| {
        builder
            .on_connect(|conn| {
                conn.set_user("alice")?;
                conn.join("r")
            })
            .on("relay", |conn, msg| {
                let data = msg.data().map(|data| Payload::Binary(data.as_bytes()));
                conn.to_user("alice").emit(MESSAGE_EVENT, data);
                Ok(())
            })
    })
}

#[test]
fn with_one_dialect_each_publication_is_encoded_once() {
    for shards in [1, 2, 3, 4] {
        let bed = start(shards);
        let mut clients = bed.client_on_each_shard();
        clients.extend((0..8).map(|_| bed.client()));
        each_costs(&bed, &mut clients, 1);
    }
}

#[test]
fn with_two_dialects_each_publication_is_encoded_twice() {
    for shards in [2, 4] {
        let bed = start(shards);
        let mut clients = bed.client_on_each_shard();
        clients.extend(bed.raw_on_each_shard());
        each_costs(&bed, &mut clients, 2);
    }
}

#[test]
fn what_is_for_nobody_is_not_encoded() {
    let bed = start(2);
    let mut clients = bed.client_on_each_shard();
    let nobody = |clients: &mut [Client]| {
        bed.handle.publish("empty", "e", Data::absent()).unwrap();
        bed.handle.send_to_user("bob", "e", Data::absent()).unwrap();
        // Something to receive.
        for client in clients {
            bed.handle.send(bed.id(client), "e", Data::absent()).unwrap();
        }
    };
    assert_eq!(cost(&bed, &mut clients, nobody), 0);
}
