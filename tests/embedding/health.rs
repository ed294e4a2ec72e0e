//! Whether an engine is well, as seen from outside its shards.

use std::{
    sync::{Mutex, mpsc::channel},
    time::Duration,
};

use shardcast::Engine;

use crate::support::{Client, drivers::engine_drivers, wait_until};

#[test]
fn only_a_shard_that_hangs_in_a_handler_is_stalled_and_only_until_it_returns() {
    for driver in engine_drivers() {
        let (entered, has_entered) = channel();
        let (go, may_go) = channel();
        let may_go = Mutex::new(may_go);
        let engine = Engine::builder()
            .listen("127.0.0.1:0")
            .driver(driver)
            .shards(2)
            .pin(false)
            .on_text(move |conn, _| {
                entered.send(conn.id().shard()).expect("a test");
                may_go.lock().expect("no panic").recv().expect("a test");
                conn.send_text("done");
                Ok(())
            })
            .build()
            .expect("an engine");
        let address = engine.local_addr();
        let running = engine.start().expect("threads");
        let check = running.health_check();
        let mut client = Client::open(address, "/ws/raw");
        assert_eq!((check.check().connections, check.check().stalled), (1, None));
        client.send("work");
        let shard = has_entered.recv().expect("a handler");
        wait_until("the shard is stalled", || check.check().stalled.is_some());
        let (stalled, overdue) = check.check().stalled.expect("a stalled shard");
        assert_eq!(stalled, usize::from(shard));
        assert!(overdue > Duration::from_secs(1), "{overdue:?}");
        go.send(()).expect("a handler");
        assert_eq!(client.text(), "done");
        // The other one, which has slept for as long, never was.
        wait_until("the shard turns again", || check.check().stalled.is_none());
        running.handle().shutdown();
        drop(client);
        running.join().expect("an end in order");
    }
}
