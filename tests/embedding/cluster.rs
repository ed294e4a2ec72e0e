//! Two engines of one process behave as one: a relay whose broker is the memory that they
//! share. What the relay promises beyond that is tested with real servers.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use serde_json::json;
use shardcast::{
    ClientId, Data,
    relay::{
        memory::{MemoryBroker, MemoryRelay},
        node::NodeSettings,
    },
    shard::SendError,
};

use super::bed::{Bed, on_shards};
use crate::support::{Client, wait_until};

/// Two engines with a handler that logs in by `data`, and one that speaks to the others.
fn two(shards: usize) -> [Bed; 2] {
    let broker = MemoryBroker::new();
    [0, 1].map(|_| {
        let relay = MemoryRelay::with_broker(NodeSettings::default(), &broker);
        Bed::start(shards, |builder| {
            builder
                .relay(relay)
                .on("login", |conn, message| {
                    let user: String = message.parse()?;
                    conn.set_user(&user)
                })
                .on("others", |conn, message| {
                    conn.to("r").except_self().emit("others", message.data());
                    Ok(())
                })
        })
    })
}

/// What a connection asks of the relay is done in order: when it is told of a subscription
/// that comes behind, its user is known to all nodes.
fn login(client: &mut Client, user: &str) {
    client.say(&json!({"type": "login", "data": user}));
    client.subscribe(&format!("known to be {user}"));
}

/// A client on each engine, members of `r`, who have heard of each other.
fn members(beds: &[Bed; 2]) -> [Client; 2] {
    let mut clients = beds.each_ref().map(|bed| bed.client_on_each_shard().remove(0));
    for client in &mut clients {
        client.subscribe("r");
    }
    clients
}

#[test]
fn what_is_published_on_one_node_is_heard_on_all_in_order_and_once() {
    on_shards(|shards| {
        let beds = two(shards);
        let [mut here, mut there] = members(&beds);
        for number in 0..300 {
            here.publish("r", &json!(number));
            here.say(&json!({"type": "broadcast", "data": number}));
        }
        for client in [&mut here, &mut there] {
            for number in 0..300 {
                // A room and everyone are two channels: each keeps its own order.
                let mut heard = [client.hear_type("message"), client.hear_type("message")];
                heard.sort_by_key(|message| message["room"].is_null());
                assert_eq!((&heard[0]["room"], &heard[0]["data"]), (&json!("r"), &json!(number)));
                assert_eq!(heard[1]["data"], number);
                assert!(heard[0]["client_id"].is_string());
            }
            client.expect_nothing_more();
        }
    });
}

#[test]
fn a_sender_that_leaves_itself_out_is_left_out_on_its_node_alone() {
    on_shards(|shards| {
        let beds = two(shards);
        let [mut here, mut there] = members(&beds);
        here.say(&json!({"type": "others", "data": "hi"}));
        assert_eq!(there.hear_type("others")["data"], "hi");
        there.say(&json!({"type": "others", "data": "ho"}));
        assert_eq!(here.hear_type("others")["data"], "ho");
    });
}

#[test]
fn users_and_clients_are_reached_on_whichever_node_they_are() {
    on_shards(|shards| {
        let beds = two(shards);
        let [mut here, mut there] = members(&beds);
        login(&mut here, "alice");
        login(&mut there, "alice");
        let handle = &beds[0].handle;
        let text = || Data::text("hello");
        handle.send_to_user("alice", "dm", text()).expect("it is sent");
        assert_eq!((&here.hear()["type"], &there.hear()["type"]), (&json!("dm"), &json!("dm")));
        handle.send_to_client(there.id(), "one", text()).expect("it is sent");
        assert_eq!(there.hear_type("one")["data"], "hello");
        handle.join_user("alice", "club").expect("it is sent");
        for (bed, client) in beds.iter().zip([&mut here, &mut there]) {
            wait_until("the user is a member", || bed.handle.member_count("club") == 1);
            client.expect_nothing_more();
        }
        handle.leave_client(there.id(), "club").expect("it is sent");
        wait_until("it is none", || beds[1].handle.member_count("club") == 0);
        handle.close_client(there.id(), 4001, "go").expect("it is sent");
        assert_eq!(there.expect_close(4001), "go");
        beds[1].handle.close_user("alice", 4002, "you too").expect("it is sent");
        assert_eq!(here.expect_close(4002), "you too");
    });
}

#[test]
fn all_nodes_answer_who_is_in_a_room() {
    on_shards(|shards| {
        let beds = two(shards);
        let [here, there] = members(&beds);
        let count = |bed: &Bed| {
            let answer = block_on(bed.handle.cluster_member_count("r")).expect("an answer");
            (answer.count, answer.nodes, answer.missing)
        };
        for bed in &beds {
            wait_until("each node knows the other", || count(bed) == (2, 2, 0));
        }
        let answer = block_on(beds[1].handle.cluster_members("r", 10)).expect("an answer");
        let mut clients: Vec<ClientId> = answer.members.iter().map(|one| one.client).collect();
        clients.sort_unstable();
        let mut expected = vec![here.id(), there.id()];
        expected.sort_unstable();
        assert_eq!(clients, expected);
    });
}

#[test]
fn without_a_relay_the_connections_of_this_process_are_all_there_are() {
    let bed = Bed::start(2, |builder| builder);
    let mut client = Client::connect(bed.address);
    client.subscribe("r");
    let answer = block_on(bed.handle.cluster_members("r", 10)).expect("an answer");
    assert_eq!((answer.count, answer.nodes, answer.members[0].client), (1, 1, client.id()));
    bed.handle.send_to_client(client.id(), "one", Data::absent()).expect("it is sent");
    client.hear_type("one");
    let foreign = ClientId::new(7, bed.id(&client));
    assert_eq!(bed.handle.close_client(foreign, 4000, ""), Err(SendError::Unknown));
    client.expect_nothing_more();
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}
