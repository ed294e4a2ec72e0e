//! Questions to the shards: blocking, asynchronous, and where they must not be
//! asked.

use std::sync::{Arc, OnceLock};

use serde_json::json;
use shardcast::{ConnInfo, Handle, Stats, dialect::Dialect, shard::QueryError};

use super::bed::{Bed, Journal, on_shards, within_guard};
use crate::support::{Client, wait_until};

fn ids(infos: &[ConnInfo]) -> Vec<String> {
    let mut ids: Vec<_> = infos.iter().map(|info| info.client_id.to_string()).collect();
    ids.sort();
    ids
}

fn names(clients: &[Client]) -> Vec<String> {
    let mut names: Vec<_> = clients.iter().map(|client| client.id().to_string()).collect();
    names.sort();
    names
}

/// All of the connections in `clients`, and no others.
fn settled(bed: &Bed, clients: &[Client]) {
    wait_until("only these are connected", || {
        bed.handle.connections().wait().expect("an answer").len() == clients.len()
    });
}

#[test]
fn rooms_and_their_members_are_known_over_all_shards() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        assert_eq!((bed.handle.room_count(), bed.handle.rooms()), (0, vec![]));
        let mut clients = bed.client_on_each_shard();
        for client in &mut clients {
            client.subscribe("all");
        }
        clients[0].subscribe("a single one");
        assert_eq!(bed.handle.room_count(), 2);
        let rooms = bed.handle.rooms();
        let rooms: Vec<_> = rooms.iter().map(|room| (&*room.name, room.members)).collect();
        assert_eq!(rooms, [("a single one", 1), ("all", shards)]);
        assert_eq!(bed.handle.member_count("all"), shards);
        assert_eq!(bed.handle.member_count("none"), 0);

        assert_eq!(ids(&bed.handle.members("all").wait().unwrap()), names(&clients));
        assert_eq!(ids(&bed.handle.members("a single one").wait().unwrap()), names(&clients[..1]));
        assert_eq!(bed.handle.members("none").wait(), Ok(vec![]));

        drop(clients);
        wait_until("the rooms are gone", || bed.handle.room_count() == 0);
    });
}

#[test]
fn connections_are_described_one_by_one_and_all_together() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder.on_connect(|conn| conn.set_user("alice")));
        let mut clients = bed.client_on_each_shard();
        settled(&bed, &clients);
        assert_eq!(ids(&bed.handle.connections().wait().unwrap()), names(&clients));
        for (shard, client) in clients.iter_mut().enumerate() {
            client.subscribe("b");
            client.subscribe("a");
            let id = bed.id(client);
            let info = bed.handle.connection(id).wait().unwrap().unwrap();
            assert_eq!((info.id, info.client_id), (id, client.id()));
            assert_eq!(usize::from(info.id.shard()), shard);
            assert_eq!(info.user.as_deref(), Some("alice"));
            assert_eq!(info.dialect, Dialect::Pubsub);
            assert!(info.peer.ip().is_loopback());
            assert!(info.accepted_ms > 1_600_000_000_000, "{}", info.accepted_ms);
            assert_eq!(info.rooms.iter().map(|room| &**room).collect::<Vec<_>>(), ["b", "a"]);
            assert!(info.metadata.is_empty());
        }
        let id = bed.id(&clients[0]);
        drop(clients);
        settled(&bed, &[]);
        assert_eq!(bed.handle.connection(id).wait(), Ok(None));
    });
}

#[test]
fn the_counters_of_all_shards_are_added_up() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut clients = bed.client_on_each_shard();
        settled(&bed, &clients);
        for client in &mut clients {
            client.subscribe("r");
        }
        let before = bed.handle.stats().wait().unwrap();
        let members = shards as u64;
        assert_eq!((before.connections, before.rooms), (members, 1));
        assert!(before.upgraded >= members && before.accepted == before.upgraded);
        clients[0].say(&json!({"type": "publish", "room": "r", "data": 1}));
        for client in &mut clients {
            client.hear_type("message");
        }
        let after = bed.handle.stats().wait().unwrap();
        assert_eq!(after.messages_received - before.messages_received, 1);
        assert_eq!(after.publications - before.publications, 1);
        assert_eq!(after.deliveries - before.deliveries, members);
        assert!(after.bytes_received > before.bytes_received);
        assert!(after.bytes_sent > before.bytes_sent);
        assert_eq!(
            (after.messages_dropped, after.protocol_errors, after.handler_panics),
            (0, 0, 0)
        );
    });
}

#[test]
fn answers_can_be_awaited_by_any_runtime() {
    on_shards(|shards| {
        let bed = Bed::start(shards, |builder| builder);
        let mut clients = bed.client_on_each_shard();
        settled(&bed, &clients);
        for client in &mut clients {
            client.subscribe("r");
        }
        let (handle, id) = (bed.handle.clone(), bed.id(&clients[0]));
        let answers = within_guard(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                // Both are on their way before either is awaited.
                let (all, members) = (handle.connections(), handle.members("r"));
                (all.await, members.await, handle.connection(id).await, handle.stats().await)
            })
        });
        let (all, members, one, stats) = answers.expect("answers");
        assert_eq!(ids(&all.unwrap()), names(&clients));
        assert_eq!(ids(&members.unwrap()), names(&clients));
        assert_eq!(one.unwrap().unwrap().id, id);
        assert_eq!(stats.unwrap().connections, shards as u64);
    });
}

/// Starts an engine with a handler that calls `ask` with its handle and sends the
/// client the outcome.
fn asking_in_a_handler(
    shards: usize,
    ask: impl Fn(&Handle) -> Result<Stats, QueryError> + Send + Sync + 'static,
) -> (Bed, Journal) {
    let slot = Arc::new(OnceLock::<Handle>::new());
    let inside = Arc::clone(&slot);
    let journal = Journal::default();
    let note = journal.clone();
    let bed = Bed::start(shards, |builder| {
        builder.on("ask", move |_, _| {
            let answer = ask(inside.get().expect("the test sets it"));
            note.note(format!("{:?}", answer.map(drop)));
            Ok(())
        })
    });
    slot.set(bed.handle.clone()).expect("set once");
    (bed, journal)
}

#[test]
fn waiting_in_a_handler_is_an_error_and_no_deadlock() {
    on_shards(|shards| {
        let (bed, journal) = asking_in_a_handler(shards, |handle| handle.stats().wait());
        let mut client = bed.client();
        client.say(&json!({"type": "ask"}));
        assert_eq!(journal.wait_for(1), ["Err(OnShardThread)"]);
        client.expect_nothing_more();
    });
}

#[test]
fn blocking_on_a_future_in_a_handler_is_an_error_and_no_deadlock() {
    let (bed, journal) = asking_in_a_handler(1, |handle| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(handle.stats().into_future())
    });
    let mut client = bed.client();
    client.say(&json!({"type": "ask"}));
    assert_eq!(journal.wait_for(1), ["Err(OnShardThread)"]);
    client.expect_nothing_more();
}

#[test]
fn what_needs_no_shard_is_answered_in_a_handler_too() {
    let slot = Arc::new(OnceLock::<Handle>::new());
    let inside = Arc::clone(&slot);
    let bed = Bed::start(2, |builder| {
        builder.on("count", move |conn, _| {
            let handle = inside.get().expect("the test sets it");
            let counts = [handle.member_count("r"), handle.room_count(), handle.rooms().len()];
            conn.emit("counts", &shardcast::Data::json(&counts)?);
            Ok(())
        })
    });
    slot.set(bed.handle.clone()).expect("set once");
    let mut client = bed.client();
    client.subscribe("r");
    client.say(&json!({"type": "count"}));
    assert_eq!(client.hear_type("counts")["data"], json!([1, 1, 1]));
}
