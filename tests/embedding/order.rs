//! What a client did on one connection is known when it is heard on another.

use std::sync::{Mutex, mpsc::channel};

use serde_json::json;
use shardcast::DriverKind;

use super::bed::Bed;
use crate::support::{Client, GUARD, drivers::engine_drivers};

/// Clients of two shards: two on the first, and one on the second.
fn clients(bed: &Bed) -> [Client; 3] {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    // That the kernel gives one shard this few has a chance of 100 in 2^100.
    for _ in 0..100 {
        let client = bed.client();
        if bed.id(&client).shard() == 0 { &mut first } else { &mut second }.push(client);
        if first.len() >= 2 && !second.is_empty() {
            break;
        }
    }
    let mut first = first.into_iter();
    let mut next = || first.next().expect("two clients on the first shard");
    [next(), next(), second.pop().expect("a client on the second shard")]
}

/// One shard is kept within its turn by a handler, while it has yet to read bytes of
/// which it knows. Then another shard sends it a message and tells its client, and only
/// then does that client send more to the first: the message comes before the answer.
///
/// On a driver that reads when it lends, a shard that looks into its mailbox once a turn
/// fails this each time.
fn order_across_shards(driver: DriverKind) {
    let (entered, has_entered) = channel();
    let (go, may_go) = channel();
    let may_go = Mutex::new(may_go);
    let bed = Bed::start(2, |builder| {
        builder.driver(driver).on("hold", move |_, _| {
            entered.send(())?;
            may_go.lock().expect("no panic").recv()?;
            Ok(())
        })
    });
    let [mut holder, mut here, mut there] = clients(&bed);
    here.subscribe("r");
    there.subscribe("r");
    for round in 0..20 {
        holder.say(&json!({"type": "hold"}));
        has_entered.recv_timeout(GUARD).expect("a first call");
        // Both wait for the next turn, in this order.
        holder.say(&json!({"type": "hold"}));
        here.say(&json!({"type": "ping"}));
        go.send(()).expect("a handler");
        has_entered.recv_timeout(GUARD).expect("a second call");
        there.say(&json!({"type": "publish", "room": "r", "data": round}));
        there.say(&json!({"type": "ping"}));
        assert_eq!(there.hear_type("message")["data"], round);
        there.hear_type("pong");
        here.say(&json!({"type": "ping"}));
        go.send(()).expect("a handler");
        // The first ping may be answered before it, the second may not.
        let types = [here.hear(), here.hear(), here.hear()].map(|event| event["type"].clone());
        assert_eq!(types[2], "pong", "{types:?} in round {round}");
        assert!(types.contains(&json!("message")), "{types:?} in round {round}");
    }
}

#[test]
fn what_was_sent_before_an_answer_comes_before_what_its_reader_does_next_elsewhere() {
    engine_drivers().into_iter().for_each(order_across_shards);
}
