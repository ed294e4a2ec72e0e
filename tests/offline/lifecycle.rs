//! How connections end, and what must not outlive them, in a simulated world.

use std::time::Duration;

use shardcast::{
    Engine, Limits,
    driver::sim::{Faults, PeerId},
    proto::frame::{Opcode, write_masked},
    shard::sim::World,
};

use crate::received::Received;

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_masked(&mut out, true, opcode, [1, 2, 3, 4], payload);
    out
}

/// What has reached the peer since the last call.
fn frames(world: &World, peer: PeerId) -> Vec<(Opcode, Vec<u8>)> {
    let mut received = Received::default();
    let bytes = world.net().take(peer);
    received.push(&bytes);
    if bytes.starts_with(b"HTTP/") {
        received.take_response().expect("a whole response");
    }
    let frames = std::iter::from_fn(|| received.take_frame());
    frames.map(|frame| (frame.opcode, frame.payload)).collect()
}

/// Whether a message holds `text`.
fn holds(frame: &(Opcode, Vec<u8>), text: &str) -> bool {
    String::from_utf8_lossy(&frame.1).contains(text)
}

fn assert_nothing_follows_the_close(seen: &[(Opcode, Vec<u8>)]) {
    let at = seen.iter().position(|(opcode, _)| *opcode == Opcode::Close);
    assert_eq!(at.expect("a Close frame") + 1, seen.len(), "{seen:?}");
}

fn world(builder: shardcast::Builder) -> World {
    World::new(1, 1, Faults::none(), builder).unwrap()
}

#[test]
fn a_leave_hook_cannot_send_behind_the_close_frame() {
    let engine = Engine::builder()
        .on_connect(|conn| conn.join("r"))
        .on_leave(|conn, _| conn.emit("left", None));
    let mut world = world(engine);
    let peer = world.upgrade(0, "/ws");
    world.settle();
    world.net().write(peer, &frame(Opcode::Close, &1000u16.to_be_bytes()));
    world.settle();
    assert_nothing_follows_the_close(&frames(&world, peer));
}

#[test]
fn a_membership_made_while_its_connection_ends_reaches_no_later_tenant_of_the_slot() {
    let engine = Engine::builder().on_join(|conn, room| {
        if room == "r" {
            let _ = conn.join("secret");
        }
    });
    let mut world = world(engine);
    let member = world.upgrade(0, "/ws");
    let peer = world.upgrade(0, "/ws");
    world.settle();
    let subscribe = br#"{"type":"subscribe","room":"secret"}"#;
    world.net().write(member, &frame(Opcode::Text, subscribe));
    let mut bytes = frame(Opcode::Text, br#"{"type":"subscribe","room":"r"}"#);
    bytes.extend(frame(Opcode::Close, &1000u16.to_be_bytes()));
    world.net().write(peer, &bytes);
    world.settle();
    assert_eq!(world.handle().member_count("secret"), 1);
    let next = world.upgrade(0, "/ws");
    world.settle();
    let publish = br#"{"type":"publish","room":"secret","data":"hush"}"#;
    world.net().write(member, &frame(Opcode::Text, publish));
    world.settle();
    let seen = frames(&world, next);
    assert!(!seen.iter().any(|frame| holds(frame, "hush")), "{seen:?}");
}

#[test]
fn a_peer_that_never_says_anything_and_never_closes_is_forgotten() {
    let mut world = world(Engine::builder());
    let peer = world.connect(0);
    world.settle();
    world.advance(Duration::from_secs(60));
    assert!(world.net().take(peer).starts_with(b"HTTP/1.1 408 "));
    assert_eq!(world.connection_count(), 0);
}

#[test]
fn a_silent_client_is_pinged_and_then_closed_with_1008() {
    let mut world = world(Engine::builder());
    let peer = world.upgrade(0, "/ws");
    world.settle();
    frames(&world, peer);
    world.advance(Duration::from_secs(59));
    assert_eq!(frames(&world, peer), [(Opcode::Ping, Vec::new())]);
    world.advance(Duration::from_secs(2));
    let seen = frames(&world, peer);
    assert!(seen[0].0 == Opcode::Close && seen[0].1[..2] == 1008u16.to_be_bytes());
    world.advance(Duration::from_secs(10));
    assert!(world.is_empty());
}

#[test]
fn a_client_that_answers_pings_stays_for_hours() {
    let mut world = world(Engine::builder());
    let peer = world.upgrade(0, "/ws");
    for _ in 0..120 {
        world.advance(Duration::from_secs(55));
        let pings = frames(&world, peer).iter().filter(|frame| frame.0 == Opcode::Ping).count();
        assert_eq!(pings, 1);
        world.net().write(peer, &frame(Opcode::Pong, b""));
    }
    assert_eq!(world.connection_count(), 1);
}

#[test]
fn nothing_follows_an_abrupt_close_on_a_blocked_connection() {
    let mut world = world(Engine::builder());
    let peer = world.upgrade(0, "/ws");
    world.settle();
    world.net().stall_after(peer, 1);
    let ping = frame(Opcode::Text, br#"{"type":"ping"}"#);
    world.net().write(peer, &ping);
    world.settle();
    world.net().write(peer, &[&ping[..], &[0xFF, 0xFF, 0xFF]].concat());
    world.settle();
    world.net().resume(peer);
    world.settle();
    assert_nothing_follows_the_close(&frames(&world, peer));
}

#[test]
fn what_follows_a_peers_close_is_not_read() {
    let mut world = world(Engine::builder());
    let peer = world.upgrade(0, "/ws");
    world.settle();
    let mut bytes = frame(Opcode::Close, &1000u16.to_be_bytes());
    bytes.extend([0xFF, 0xFF, 0xFF]);
    world.net().write(peer, &bytes);
    world.settle();
    assert_eq!(world.stats().protocol_errors, 0);
}

#[test]
fn an_endless_write_timeout_is_no_error() {
    let limits = Limits { write_timeout: Duration::MAX, ..Limits::default() };
    let mut world = world(Engine::builder().limits(limits));
    let peer = world.upgrade(0, "/ws");
    world.settle();
    world.net().stall_after(peer, 1);
    world.net().write(peer, &frame(Opcode::Text, br#"{"type":"ping"}"#));
    world.settle();
    world.advance(Duration::from_secs(30));
    assert_eq!(world.connection_count(), 1);
}

#[test]
fn a_reader_that_stops_is_dropped_after_the_write_timeout() {
    let mut world = world(Engine::builder());
    let peer = world.upgrade(0, "/ws");
    world.settle();
    world.net().stall_after(peer, 1);
    world.net().write(peer, &frame(Opcode::Text, br#"{"type":"ping"}"#));
    world.settle();
    world.advance(Duration::from_secs(12));
    assert!(world.is_empty());
}

#[test]
fn who_asks_faster_than_it_reads_is_slowed_down_and_then_answered_in_full() {
    let engine = Engine::builder().on_text(|conn, _| {
        conn.send_text(&"x".repeat(100_000));
        Ok(())
    });
    let limits = Limits { queue_bytes: 1 << 20, batch_bytes: 100_000, ..Limits::default() };
    let mut world = world(engine.limits(limits));
    let (peer, other) = (world.upgrade(0, "/ws/raw"), world.upgrade(0, "/ws"));
    world.settle();
    world.net().stall_after(peer, 1000);
    let many: Vec<u8> = (0..300).flat_map(|_| frame(Opcode::Text, b"?")).collect();
    world.net().write(peer, &many);
    world.settle();
    // Half of its budget, what is with the driver, and one answer more.
    let answers = world.stats().direct_messages;
    assert!((5..=10).contains(&answers), "{answers} answers wait for who reads none");
    world.net().write(other, &frame(Opcode::Text, br#"{"type":"ping"}"#));
    world.settle();
    assert!(holds(frames(&world, other).last().unwrap(), "pong"));
    let before = world.net().take(peer).len();
    world.net().resume(peer);
    world.settle();
    let after = world.net().take(peer).len();
    assert_eq!(before + after - 129, 300 * (100_000 + 10));
    assert_eq!(world.stats().slow_disconnects, 0);
}

#[test]
fn a_flooding_publisher_does_not_cost_the_room_its_members() {
    let limits = Limits { sends_per_turn: 4, queue_bytes: 256 * 1024, ..Limits::default() };
    let faults = Faults { short_sends_percent: 60, ..Faults::none() };
    let mut world = World::new(3, 1, faults, Engine::builder().limits(limits)).unwrap();
    let members: Vec<PeerId> = (0..60).map(|_| world.upgrade(0, "/ws")).collect();
    for peer in &members {
        world.net().write(*peer, &frame(Opcode::Text, br#"{"type":"subscribe","room":"r"}"#));
    }
    world.settle();
    let text = format!(r#"{{"type":"publish","room":"r","data":"{}"}}"#, "x".repeat(1000));
    let flood: Vec<u8> = (0..1500).flat_map(|_| frame(Opcode::Text, text.as_bytes())).collect();
    world.net().write(members[0], &flood);
    world.settle();
    assert_eq!(world.stats().slow_disconnects, 0);
    assert_eq!(
        frames(&world, members[59]).iter().filter(|frame| holds(frame, "xxx")).count(),
        1500
    );
}

#[test]
fn what_a_publisher_saw_accepted_reaches_every_shard_before_a_drain_closes_it() {
    for seed in 0..300 {
        // Publishers have to wait for what they published before.
        let limits = Limits { window_bytes: 1, room_share_bytes: 1, ..Limits::default() };
        let engine = Engine::builder().limits(limits);
        let mut world = World::new(seed, 3, Faults::all(), engine).unwrap();
        let members: Vec<PeerId> = (0..6).map(|number| world.upgrade(number % 3, "/ws")).collect();
        let subscribe = frame(Opcode::Text, br#"{"type":"subscribe","room":"r"}"#);
        for peer in &members {
            world.net().write(*peer, &subscribe);
        }
        world.settle();
        let publish = frame(Opcode::Text, br#"{"type":"publish","room":"r","data":"word"}"#);
        for peer in &members {
            world.net().write(*peer, &publish);
        }
        let turns = seed % 12;
        (0..turns).for_each(|turn| world.turn((turn * 7 % 3) as usize));
        world.handle().shutdown();
        world.settle();
        // What one member has, all have: each is a member of the same room.
        let words = |peer: &PeerId| {
            let seen = frames(&world, *peer);
            assert_nothing_follows_the_close(&seen);
            seen.iter().filter(|frame| holds(frame, "word")).count()
        };
        let counts: Vec<usize> = members.iter().map(words).collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "seed {seed}: {counts:?}");
    }
}

#[test]
fn a_publisher_that_closes_its_side_still_gets_what_it_has_coming() {
    for seed in 0..50 {
        let mut world = World::new(seed, 1, Faults::all(), Engine::builder()).unwrap();
        let peer = world.upgrade(0, "/ws");
        world.net().write(peer, &frame(Opcode::Text, br#"{"type":"subscribe","room":"r"}"#));
        let publish = frame(Opcode::Text, br#"{"type":"publish","room":"r","data":"word"}"#);
        (0..100).for_each(|_| world.net().write(peer, &publish));
        world.net().finish(peer);
        world.settle();
        let words = frames(&world, peer).iter().filter(|frame| holds(frame, "word")).count();
        assert_eq!(words, 100, "seed {seed}");
        assert!(world.is_empty());
    }
}
