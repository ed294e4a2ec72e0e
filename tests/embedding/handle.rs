//! What other threads of the embedding program do through the handle.

use std::{
    sync::{Arc, OnceLock, mpsc::sync_channel},
    thread,
};

use serde_json::json;
use shardcast::{
    ClientId, ConnId, Data, Engine, Handle, JoinError, Limits, dialect::Refusal, shard::SendError,
};

use super::bed::{Bed, Journal, join, on_shards, within_guard};
use crate::support::{Client, wait_until};

fn number(number: u32) -> Data {
    Data::json(&number).expect("a number is JSON")
}

#[test]
fn any_thread_publishes_broadcasts_and_sends() {
    on_shards(|shards| {
        let bed =
            Bed::start(shards, |builder| builder.on("login", |conn, _| conn.set_user("alice")));
        let mut clients = bed.client_on_each_shard();
        for client in &mut clients {
            client.subscribe("r");
            client.say(&json!({"type": "login"}));
            client.expect_nothing_more();
        }
        let ids: Vec<_> = clients.iter().map(|client| bed.id(client)).collect();
        let handle = bed.handle.clone();
        let sender = thread::spawn(move || {
            handle.publish("r", "published", number(1))?;
            handle.publish_keyed("r", "keyed", "k", number(2))?;
            handle.broadcast("broadcast", number(3))?;
            handle.send_to_user("alice", "user", number(4))?;
            ids.into_iter().try_for_each(|id| handle.send(id, "sent", number(5)))
        });
        sender.join().unwrap().unwrap();
        for client in &mut clients {
            let published = client.hear_type("published");
            assert_eq!((&published["room"], &published["data"]), (&json!("r"), &json!(1)));
            assert!(published.get("client_id").is_none(), "{published}");
            assert_eq!(client.hear_type("keyed")["data"], 2);
            assert_eq!(client.hear_type("broadcast")["data"], 3);
            assert_eq!(client.hear_type("user")["data"], 4);
            assert_eq!(client.hear_type("sent")["data"], 5);
            client.expect_nothing_more();
        }
    });
}

#[test]
fn one_thread_publishes_in_order_and_many_lose_nothing() {
    on_shards(|shards| {
        const THREADS: u32 = 4;
        const EACH: u32 = 250;
        let bed = Bed::start(shards, |builder| builder);
        let mut clients = bed.client_on_each_shard();
        for client in &mut clients {
            client.subscribe("r");
        }
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let handle = bed.handle.clone();
                scope.spawn(move || {
                    for count in 0..EACH {
                        handle.publish("r", &thread.to_string(), number(count)).unwrap();
                    }
                });
            }
        });
        for client in &mut clients {
            let mut next = [0; THREADS as usize];
            for _ in 0..THREADS * EACH {
                let message: serde_json::Value = serde_json::from_str(&client.text()).unwrap();
                let thread: usize = message["type"].as_str().unwrap().parse().unwrap();
                assert_eq!(message["data"], next[thread]);
                next[thread] += 1;
            }
            client.expect_nothing_more();
        }
    });
}

#[test]
fn what_a_handler_does_through_its_connection_and_a_handle_happens_in_that_order() {
    on_shards(|shards| {
        let slot = Arc::new(OnceLock::<Handle>::new());
        let inside = Arc::clone(&slot);
        let bed = Bed::start(shards, |builder| {
            builder.on("all", move |conn, _| {
                let handle = inside.get().expect("the test sets it");
                for round in 0..20 {
                    conn.to("r").emit("conn", &number(round * 2));
                    handle.publish("r", "handle", number(round * 2 + 1))?;
                }
                conn.emit("conn", &number(40));
                handle.send(conn.id(), "handle", number(41))?;
                conn.emit("conn", &number(42));
                Ok(())
            })
        });
        slot.set(bed.handle.clone()).expect("set once");
        let mut clients = bed.client_on_each_shard();
        for client in &mut clients {
            client.subscribe("r");
        }
        clients[0].say(&json!({"type": "all"}));
        for (index, client) in clients.iter_mut().enumerate() {
            let most = if index == 0 { 43 } else { 40 };
            for expected in 0..most {
                let message: serde_json::Value = serde_json::from_str(&client.text()).unwrap();
                assert_eq!(message["data"], expected, "{message}");
            }
            client.expect_nothing_more();
        }
    });
}

#[test]
fn any_thread_makes_members_and_ends_connections() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut clients = bed.client_on_each_shard();
        for client in &mut clients {
            bed.handle.join(bed.id(client), "r").unwrap();
        }
        wait_until("all are members", || bed.handle.member_count("r") == shards);
        bed.handle.publish("r", "in", Data::absent()).unwrap();
        for client in &mut clients {
            client.hear_type("in");
            bed.handle.leave(bed.id(client), "r").unwrap();
        }
        wait_until("nobody is a member", || bed.handle.member_count("r") == 0);
        bed.handle.publish("r", "out", Data::absent()).unwrap();
        for client in &mut clients {
            client.expect_nothing_more();
            let id = bed.id(client);
            bed.handle.send(id, "last words", Data::absent()).unwrap();
            bed.handle.close(id, 4321, "time to go").unwrap();
            client.hear_type("last words");
            assert_eq!(client.closed(), (4321, "time to go".to_owned()));
        }
    });
}

#[test]
fn what_one_thread_does_through_a_handle_happens_in_that_order_on_every_shard() {
    on_shards(|shards| {
        const ROUNDS: u32 = 1000;
        let bed = Bed::start(shards, |builder| builder);
        let mut clients = bed.client_on_each_shard();
        let ids: Vec<_> = clients.iter().map(|client| bed.id(client)).collect();
        for round in 0..ROUNDS {
            // All in turn, and after a while in rooms that others are in.
            let (id, room) = (ids[round as usize % shards], format!("r{}", round % 100));
            bed.handle.join(id, &room).unwrap();
            bed.handle.publish(&room, "in", number(round)).unwrap();
            bed.handle.leave(id, &room).unwrap();
            bed.handle.publish(&room, "out", number(round)).unwrap();
        }
        for (nth, client) in clients.iter_mut().enumerate() {
            for round in (0..ROUNDS).filter(|round| *round as usize % shards == nth) {
                assert_eq!(client.hear_type("in")["data"], round);
            }
            client.expect_nothing_more();
        }
        assert_eq!(bed.handle.room_count(), 0);
    });
}

#[test]
fn a_join_and_a_leave_can_be_waited_for() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut clients = bed.client_on_each_shard();
        for client in &mut clients {
            let (handle, id) = (bed.handle.clone(), bed.id(client));
            let done = within_guard(move || {
                handle.join(id, "r").unwrap().wait().unwrap();
                assert_eq!(handle.member_count("r"), 1);
                let refused = handle.join(id, "").unwrap().wait();
                assert_eq!(refused, Err(JoinError::Refused(Refusal::RoomRequired)));
                let runtime =
                    tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    assert_eq!(handle.leave(id, "r").unwrap().await, Ok(true));
                    assert_eq!(handle.leave(id, "r").unwrap().await, Ok(false));
                });
                assert_eq!(handle.room_count(), 0);
            });
            done.expect("all is answered");
            assert_eq!(client.hear_error(), "room name is required");
        }
    });
}

#[test]
fn a_join_through_the_handle_that_is_refused_is_told_to_the_client() {
    let bed = Bed::start(1, |builder| builder);
    let mut client = bed.client();
    bed.handle.join(bed.id(&client), "").unwrap();
    assert_eq!(client.hear_error(), "room name is required");
}

#[test]
fn an_id_from_the_wire_leads_to_its_connection() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        for client in &mut bed.client_on_each_shard() {
            client.subscribe("r");
            client.say(&json!({"type": "publish", "room": "r", "data": 1}));
            let wire = client.hear_type("message")["client_id"].as_str().unwrap().to_owned();
            let id = bed.handle.conn_id(wire.parse().unwrap()).unwrap();
            bed.handle.send(id, "you", Data::absent()).unwrap();
            client.hear_type("you");
            client.say(&json!({"type": "unsubscribe", "room": "r"}));
            client.hear_type("unsubscribed");
        }
    });
}

#[test]
fn an_identity_of_nobody_is_unknown_or_goes_nowhere() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut client = bed.client();
        let id = bed.id(&client);
        let elsewhere = ConnId::new(shards as u8, 0, 0);
        for id in [elsewhere, ConnId::new(255, 0, 0)] {
            assert_eq!(bed.handle.send(id, "x", Data::absent()), Err(SendError::Unknown));
            assert_eq!(bed.handle.close(id, 1000, ""), Err(SendError::Unknown));
            assert_eq!(bed.handle.join(id, "r").map(drop), Err(SendError::Unknown));
            assert_eq!(bed.handle.leave(id, "r").map(drop), Err(SendError::Unknown));
            assert_eq!(bed.handle.connection(id).wait(), Ok(None));
        }
        // Another process's.
        let foreign = ClientId::new(1, id);
        assert_eq!(bed.handle.conn_id(foreign), None);
        let other = Bed::start(shards, |builder| builder);
        assert_eq!(other.handle.conn_id(client.id()), None);

        // One that has been, or never was, in a place that another has now.
        for generation in [id.generation().wrapping_add(1), id.generation().wrapping_sub(1)] {
            let stale = ConnId::new(id.shard(), id.slot(), generation);
            bed.handle.send(stale, "x", Data::absent()).unwrap();
            bed.handle.join(stale, "r").unwrap();
            bed.handle.close(stale, 1000, "").unwrap();
            assert_eq!(bed.handle.connection(stale).wait(), Ok(None));
        }
        client.expect_nothing_more();
        assert_eq!(bed.handle.room_count(), 0);
    });
}

#[test]
fn a_publication_for_nobody_is_accepted() {
    let bed = Bed::start(2, |builder| builder);
    bed.handle.publish("nobody here", "x", Data::absent()).unwrap();
    bed.handle.send_to_user("nobody", "x", Data::absent()).unwrap();
    bed.handle.broadcast("x", Data::absent()).unwrap();
}

#[test]
fn a_handler_uses_the_handle_too() {
    on_shards(|shards| {
        let slot = Arc::new(OnceLock::<Handle>::new());
        let inside = Arc::clone(&slot);
        let bed = Bed::start(shards, |builder| {
            builder.on("tell all", move |conn, msg| {
                let handle = inside.get().expect("the test sets it");
                handle.broadcast("told", Data::json(&msg.parse::<u32>()?)?)?;
                handle.close(conn.id(), 4000, "thanks")?;
                Ok(())
            })
        });
        slot.set(bed.handle.clone()).expect("set once");
        let mut clients = bed.client_on_each_shard();
        let mut teller = bed.client();
        teller.say(&json!({"type": "tell all", "data": 9}));
        for client in clients.iter_mut().chain([&mut teller]) {
            assert_eq!(client.hear_type("told")["data"], 9);
        }
        assert_eq!(teller.closed(), (4000, "thanks".to_owned()));
    });
}

#[test]
fn the_handle_of_an_engine_that_does_not_run_yet_is_valid() {
    let engine = Engine::builder().listen("127.0.0.1:0").shards(2).pin(false).build().unwrap();
    let (handle, address) = (engine.handle(), engine.local_addr());
    handle.broadcast("early", Data::absent()).unwrap();
    assert_eq!((handle.room_count(), handle.rooms()), (0, Vec::new()));
    let query = handle.stats();
    let running = engine.start().unwrap();
    assert_eq!(within_guard(move || query.wait()).unwrap().unwrap().mails_received, 4);
    // It begins after the broadcast.
    let mut client = Client::connect(address);
    client.expect_nothing_more();
    drop(client);
    handle.shutdown();
    join(running);
}

#[test]
fn the_handle_of_an_engine_that_never_runs_does_not_hang() {
    let engine = Engine::builder().listen("127.0.0.1:0").shards(2).pin(false).build().unwrap();
    let handle = engine.handle();
    let query = handle.stats();
    drop(engine);
    assert!(within_guard(move || query.wait()).unwrap().is_err());
    assert_eq!(handle.broadcast("x", Data::absent()), Err(SendError::Ended));
    within_guard(move || handle.shutdown()).unwrap();
}

/// An engine of one shard to which handles may send one mail, and which stands still
/// in a handler until the returned sender is used.
fn held(journal: &Journal) -> (Bed, Client, std::sync::mpsc::SyncSender<()>) {
    let (release, gate) = sync_channel(1);
    let gate = std::sync::Mutex::new(gate);
    let entered = journal.clone();
    let bed = Bed::start(1, |builder| {
        let limits = Limits { handle_window_bytes: 1, ..Limits::default() };
        builder.limits(limits).on("hold", move |_, _| {
            entered.note("held");
            gate.lock().expect("one at a time").recv()?;
            Ok(())
        })
    });
    let mut client = bed.client();
    client.say(&json!({"type": "hold"}));
    journal.wait_for(1);
    (bed, client, release)
}

#[test]
fn a_full_window_makes_the_caller_busy_and_never_wait() {
    let (bed, mut client, release) = held(&Journal::default());
    bed.handle.broadcast("first", Data::absent()).unwrap();
    assert_eq!(bed.handle.broadcast("second", Data::absent()), Err(SendError::Busy));
    // Other mail has a window of its own.
    let id = bed.id(&client);
    bed.handle.leave(id, "r").unwrap();
    assert_eq!(bed.handle.close(id, 1000, ""), Err(SendError::Busy));
    let query = bed.handle.connections();
    assert!(within_guard(move || query.wait()).unwrap().is_err());
    release.send(()).unwrap();
    client.hear_type("first");
    let handle = bed.handle.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    within_guard(move || runtime.block_on(handle.ready())).unwrap();
    bed.handle.broadcast("third", Data::absent()).unwrap();
    client.hear_type("third");
}

#[test]
fn a_shutdown_waits_for_no_mailbox_and_gets_through_a_full_one() {
    let (bed, mut client, release) = held(&Journal::default());
    bed.handle.broadcast("first", Data::absent()).unwrap();
    let handle = bed.handle.clone();
    within_guard(move || handle.shutdown()).expect("it returns while the shard stands still");
    release.send(()).unwrap();
    client.hear_type("first");
    assert_eq!(client.closed().0, 1001);
}
