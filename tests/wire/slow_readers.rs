//! Readers that are slower than what they are sent: bounded memory, each policy
//! as promised, and nobody else waits for them.

use serde_json::json;
use tungstenite::Message;

use crate::support::{
    Bed, Client, RawClient, Server, close_reason, masked, on_every_driver, on_every_driver_alone,
};
use shardcast::proto::frame::Opcode;

const MIB: u64 = 1024 * 1024;
/// Bytes of padding in each publication.
const PADDING: usize = 16 * 1024;
/// Together 32 MiB: more than the kernel takes for a socket that nobody reads.
const PUBLICATIONS: usize = 2048;

/// A server, a member that does not read, and one that does and publishes.
struct Scene {
    server: Server,
    slow: RawClient,
    publisher: Client,
}

impl Scene {
    fn new(bed: Bed, flags: &[&str]) -> Self {
        let server = bed.server(&[&["--queue-bytes", "65536"], flags].concat());
        let mut slow = RawClient::connect_narrow(server.address()).greeted();
        slow.subscribe("busy");
        let mut publisher = Client::connect(server.address());
        publisher.subscribe("busy");
        Self { server, slow, publisher }
    }

    /// Publishes numbers `from..` and hears each of them.
    fn publish(&mut self, numbers: std::ops::Range<usize>) {
        let padding = "x".repeat(PADDING);
        for number in numbers {
            self.publisher.publish("busy", &json!({"number": number, "padding": padding}));
            assert_eq!(self.publisher.hear()["data"]["number"], number);
        }
    }

    /// What the slow member hears up to and including `last`.
    fn slow_numbers(&mut self, last: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            numbers.push(self.slow.hear()["data"]["number"].as_u64().expect("a number"));
        }
        numbers
    }
}

#[test]
fn a_reader_that_never_reads_is_closed_in_bounded_memory_and_others_hear_all() {
    on_every_driver(|bed| {
        let mut scene = Scene::new(bed, &["--close-timeout", "200ms", "--write-timeout", "5s"]);
        let before = scene.server.resident_bytes();
        scene.publish(0..PUBLICATIONS);
        let grown = scene.server.resident_bytes().saturating_sub(before);
        assert!(grown < 12 * MIB, "{grown} bytes kept for a reader that never reads");
        scene.server.wait_for_clients(1);
        scene.publisher.expect_nothing_more();
    });
}

#[test]
fn a_reader_that_is_too_slow_is_told_1013_behind_an_unbroken_beginning() {
    on_every_driver(|bed| {
        let mut scene = Scene::new(bed, &["--write-timeout", "20s", "--close-timeout", "20s"]);
        scene.publish(0..PUBLICATIONS);
        let mut heard = 0;
        loop {
            let frame = scene.slow.read_frame();
            if frame.opcode == Opcode::Close {
                close_reason(&frame, 1013);
                break;
            }
            let message: serde_json::Value = serde_json::from_slice(&frame.payload).expect("JSON");
            assert_eq!(message["data"]["number"], heard);
            heard += 1;
        }
        assert!((1..PUBLICATIONS).contains(&heard), "{heard}");
        scene.slow.expect_end();
    });
}

#[test]
fn a_reader_that_takes_no_batch_in_time_is_dropped() {
    on_every_driver(|bed| {
        // It loses messages instead of its connection, but only so long.
        let mut scene =
            Scene::new(bed, &["--slow-policy", "drop-oldest", "--write-timeout", "300ms"]);
        scene.publish(0..PUBLICATIONS);
        scene.server.wait_for_clients(1);
        while scene.slow.next_frame().is_some_and(|frame| frame.opcode == Opcode::Text) {}
        scene.publisher.expect_nothing_more();
    });
}

#[test]
fn with_drop_oldest_a_slow_reader_hears_the_newest() {
    on_every_driver(|bed| {
        let mut scene =
            Scene::new(bed, &["--slow-policy", "drop-oldest", "--write-timeout", "20s"]);
        scene.publish(0..PUBLICATIONS);
        let numbers = scene.slow_numbers(PUBLICATIONS as u64 - 1);
        assert!(numbers.is_sorted_by(|a, b| a < b), "out of order or twice");
        assert!(numbers.len() < PUBLICATIONS, "nothing was dropped");
    });
}

#[test]
fn with_drop_newest_a_slow_reader_hears_an_unbroken_beginning() {
    on_every_driver(|bed| {
        let mut scene =
            Scene::new(bed, &["--slow-policy", "drop-newest", "--write-timeout", "20s"]);
        scene.publish(0..PUBLICATIONS);
        // What it has not heard it will not hear: the next publications come
        // behind the gap, once there is room again.
        let mut numbers = Vec::new();
        for number in PUBLICATIONS.. {
            numbers.push(scene.slow.hear()["data"]["number"].as_u64().expect("a number"));
            if numbers.last() >= Some(&(PUBLICATIONS as u64)) {
                break;
            }
            scene.publish(number..number + 1);
        }
        let behind_the_gap = numbers.pop();
        assert!(behind_the_gap >= Some(PUBLICATIONS as u64));
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
        assert!(numbers.len() < PUBLICATIONS, "nothing was dropped");
    });
}

#[test]
fn with_conflate_a_slow_reader_hears_the_newest_of_each_room() {
    on_every_driver(|bed| {
        let mut scene = Scene::new(bed, &["--slow-policy", "conflate", "--write-timeout", "20s"]);
        scene.slow.subscribe("quiet");
        scene.publisher.subscribe("quiet");
        scene.publish(0..PUBLICATIONS);
        scene.publisher.publish("quiet", &json!({"number": 0}));
        assert_eq!(scene.publisher.hear()["room"], "quiet");
        scene.publish(PUBLICATIONS..PUBLICATIONS * 2);
        let (mut numbers, mut quiet) = (Vec::new(), 0);
        while numbers.last() != Some(&(PUBLICATIONS as u64 * 2 - 1)) {
            let message = scene.slow.hear();
            match message["room"].as_str() {
                Some("quiet") => quiet += 1,
                _ => numbers.push(message["data"]["number"].as_u64().expect("a number")),
            }
        }
        assert!(numbers.is_sorted_by(|a, b| a < b), "out of order or twice");
        assert!(numbers.len() < PUBLICATIONS * 2, "nothing was dropped");
        assert_eq!(quiet, 1, "the newest of the quiet room");
    });
}

#[test]
fn with_drop_oldest_answers_to_pings_come_past_the_queue() {
    on_every_driver_alone(|bed| {
        let mut scene =
            Scene::new(bed, &["--slow-policy", "drop-oldest", "--write-timeout", "20s"]);
        scene.publish(0..PUBLICATIONS);
        scene.slow.send(&masked(true, Opcode::Ping, b"still there?"));
        // It is taken in before what is published from now on.
        scene.publish(PUBLICATIONS..PUBLICATIONS + 1);
        loop {
            let frame = scene.slow.read_frame();
            if frame.opcode == Opcode::Pong {
                assert_eq!(frame.payload, b"still there?");
                break;
            }
        }
        assert_eq!(scene.slow_numbers(PUBLICATIONS as u64).last(), Some(&(PUBLICATIONS as u64)));
    });
}

#[test]
fn a_talker_that_never_reads_its_echoes_costs_bounded_memory() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--queue-bytes", "65536", "--write-timeout", "5s"]);
        let before = server.resident_bytes();
        let mut other = Client::connect(server.address());
        let mut talker = RawClient::open(server.address(), "/ws/raw");
        let message = masked(true, Opcode::Binary, &vec![0; 100_000]);
        for _ in 0..1000 {
            talker.try_send(&message);
        }
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 12 * MIB, "{grown} bytes kept for a talker that never reads");
        other.expect_nothing_more();
    });
}

#[test]
fn a_reader_that_pauses_within_its_budget_misses_nothing() {
    on_every_driver(|bed| {
        let server = bed.server(&["--queue-bytes", "67108864", "--write-timeout", "20s"]);
        let mut client = Client::open(server.address(), "/ws/raw");
        let numbered = |number: u32| Message::binary(number.to_be_bytes().repeat(2500));
        for number in 0..2000 {
            client.send(numbered(number));
        }
        for number in 0..2000 {
            assert_eq!(client.receive(), numbered(number));
        }
    });
}
