//! How an engine ends, and what is left of it.

use std::{
    io::Read,
    net::TcpStream,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde_json::json;
use shardcast::{
    Data, Engine, Handle, Limits,
    shard::{Query, QueryError, SendError},
};

use super::bed::{Bed, on_shards, within_guard};
use crate::support::{Client, wait_until};

const SHUTDOWN: (u16, &str) = (1001, "server is shutting down");

fn told(client: &mut Client) {
    let (code, reason) = client.closed();
    assert_eq!((code, &*reason), SHUTDOWN);
}

#[test]
fn every_client_gets_what_waits_for_it_and_then_1001() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut clients = bed.client_on_each_shard();
        clients.extend((0..20).map(|_| bed.client()));
        for client in &mut clients {
            client.subscribe("r");
        }
        for number in 0..10 {
            bed.handle.publish("r", "n", Data::json(&number).unwrap()).unwrap();
        }
        bed.handle.shutdown();
        for client in &mut clients {
            for number in 0..10 {
                assert_eq!(client.hear_type("n")["data"], number);
            }
            told(client);
        }
        bed.stop();
    });
}

#[test]
fn run_returns_when_it_is_told_to() {
    let engine = Engine::builder().listen("127.0.0.1:0").shards(2).pin(false).build().unwrap();
    let (handle, address) = (engine.handle(), engine.local_addr());
    let running = std::thread::spawn(move || engine.run());
    let mut client = Client::connect(address);
    handle.shutdown();
    told(&mut client);
    within_guard(move || running.join()).unwrap().unwrap().unwrap();
}

#[test]
fn shutting_down_twice_is_the_same_as_once() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut client = bed.client();
        bed.handle.shutdown();
        bed.handle.shutdown();
        told(&mut client);
        let handle = bed.handle.clone();
        bed.stop();
        within_guard(move || handle.shutdown()).unwrap();
    });
}

#[test]
fn an_engine_without_connections_ends_at_once() {
    on_shards(|shards| Bed::start(shards, |builder| builder).stop());
}

#[test]
fn a_handler_may_shut_the_engine_down() {
    on_shards(|shards| {
        let slot = Arc::new(OnceLock::<Handle>::new());
        let inside = Arc::clone(&slot);
        let bed = Bed::start(shards, |builder| {
            builder.on("stop", move |_, _| {
                inside.get().expect("the test sets it").shutdown();
                Ok(())
            })
        });
        slot.set(bed.handle.clone()).expect("set once");
        let mut clients = bed.client_on_each_shard();
        clients[0].say(&json!({"type": "stop"}));
        clients.iter_mut().for_each(told);
    });
}

#[test]
fn a_shutdown_by_a_handler_while_handles_may_send_no_more_does_not_hang() {
    let slot = Arc::new(OnceLock::<Handle>::new());
    let inside = Arc::clone(&slot);
    let bed = Bed::start(1, |builder| {
        let limits = Limits { handle_window_bytes: 1, ..Limits::default() };
        builder.limits(limits).on("stop", move |_, _| {
            let handle = inside.get().expect("the test sets it");
            handle.broadcast("last", Data::absent())?;
            handle.shutdown();
            Ok(())
        })
    });
    slot.set(bed.handle.clone()).expect("set once");
    let mut client = bed.client();
    client.say(&json!({"type": "stop"}));
    client.hear_type("last");
    told(&mut client);
}

#[test]
fn a_client_that_does_not_answer_is_given_up() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| {
            let close_timeout = Duration::from_millis(100);
            builder.limits(Limits { close_timeout, ..Limits::default() })
        });
        let silent: Vec<_> = (0..4).map(|_| bed.client().into_stream()).collect();
        bed.stop();
        for mut stream in silent {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert_eq!(rest[..2], [0x88, 2 + SHUTDOWN.1.len() as u8], "{}", rest.escape_ascii());
        }
    });
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    let bed = Bed::start(1, |builder| {
        let drain_timeout = Duration::from_millis(100);
        let close_timeout = Duration::from_hours(1);
        builder.limits(Limits { drain_timeout, close_timeout, ..Limits::default() })
    });
    let _silent = bed.client().into_stream();
    bed.stop();
}

#[test]
fn nobody_is_let_in_after_a_shutdown() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let (address, handle) = (bed.address, bed.handle.clone());
        // It keeps the engine alive until it has answered.
        let mut last = bed.client();
        handle.shutdown();
        wait_until("new connections are refused", || match TcpStream::connect(address) {
            Err(_) => true,
            Ok(mut stream) => {
                stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                matches!(stream.read(&mut [0]), Ok(0))
            }
        });
        told(&mut last);
    });
}

#[test]
fn after_the_end_everything_is_answered_and_nothing_hangs() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut client = bed.client();
        client.subscribe("r");
        let (handle, id, name) = (bed.handle.clone(), bed.id(&client), client.id());
        client.close();
        bed.stop();
        assert_eq!(handle.send(id, "x", Data::absent()), Err(SendError::Ended));
        assert_eq!(handle.broadcast("x", Data::absent()), Err(SendError::Ended));
        assert_eq!(handle.close(id, 1000, ""), Err(SendError::Ended));
        assert_eq!(handle.join(id, "r").map(drop), Err(SendError::Ended));
        assert_eq!(handle.leave(id, "r").map(drop), Err(SendError::Ended));
        assert_eq!(handle.conn_id(name), Some(id));
        assert_eq!((handle.room_count(), handle.member_count("r")), (0, 0));
        let answers = within_guard(move || {
            let one = handle.connection(id).wait().map(drop);
            let all = handle.connections().wait().map(drop);
            let stats = handle.stats().wait().map(drop);
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let awaited = runtime.block_on(handle.stats().into_future()).map(drop);
            [one, all, stats, awaited]
        });
        assert_eq!(answers, Some([Err(QueryError::Unanswered); 4]));
    });
}

#[test]
fn a_publication_after_the_end_is_told_so() {
    let bed = Bed::start(1, |builder| builder);
    let handle = bed.handle.clone();
    bed.stop();
    assert_eq!(handle.publish("r", "x", Data::absent()), Err(SendError::Ended));
    assert_eq!(handle.send_to_user("alice", "x", Data::absent()), Err(SendError::Ended));
}

#[test]
fn questions_that_are_on_their_way_at_the_end_are_answered_or_refused() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let client = bed.client();
        bed.handle.shutdown();
        let queries: Vec<_> = (0..100).map(|_| bed.handle.connections()).collect();
        client.close();
        bed.stop();
        let wait = move || queries.into_iter().map(Query::wait).collect::<Vec<_>>();
        assert_eq!(within_guard(wait).map(|answers| answers.len()), Some(100));
    });
}

#[test]
fn a_question_asked_while_the_engine_ends_is_answered_or_refused() {
    // Whether a query comes between a shard's last look at its mailbox and its
    // end is a matter of luck, which is tried often enough.
    for _ in 0..50 {
        let bed = Bed::start(1, |builder| builder);
        let handle = bed.handle.clone();
        let asker = std::thread::spawn(move || while handle.connections().wait().is_ok() {});
        bed.stop();
        within_guard(move || asker.join()).expect("no query without an answer").unwrap();
    }
}
