//! The engine of one shard without a driver: what it keeps, what it shares and
//! how it divides a turn. What it sends, in which order, is checked against a
//! model in `tests/sim.rs`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

mod shed;

use super::{
    App, DirectMessage, JoinRequest, LeaveRequest, Limits, Mail, Now, Origin, Outlet, Process,
    ShardEngine, SocketAction, Space, state::connection::State,
};
use crate::{
    batch::{Sending, Slice},
    dialect::Dialect,
    id::ConnId,
    proto::frame::{Opcode, write_masked},
    publication::{Audience, Data, Publication},
};

/// An outlet that takes everything, unless told that someone is slow.
#[derive(Default)]
struct Wire {
    sent: HashMap<ConnId, Vec<u8>>,
    slow: HashSet<ConnId>,
    batches: Vec<ConnId>,
    /// Bytes of the largest batch.
    largest: usize,
}

impl Outlet for Wire {
    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        assert!(batch.len() <= Limits::SLICES_PER_BATCH + 64, "{} slices", batch.len());
        self.batches.push(id);
        self.largest = self.largest.max(batch.iter().map(|slice| slice.as_slice().len()).sum());
        let sent = self.sent.entry(id).or_default();
        for slice in batch {
            sent.extend_from_slice(slice.as_slice());
        }
        if self.slow.contains(&id) { Sending::Pending } else { Sending::Done }
    }

    fn unsent_bytes(&mut self, _id: ConnId) -> usize {
        0
    }

    fn has_unread(&mut self, _id: ConnId) -> bool {
        false
    }
}

/// The flush of a turn of its own.
fn flush(engine: &mut ShardEngine, wire: &mut Wire) -> bool {
    engine.begin_turn(Now::default());
    engine.flush(wire)
}

fn engines(shards: usize, limits: Limits) -> Vec<ShardEngine> {
    let process = Arc::new(Process::new(1, limits, Dialect::Pubsub, "/ws", shards, None));
    let app = Arc::new(App::default());
    (0..shards as u8)
        .map(|shard| ShardEngine::new(shard, process.clone(), app.clone(), Now::default()))
        .collect()
}

fn open(engine: &mut ShardEngine) -> ConnId {
    let id = engine.on_accepted("127.0.0.1:9".parse().unwrap()).unwrap();
    let mut request =
        b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            .to_vec();
    engine.on_data(id, &mut request);
    id
}

fn say(engine: &mut ShardEngine, id: ConnId, text: &str) {
    let mut frame = Vec::new();
    write_masked(&mut frame, true, Opcode::Text, [1, 2, 3, 4], text.as_bytes());
    engine.on_data(id, &mut frame);
}

pub(crate) fn join(engine: &ShardEngine, id: ConnId, room: &str) -> Mail {
    let room = engine.core.process.directory.announce(Space::Room, room, id.shard());
    Mail::Join(Box::new(JoinRequest { id, room, answer: Box::new(drop) }))
}

pub(crate) fn leave(id: ConnId, room: &str) -> Mail {
    Mail::Leave(Box::new(LeaveRequest { id, room: room.into(), answer: Box::new(drop) }))
}

fn subscribe(engine: &mut ShardEngine, id: ConnId, room: &str) {
    say(engine, id, &format!(r#"{{"type":"subscribe","room":"{room}"}}"#));
}

fn publish(engine: &mut ShardEngine, id: ConnId, room: &str, data: &str) {
    say(engine, id, &format!(r#"{{"type":"publish","room":"{room}","data":"{data}"}}"#));
}

/// Two members of a room, of which the second has taken nothing of what the first
/// published.
fn with_a_member_behind() -> (ShardEngine, ConnId, ConnId, Wire) {
    let mut engine = engines(1, Limits::default()).remove(0);
    let (a, b) = (open(&mut engine), open(&mut engine));
    subscribe(&mut engine, a, "r");
    subscribe(&mut engine, b, "r");
    let mut wire = Wire { slow: [b].into(), ..Wire::default() };
    flush(&mut engine, &mut wire);
    for _ in 0..5 {
        publish(&mut engine, a, "r", "hello");
        flush(&mut engine, &mut wire);
    }
    (engine, a, b, wire)
}

/// Bytes in the logs of all rooms.
fn logged(engine: &ShardEngine) -> usize {
    engine.core.rooms.logged_bytes()
}

#[test]
fn a_room_keeps_its_log_until_the_slowest_reader_has_it_and_no_longer() {
    let (mut engine, a, b, mut wire) = with_a_member_behind();
    assert!(logged(&engine) > 0, "the slow one still needs it");
    wire.slow.clear();
    engine.on_sent(b);
    while flush(&mut engine, &mut wire) {}
    assert_eq!(logged(&engine), 0);
    let seen = |id| String::from_utf8_lossy(&wire.sent[&id]).matches("hello").count();
    assert_eq!((seen(a), seen(b)), (5, 5));
}

#[test]
fn publishing_costs_one_encoding_whatever_the_number_of_members() {
    let mut engine = engines(1, Limits::default()).remove(0);
    let members: Vec<ConnId> = (0..50).map(|_| open(&mut engine)).collect();
    for id in &members {
        subscribe(&mut engine, *id, "r");
    }
    flush(&mut engine, &mut Wire::default());
    let before = engine.stats();
    publish(&mut engine, members[0], "r", "x");
    publish(&mut engine, members[1], "r", "y");
    flush(&mut engine, &mut Wire::default());
    let after = engine.stats();
    assert_eq!(after.frames_encoded - before.frames_encoded, 2);
    assert_eq!(after.deliveries - before.deliveries, 100);
    assert_eq!(after.sends - before.sends, 50, "one send for both");
}

#[test]
fn a_publication_for_several_shards_is_encoded_by_one() {
    let mut engines = engines(3, Limits::default());
    for engine in &mut engines {
        let id = open(engine);
        subscribe(engine, id, "r");
    }
    let sender = ConnId::new(0, 0, 0);
    publish(&mut engines[0], sender, "r", "x");
    let outbound = engines[0].take_outbound();
    let [(shards, mail)] = &outbound[..] else { panic!("{outbound:?}") };
    assert_eq!(*shards, 0b110);
    for engine in &mut engines[1..] {
        let mail = mail.mail.for_another().unwrap();
        engine.on_mail(mail.charged_to(Origin::Shard));
    }
    let encoded: u64 = engines.iter().map(|engine| engine.stats().frames_encoded).sum();
    assert_eq!(encoded, 1);
    for engine in &mut engines {
        let mut wire = Wire::default();
        flush(engine, &mut wire);
        let all: Vec<u8> = wire.sent.into_values().flatten().collect();
        assert!(String::from_utf8_lossy(&all).contains(r#""data":"x""#));
    }
}

#[test]
fn a_room_without_members_elsewhere_sends_no_mail() {
    let mut engines = engines(2, Limits::default());
    let (here, there) = (open(&mut engines[0]), open(&mut engines[1]));
    subscribe(&mut engines[0], here, "r");
    subscribe(&mut engines[1], there, "other");
    publish(&mut engines[0], here, "r", "x");
    assert!(engines[0].take_outbound().is_empty());
}

#[test]
fn a_large_room_is_flushed_in_slices_and_a_small_one_does_not_wait_for_it() {
    let limits = Limits { sends_per_turn: 10, ..Limits::default() };
    let mut engine = engines(1, limits).remove(0);
    let large: Vec<ConnId> = (0..35).map(|_| open(&mut engine)).collect();
    for id in &large {
        subscribe(&mut engine, *id, "large");
    }
    let small = open(&mut engine);
    subscribe(&mut engine, small, "small");
    flush(&mut engine, &mut Wire::default());
    publish(&mut engine, large[0], "large", "x");
    let mut wire = Wire::default();
    assert!(flush(&mut engine, &mut wire), "more is left");
    assert!((5..=10).contains(&wire.batches.len()), "{}", wire.batches.len());
    publish(&mut engine, small, "small", "y");
    flush(&mut engine, &mut wire);
    flush(&mut engine, &mut wire);
    assert!(wire.batches.contains(&small), "it waits for the whole large room");
    while flush(&mut engine, &mut wire) {}
    assert_eq!(wire.batches.len(), 36);
}

#[test]
fn a_late_letter_to_a_reused_slot_reaches_nobody() {
    let mut engine = engines(1, Limits::default()).remove(0);
    let gone = open(&mut engine);
    engine.on_lost(gone);
    let next = open(&mut engine);
    assert_eq!(gone.slot(), next.slot());
    flush(&mut engine, &mut Wire::default());
    let message = DirectMessage { to: gone, event: "e".into(), data: Data::absent() };
    engine.on_mail(Mail::Send(Box::new(message)).charged_to(Origin::Shard));
    engine.on_data(gone, &mut [0x81]);
    engine.on_sent(gone);
    let mut wire = Wire::default();
    flush(&mut engine, &mut wire);
    assert!(wire.sent.is_empty());
}

#[test]
fn a_quiet_connection_owns_no_buffer() {
    let mut engine = engines(1, Limits::default()).remove(0);
    let id = open(&mut engine);
    subscribe(&mut engine, id, "r");
    publish(&mut engine, id, "r", "x");
    while flush(&mut engine, &mut Wire::default()) {}
    let connection = engine.core.find(id).unwrap();
    assert!(connection.send_queue.is_none() && connection.extra.is_none());
    assert!(connection.session.is_idle() && !connection.memberships.spilled());
}

#[test]
fn a_publication_through_the_handle_reaches_all_forms_of_frames() {
    let mut engine = engines(1, Limits::default()).remove(0);
    let id = open(&mut engine);
    subscribe(&mut engine, id, "r");
    flush(&mut engine, &mut Wire::default());
    let data = Data::raw_json("[1, 2]").unwrap();
    let publication = Publication::new(Audience::Room("r".into()), "news", data, 5);
    engine.on_mail(Mail::Publish(Arc::new(publication)).charged_to(Origin::Shard));
    let mut wire = Wire::default();
    flush(&mut engine, &mut wire);
    let text = String::from_utf8_lossy(&wire.sent[&id]).into_owned();
    assert!(text.ends_with(r#"{"type":"news","room":"r","data":[1, 2],"timestamp":5}"#), "{text}");
}

#[test]
fn a_log_is_trimmed_when_the_last_slow_member_goes() {
    for how in ["lost", "leaves"] {
        let mut engine = engines(1, Limits::default()).remove(0);
        let (a, b) = (open(&mut engine), open(&mut engine));
        subscribe(&mut engine, a, "r");
        subscribe(&mut engine, b, "r");
        let mut wire = Wire { slow: [b].into(), ..Wire::default() };
        flush(&mut engine, &mut wire);
        publish(&mut engine, a, "r", "hello");
        while flush(&mut engine, &mut wire) {}
        match how {
            "lost" => engine.on_lost(b),
            _ => engine.on_mail(leave(b, "r").charged_to(Origin::Shard)),
        }
        while flush(&mut engine, &mut wire) {}
        assert_eq!(logged(&engine), 0, "{how}");
    }
}

#[test]
fn members_that_come_and_go_do_not_keep_a_pass_from_its_end() {
    let limits = Limits { sends_per_turn: 10, ..Limits::default() };
    let mut engine = engines(1, limits).remove(0);
    let members: Vec<ConnId> = (0..40).map(|_| open(&mut engine)).collect();
    for id in &members {
        subscribe(&mut engine, *id, "r");
    }
    while flush(&mut engine, &mut Wire::default()) {}
    let mut wire = Wire::default();
    let (mut first, mut last) = (members[0], members[39]);
    for _ in 0..1000 {
        publish(&mut engine, members[20], "r", "x");
        engine.on_mail(leave(first, "r").charged_to(Origin::Shard));
        let request = join(&engine, first, "r");
        engine.on_mail(request.charged_to(Origin::Shard));
        std::mem::swap(&mut first, &mut last);
        flush(&mut engine, &mut wire);
    }
    let unserved = members.iter().filter(|id| !wire.sent.contains_key(id)).count();
    assert_eq!(unserved, 0, "the log has {} bytes", logged(&engine));
}

#[test]
fn a_full_server_tells_the_newest_and_lets_the_silent_go_first() {
    let limits = Limits { connections: 1, refusals_at_once: 2, ..Limits::default() };
    let mut engine = engines(1, limits).remove(0);
    open(&mut engine);
    let peer = "127.0.0.1:9".parse().unwrap();
    let silent: Vec<_> = (0..2).map(|_| engine.on_accepted(peer).unwrap()).collect();
    assert_eq!(engine.take_socket_actions(), []);
    let told = open(&mut engine);
    assert_eq!(engine.take_socket_actions(), [SocketAction::Close(silent[0])]);
    // What it is told has not left: it is not the next to go.
    engine.on_accepted(peer).unwrap();
    assert_eq!(engine.take_socket_actions(), [SocketAction::Close(silent[1])]);
    let mut wire = Wire::default();
    engine.flush(&mut wire);
    assert!(String::from_utf8_lossy(&wire.sent[&told]).contains("maximum capacity"));
}

#[test]
fn a_room_has_its_least_share_however_much_waits_in_others() {
    let limits = Limits { shard_share_bytes: 1, ..Limits::default() };
    let mut engine = engines(1, limits).remove(0);
    let id = open(&mut engine);
    subscribe(&mut engine, id, "r");
    while flush(&mut engine, &mut Wire::default()) {}
    publish(&mut engine, id, "r", &"x".repeat(Limits::MIN_ROOM_SHARE_BYTES - 500));
    assert_eq!(engine.core.rooms.congested, 0);
    publish(&mut engine, id, "r", &"x".repeat(500));
    assert_eq!(engine.core.rooms.congested, 1);
}

#[test]
fn a_drain_ends_a_bounded_number_of_connections_in_a_turn() {
    let limits = Limits { sends_per_turn: 10, ..Limits::default() };
    let mut engine = engines(1, limits).remove(0);
    for _ in 0..35 {
        open(&mut engine);
    }
    flush(&mut engine, &mut Wire::default());
    engine.begin_drain();
    let mut open_after = Vec::new();
    for _ in 0..4 {
        engine.begin_turn(Now::default());
        let more = engine.on_timers();
        let open = engine.core.connections.iter().filter(|one| one.state == State::Open).count();
        open_after.push((open, more));
    }
    assert_eq!(open_after, [(25, true), (15, true), (5, true), (0, false)]);
}

#[test]
fn what_the_members_have_taken_no_longer_counts_against_the_share_of_all_rooms() {
    let limits = Limits { room_share_bytes: 1000, ..Limits::default() };
    let mut engine = engines(1, limits).remove(0);
    let id = open(&mut engine);
    subscribe(&mut engine, id, "r");
    while flush(&mut engine, &mut Wire::default()) {}
    publish(&mut engine, id, "r", &"x".repeat(2000));
    assert!(engine.core.rooms.waiting > 2000);
    assert_eq!(engine.core.rooms.congested, 1);
    while flush(&mut engine, &mut Wire::default()) {}
    assert_eq!((engine.core.rooms.waiting, engine.core.rooms.congested), (0, 0));
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_so_before_what_waits_for_it() {
    let (mut engine, _, b, mut wire) = with_a_member_behind();
    engine.on_data(b, &mut [0x81, 0]);
    wire.slow.clear();
    wire.sent.clear();
    engine.on_sent(b);
    while flush(&mut engine, &mut wire) {}
    let [0x88, len, 0x03, 0xEA, reason @ ..] = &wire.sent[&b][..] else {
        panic!("no Close frame of code 1002: {:?}", wire.sent[&b]);
    };
    assert_eq!(reason.len() + 2, usize::from(*len), "something behind it");
    assert_eq!(logged(&engine), 0);
}

#[test]
fn a_turn_that_has_much_to_send_wants_its_flush_before_more_comes_in() {
    let mut engine = engines(1, Limits::default()).remove(0);
    let (a, b) = (open(&mut engine), open(&mut engine));
    subscribe(&mut engine, a, "r");
    subscribe(&mut engine, b, "r");
    flush(&mut engine, &mut Wire::default());
    let data = "x".repeat(30_000);
    let before = (1..=10).map(|_| {
        publish(&mut engine, a, "r", &data);
        engine.wants_flush()
    });
    let wanted: Vec<bool> = before.collect();
    assert_eq!(wanted, [false, false, false, false, false, false, false, false, true, true]);
    while flush(&mut engine, &mut Wire::default()) {}
    assert!(!engine.wants_flush());
}

#[test]
fn a_member_that_gets_much_at_once_gets_it_in_batches_of_bounded_size() {
    let limits = Limits { batch_bytes: 1000, ..Limits::default() };
    let mut engine = engines(1, limits).remove(0);
    let id = open(&mut engine);
    subscribe(&mut engine, id, "r");
    flush(&mut engine, &mut Wire::default());
    (0..50).for_each(|_| publish(&mut engine, id, "r", "hello"));
    let mut wire = Wire::default();
    while flush(&mut engine, &mut wire) {}
    assert_eq!(String::from_utf8_lossy(&wire.sent[&id]).matches("hello").count(), 50);
    assert!(wire.largest < 1000 + 200, "{} bytes", wire.largest);
}

#[test]
fn a_member_that_takes_nothing_for_the_write_timeout_is_lost_and_counted_as_slow() {
    let mut engine = engines(1, Limits::default()).remove(0);
    let id = open(&mut engine);
    let mut wire = Wire { slow: [id].into(), ..Wire::default() };
    let timeout_ms = Limits::default().write_timeout.as_millis() as u64;
    let mut turn = |since_start_ms| {
        engine.begin_turn(Now { since_start_ms, ..Now::default() });
        engine.on_timers();
        engine.flush(&mut wire);
        (engine.stats().slow_disconnects, engine.connection_count())
    };
    for since_start_ms in (0..timeout_ms).step_by(500) {
        assert_eq!(turn(since_start_ms), (0, 1));
    }
    let after: Vec<_> = (1..20).map(|step| turn(timeout_ms + step * 500)).collect();
    assert_eq!(after.last(), Some(&(1, 0)));
}

#[test]
fn a_room_that_waits_for_its_members_is_looked_at_again_soon() {
    let mut engine = engines(1, Limits::default()).remove(0);
    let id = open(&mut engine);
    subscribe(&mut engine, id, "r");
    engine.begin_turn(Now { since_start_ms: 1000, ..Now::default() });
    while engine.flush(&mut Wire::default()) {}
    assert!(engine.next_timer() > Some(Duration::from_secs(1)));
    let index = engine.core.connections[id.slot()].memberships[0].group;
    engine.core.rooms.group_mut(index).is_lagging = true;
    engine.core.rooms.list_if_lagging(index);
    for since_start_ms in [1000, 1100, 5000] {
        engine.begin_turn(Now { since_start_ms, ..Now::default() });
        assert!(engine.next_timer() <= Some(Duration::from_millis(240)));
        engine.on_timers();
        assert!(engine.next_timer() <= Some(Duration::from_millis(240)));
    }
}

#[test]
fn a_shard_that_waits_is_late_only_behind_the_time_for_which_it_said_it_would() {
    let mut engine = engines(1, Limits::default()).remove(0);
    open(&mut engine);
    engine.turns_now(1000);
    let pulse = &engine.process().pulses[0];
    assert_eq!(pulse.overdue_ms(1250), 250);
    engine.before_wait(1000, Some(Duration::from_millis(500)));
    assert_eq!((pulse.overdue_ms(1500), pulse.overdue_ms(1501)), (0, 1));
    engine.before_wait(1000, None);
    assert_eq!((pulse.overdue_ms(1_000_000), pulse.connections()), (0, 1));
}
