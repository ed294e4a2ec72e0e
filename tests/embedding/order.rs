//! What a client did on one connection is known when it is heard on another.

use serde_json::json;

use super::bed::Bed;
use crate::support::drivers::engine_drivers;

/// What one shard sent before its client was told of it comes before that client's
/// next bytes on another shard, however close the two are.
#[test]
fn what_was_sent_before_an_answer_comes_before_what_its_reader_does_next_elsewhere() {
    for driver in engine_drivers() {
        let bed = Bed::start(2, |builder| builder.driver(driver));
        let mut clients = bed.client_on_each_shard();
        let (mut there, mut here) = (clients.remove(1), clients.remove(0));
        here.subscribe("r");
        there.subscribe("r");
        for round in 0..3000 {
            there.say(&json!({"type": "publish", "room": "r", "data": round}));
            there.say(&json!({"type": "ping"}));
            assert_eq!(there.hear_type("message")["data"], round);
            there.hear_type("pong");
            here.say(&json!({"type": "ping"}));
            // `hear_type` takes the next event and no other.
            assert_eq!(here.hear_type("message")["data"], round);
            here.hear_type("pong");
        }
    }
}
