//! Rooms with history and presence on one node: positions, recovery, acknowledgements,
//! who is there. The same over several nodes is tested with real Redis servers.

use std::{env, fs, process, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Client, Server, drivers::Bed, on_every_driver};

const FLAGS: [&str; 4] = ["--history", "hist:*=1000,5m", "--presence", "pres:*"];

/// Becomes a member; the position that it is told.
fn subscribed(client: &mut Client, room: &str) -> Value {
    client.say(&json!({"type": "subscribe", "room": room}));
    client.hear_type("subscribed")["data"].clone()
}

/// Comes back with what it has seen; what it is told.
fn recover(client: &mut Client, room: &str, epoch: &Value, offset: u64) -> Value {
    let recover = json!({"epoch": epoch, "offset": offset});
    client.say(&json!({"type": "subscribe", "room": room, "recover": recover}));
    client.hear_type("subscribed")["data"].clone()
}

fn hear_offset(client: &mut Client) -> (u64, Value) {
    let message = client.hear_type("message");
    (message["offset"].as_u64().expect("an offset"), message["data"].clone())
}

#[test]
fn who_comes_back_gets_exactly_what_it_missed_and_then_what_comes() {
    on_every_driver(|bed| {
        let server = bed.server(&FLAGS);
        let mut publisher = Client::connect(server.address());
        let first = subscribed(&mut publisher, "hist:a");
        assert_eq!((&first["offset"], &first["recovered"]), (&json!(0), &Value::Null));
        for number in 1..=10 {
            publisher.publish("hist:a", &json!(number));
            assert_eq!(hear_offset(&mut publisher), (number, json!(number)));
        }
        let mut back = Client::connect(server.address());
        let told = recover(&mut back, "hist:a", &first["epoch"], 4);
        assert_eq!((&told["offset"], &told["recovered"]), (&json!(10), &json!(true)));
        assert_eq!(told["epoch"], first["epoch"]);
        for number in 5..=10 {
            assert_eq!(hear_offset(&mut back), (number, json!(number)));
        }
        publisher.publish("hist:a", &json!("live"));
        assert_eq!(hear_offset(&mut back), (11, json!("live")));
        back.expect_nothing_more();
    });
}

#[test]
fn what_cannot_be_recovered_is_said_plainly() {
    on_every_driver(|bed| {
        let server = bed.server(&["--history", "hist:*=3,5m"]);
        let mut publisher = Client::connect(server.address());
        let epoch = subscribed(&mut publisher, "hist:a")["epoch"].clone();
        for number in 1..=5 {
            publisher.publish("hist:a", &json!(number));
            hear_offset(&mut publisher);
        }
        let other = json!("00000000000000ff");
        for (epoch, offset) in [(&other, 4), (&epoch, 6), (&epoch, 1)] {
            let mut back = Client::connect(server.address());
            let told = recover(&mut back, "hist:a", epoch, offset);
            assert_eq!((&told["recovered"], &told["offset"]), (&json!(false), &json!(5)));
            back.expect_nothing_more();
        }
        // The oldest that is kept is the next that it lacks.
        let mut back = Client::connect(server.address());
        assert_eq!(recover(&mut back, "hist:a", &epoch, 2)["recovered"], true);
        for number in 3..=5 {
            assert_eq!(hear_offset(&mut back), (number, json!(number)));
        }
        // A room without history says so too.
        assert_eq!(recover(&mut back, "plain", &epoch, 2)["recovered"], false);
    });
}

#[test]
fn all_members_on_all_shards_hear_one_order() {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 50;
    on_every_driver(|bed| {
        let server = bed.server(&FLAGS);
        let connect = |_| Client::connect(server.address());
        let mut clients: Vec<_> = (0..CLIENTS).map(connect).collect();
        for client in &mut clients {
            subscribed(client, "hist:all");
        }
        let listen = |mut client: Client| {
            (0..EACH).for_each(|number| client.publish("hist:all", &json!(number)));
            (0..CLIENTS * EACH).map(|_| client.hear_type("message")).collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            clients.into_iter().map(|client| thread::spawn(move || listen(client))).collect();
        let heard: Vec<_> = threads.into_iter().map(|one| one.join().expect("a client")).collect();
        for (index, message) in heard[0].iter().enumerate() {
            assert_eq!(message["offset"], index as u64 + 1);
        }
        let order = |heard: &[Value]| {
            let of = |one: &Value| (one["client_id"].clone(), one["data"].clone());
            heard.iter().map(of).collect::<Vec<_>>()
        };
        assert!(heard.iter().all(|other| order(other) == order(&heard[0])));
    });
}

#[test]
fn a_publication_with_an_id_is_acknowledged_and_its_repeat_harmless() {
    on_every_driver(|bed| {
        let server = bed.server(&FLAGS);
        let mut client = Client::connect(server.address());
        for (room, offset) in [("plain", Value::Null), ("hist:b", json!(1))] {
            subscribed(&mut client, room);
            let publish = json!({"type": "publish", "room": room, "data": 1, "id": "x-1"});
            client.say(&publish);
            let mut heard = [client.hear(), client.hear()];
            heard.sort_by_key(|message| message["type"].to_string());
            let [ack, message] = &heard;
            assert_eq!((&ack["type"], &ack["id"]), (&json!("ack"), &json!("x-1")));
            assert_eq!((&ack["offset"], &message["offset"]), (&offset, &offset));
            client.say(&publish);
            let ack = client.hear_type("ack");
            assert_eq!((&ack["id"], &ack["repeated"]), (&json!("x-1"), &json!(true)));
            assert_eq!(ack["offset"], offset);
            client.expect_nothing_more();
        }
        client.say(&json!({"type": "publish", "room": "elsewhere", "data": 1, "id": 7}));
        let error = client.hear_type("error");
        assert_eq!(
            (&error["id"], &error["error"]),
            (&json!(7), &json!("not subscribed to this room"))
        );
    });
}

#[test]
fn a_long_id_is_repeated_by_another_connection_and_a_short_one_is_its_own() {
    on_every_driver(|bed| {
        let server = bed.server(&FLAGS);
        let mut listener = Client::connect(server.address());
        for room in ["plain", "hist:c"] {
            subscribed(&mut listener, room);
            for (id, heard) in [("0191e1a0-7c4e-7f3a-8000-000000000001", 1), ("1", 2)] {
                for repeat in [false, true] {
                    let mut client = Client::connect(server.address());
                    subscribed(&mut client, room);
                    client.say(&json!({"type": "publish", "room": room, "data": id, "id": id}));
                    let ack = loop {
                        let message = client.hear();
                        if message["type"] == "ack" {
                            break message;
                        }
                    };
                    assert_eq!(ack["repeated"] == true, repeat && heard == 1, "{ack}");
                }
                (0..heard).for_each(|_| assert_eq!(listener.hear_type("message")["data"], id));
                listener.expect_nothing_more();
            }
        }
    });
}

#[test]
fn a_server_without_history_acknowledges_too() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = Client::connect(server.address());
        client.say(&json!({"type": "broadcast", "data": 1, "id": 12}));
        client.hear_type("message");
        assert_eq!(client.hear_type("ack")["id"], 12);
        client.say(&json!({"type": "broadcast", "data": 1, "id": 12}));
        assert_eq!(client.hear_type("ack")["repeated"], true);
        client.expect_nothing_more();
    });
}

#[test]
fn presence_tells_who_comes_who_goes_and_who_is_there() {
    on_every_driver(|bed| {
        let server = bed.server(&FLAGS);
        let mut alice = Client::connect(server.address());
        alice.subscribe("pres:a");
        let id = json!(alice.id().to_string());
        assert_eq!(alice.hear_type("presence_join")["data"]["client_id"], id);
        let mut bob = Client::connect(server.address());
        bob.subscribe("pres:a");
        let bobs = json!(bob.id().to_string());
        assert_eq!(alice.hear_type("presence_join")["data"]["client_id"], bobs);
        alice.say(&json!({"type": "presence", "room": "pres:a"}));
        let list = alice.hear_type("presence");
        assert_eq!(list["data"]["count"], 2, "{list}");
        let mut members: Vec<_> = list["data"]["members"].as_array().expect("a list").clone();
        members.sort_by_key(|one| one["client_id"].to_string());
        let mut expected = [json!({"client_id": id}), json!({"client_id": bobs})];
        expected.sort_by_key(|one| one["client_id"].to_string());
        assert_eq!(members, expected);
        drop(bob);
        assert_eq!(alice.hear_type("presence_leave")["data"]["client_id"], bobs);
        alice.subscribe("plain");
        alice.say(&json!({"type": "presence", "room": "plain"}));
        assert_eq!(alice.hear_error(), "presence is not enabled for this room");
    });
}

#[test]
fn a_history_in_a_file_survives_a_restart() {
    let path = env::temp_dir().join(format!("shardcast-history-{}", process::id()));
    let text = path.to_str().expect("a path").to_owned();
    let flags = ["--history", "hist:*=1000,5m", "--history-file", &text];
    let bed = Bed { driver: "epoll", shards: 2 };
    let epoch = {
        let mut server = bed.server(&flags);
        let mut client = Client::connect(server.address());
        let epoch = subscribed(&mut client, "hist:f")["epoch"].clone();
        for number in 1..=20 {
            client.publish("hist:f", &json!(number));
            hear_offset(&mut client);
        }
        server.signal(Signal::TERM);
        client.expect_close(1001);
        assert!(server.exit_status().success());
        epoch
    };
    let server: Server = bed.server(&flags);
    let mut client = Client::connect(server.address());
    let told = recover(&mut client, "hist:f", &epoch, 15);
    assert_eq!((&told["recovered"], &told["offset"]), (&json!(true), &json!(20)));
    for number in 16..=20 {
        assert_eq!(hear_offset(&mut client), (number, json!(number)));
    }
    drop(server);
    fs::remove_file(path).expect("the file of the history");
}

#[test]
fn ready_says_what_the_relay_counts() {
    let server = Server::start(&FLAGS);
    let ready = server.get("/ready");
    assert_eq!(ready["status"], "ready", "{ready}");
    assert!(ready["relay"]["dropped"].is_u64(), "{ready}");
}
