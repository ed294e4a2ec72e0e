//! Small worlds, each made for one behaviour.

use std::time::Duration;

use shardcast::{Limits, driver::sim::Faults, shard::sim::World};

use crate::{
    app::{Tap, cramped, tapped},
    peer::{Frame, Peer},
};

/// A world on a perfect network, with peers that have all been greeted.
struct Case {
    world: World,
    peers: Vec<Peer>,
}

impl Case {
    /// With one peer for each of `shards`, connected there.
    fn new(limits: Limits, shards: &[usize]) -> Self {
        Self::with_faults(0, Faults::none(), limits, shards)
    }

    fn with_faults(seed: u64, faults: Faults, limits: Limits, shards: &[usize]) -> Self {
        let count = shards.iter().max().map_or(1, |most| most + 1);
        let engine = tapped(&Tap::default()).limits(limits);
        let world = World::new(seed, count, faults, engine).unwrap();
        let peers = shards.iter().map(|shard| Peer::new(world.upgrade(*shard, "/ws"), *shard));
        let peers = peers.collect();
        let mut case = Self { world, peers };
        case.settle();
        case
    }

    /// Lets everything arrive and be answered.
    fn settle(&mut self) {
        let net = self.world.net().clone();
        loop {
            self.world.settle();
            let came: Vec<bool> = self.peers.iter_mut().map(|peer| peer.read(&net)).collect();
            if !came.contains(&true) {
                return;
            }
        }
    }

    fn say(&self, peer: usize, text: &str) {
        self.peers[peer].send(self.world.net(), text, 1);
    }

    fn subscribe(&mut self, peers: &[usize]) {
        for peer in peers {
            self.say(*peer, r#"{"type":"subscribe","room":"red"}"#);
        }
        self.settle();
    }

    fn publish(&self, peer: usize, n: u64, padding: usize) {
        let pad = "x".repeat(padding);
        let text = format!(r#"{{"type":"others","room":"red","data":{{"n":{n},"pad":"{pad}"}}}}"#);
        self.say(peer, &text);
    }

    fn stall(&mut self, peer: usize) {
        self.world.net().stall_after(self.peers[peer].id, 1);
    }

    fn is_answered(&mut self, peer: usize) -> bool {
        let before = self.peers[peer].frames.len();
        self.say(peer, r#"{"type":"ping"}"#);
        self.settle();
        let pong = |frame: &Frame| matches!(frame, Frame::Event(event) if event["type"] == "pong");
        self.peers[peer].frames[before..].iter().any(pong)
    }
}

#[test]
fn who_sends_much_to_one_other_is_heard_again_once_that_has_left() {
    let mut case = Case::new(Limits { queue_bytes: 2000, ..Limits::default() }, &[0, 0]);
    let to = case.peers[1].client_id.clone().unwrap();
    let pad = "x".repeat(3000);
    let text = format!(r#"{{"type":"direct","to":"{to}","data":{{"n":1,"pad":"{pad}"}}}}"#);
    case.say(0, &text);
    case.settle();
    assert_eq!(case.peers[1].numbers().count(), 1);
    assert!(case.is_answered(0), "{} are held", case.world.held_count());
}

#[test]
fn whoever_is_held_for_a_slow_reader_is_heard_as_soon_as_that_has_read() {
    for turns in 0..100 {
        let mut case = Case::new(cramped(), &[0, 0, 0, 0]);
        case.subscribe(&[1, 2, 3]);
        case.stall(1);
        for n in 1..=20 {
            case.publish(0, n, 80);
        }
        // The reader catches up at any time, also between two parts of a pass.
        (0..turns).for_each(|_| case.world.turn(0));
        case.world.net().resume(case.peers[1].id);
        case.settle();
        assert_eq!(case.world.held_count(), 0, "after {turns} turns");
        assert!(case.peers[1..].iter().all(|peer| peer.numbers().count() == 20));
    }
}

#[test]
fn a_handler_that_publishes_waits_for_each_shard_that_does_not_take_it() {
    let limits = Limits { window_bytes: 4000, ..Limits::default() };
    let mut case = Case::new(limits, &[0, 1, 2]);
    case.subscribe(&[1, 2]);
    case.stall(2);
    for n in 1..=200 {
        case.publish(0, n, 100);
    }
    case.settle();
    let kept = case.world.kept_bytes();
    assert!((1..3 * 4000).contains(&kept.underway), "{kept:?}");
    case.world.net().resume(case.peers[2].id);
    case.settle();
    assert!(case.peers[1..].iter().all(|peer| peer.numbers().count() == 200));
}

#[test]
fn a_handler_that_publishes_to_two_rooms_waits_for_the_members_of_both() {
    let limits = Limits { room_share_bytes: 1000, queue_bytes: 4000, ..Limits::default() };
    let mut case = Case::new(limits, &[0, 0, 0]);
    case.subscribe(&[1]);
    case.say(2, r#"{"type":"subscribe","room":"blue"}"#);
    case.settle();
    case.stall(2);
    for n in 1..=200 {
        let pad = "x".repeat(600);
        let data = format!(r#"{{"n":{n},"pad":"{pad}"}}"#);
        case.say(0, &format!(r#"{{"type":"both","room":"red","to":"blue","data":{data}}}"#));
    }
    case.settle();
    let kept = case.world.kept_bytes();
    assert!((1..20_000).contains(&kept.logs), "{kept:?}");
    case.world.net().resume(case.peers[2].id);
    case.settle();
    assert!(case.peers[1..].iter().all(|peer| peer.numbers().count() == 400));
}

#[test]
fn a_change_of_the_policy_does_not_make_a_reader_slow() {
    let mut case = Case::new(Limits::default(), &[0, 0, 0]);
    case.say(1, r#"{"type":"policy","to":"drop-oldest"}"#);
    case.subscribe(&[0, 1, 2]);
    case.stall(1);
    case.stall(2);
    for n in 1..=5 {
        case.publish(0, n, 100);
        case.settle();
    }
    case.say(1, r#"{"type":"policy","to":"close"}"#);
    case.settle();
    case.publish(0, 6, 100);
    case.settle();
    assert_eq!(case.world.stats().slow_disconnects, 0);
    case.world.net().resume(case.peers[1].id);
    case.settle();
    assert_eq!(case.peers[1].numbers().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_ping_that_is_out_when_the_process_stands_still_may_be_answered_after_that() {
    // A ping after 54 s, and 6 s to answer it.
    let mut case = Case::new(Limits::default(), &[0]);
    case.world.advance(Duration::from_secs(55));
    // The ping has left; the peer's answer has not come.
    case.world.freeze(Duration::from_secs(70));
    case.world.turn(0);
    case.world.advance(Duration::from_secs(4));
    case.settle();
    assert!(case.peers[0].frames.contains(&Frame::Ping));
    assert!(!case.peers[0].is_closed(), "closed with {:?}", case.peers[0].close_code());
    assert!(case.is_answered(0));
}

#[test]
fn a_ping_that_was_stuck_may_be_answered_once_it_has_left() {
    let limits = Limits { write_timeout: Duration::from_secs(60), ..Limits::default() };
    let mut case = Case::new(limits, &[0]);
    case.world.net().stall_after(case.peers[0].id, 0);
    case.world.advance(Duration::from_secs(70));
    case.world.net().resume(case.peers[0].id);
    case.world.advance(Duration::from_secs(4));
    case.settle();
    assert!(case.peers[0].frames.contains(&Frame::Ping));
    assert!(!case.peers[0].is_closed(), "closed with {:?}", case.peers[0].close_code());
    assert!(case.is_answered(0));
}

#[test]
fn a_request_that_is_half_there_when_the_process_stands_still_has_its_time_after_that() {
    let mut case = Case::new(Limits::default(), &[]);
    let net = case.world.net().clone();
    let peer = case.world.connect(0);
    net.write(peer, b"GET /ws HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\n");
    case.world.settle();
    case.world.freeze(Duration::from_secs(70));
    case.world.turn(0);
    net.write(
        peer,
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    case.settle();
    assert!(net.take(peer).starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn a_request_that_came_while_the_process_stood_still_is_answered_however_late_it_is_read() {
    // The shard sleeps until the request's deadline at 10 s, and wakes a little late: that
    // is no standstill to it. What came meanwhile it reads in pieces, over several turns.
    for seed in 0..100 {
        let faults = Faults { pieces_percent: 100, ..Faults::none() };
        let mut case = Case::with_faults(seed, faults, Limits::default(), &[]);
        let net = case.world.net().clone();
        let peer = case.world.upgrade(0, "/ws");
        case.world.turn(0);
        case.world.freeze(Duration::from_millis(10_700));
        case.settle();
        assert!(net.take(peer).starts_with(b"HTTP/1.1 101 "), "seed {seed}");
    }
}
