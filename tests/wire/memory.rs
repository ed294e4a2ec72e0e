//! Memory after a burst: what clients that are gone made the server use, it gives back.

use std::time::Duration;

use serde_json::json;
use shardcast::proto::frame::Opcode;

use crate::support::{
    Client, RawClient, allow_many_sockets, masked, on_every_driver_alone, wait_at_most, wait_until,
};

const MIB: u64 = 1024 * 1024;
/// How far above its idle size a server may stay.
const LASTING_BYTES: u64 = 64 * MIB;
/// How long it may take to return there. What it promises is half of that.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn memory_comes_back_after_a_burst() {
    allow_many_sockets();
    on_every_driver_alone(|bed| {
        let limits = ["--max-message-size", "1048576", "--queue-bytes", "67108864"];
        let server = bed.server(&[&limits[..], &["--write-timeout", "60s"]].concat());
        let idle = server.resident_bytes();
        // Messages that are never finished, and publications that are never read.
        let unfinished = masked(false, Opcode::Binary, &vec![0; 1_000_000]);
        let talkers: Vec<_> = (0..200)
            .map(|_| {
                let mut talker = RawClient::open(server.address(), "/ws/raw");
                talker.send(&unfinished);
                talker
            })
            .collect();
        let mut stalled = RawClient::connect_narrow(server.address()).greeted();
        stalled.subscribe("busy");
        let mut publisher = Client::connect(server.address());
        publisher.subscribe("busy");
        let data = json!("x".repeat(100_000));
        for _ in 0..300 {
            publisher.publish("busy", &data);
            publisher.hear_type("message");
        }
        // Far above what may stay: without this the test could not fail.
        wait_until("the burst is in memory", || server.resident_bytes() > idle + 2 * LASTING_BYTES);
        drop((talkers, stalled, publisher));
        server.wait_for_clients(0);
        wait_at_most(LIMIT, "the server is within 64 MiB of its idle size", || {
            server.resident_bytes() <= idle + LASTING_BYTES
        });
    });
}
