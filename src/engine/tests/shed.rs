//! Stalled members under each lossy policy, in ten thousand seeded runs of one
//! shard's engine: what arrives and what is dropped is together what was accepted,
//! in order; what waits is within the budget; each policy keeps its promise.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Wire, flush, join, leave};
use crate::{
    dialect::Dialect,
    driver::sim::Rng,
    engine::{
        App, DirectMessage, Limits, Mail, Now, Origin, Process, ShardEngine, SlowPolicy,
        state::{entries::ENTRY_BYTES, send_queue::LogBacklog},
    },
    id::ConnId,
    proto::frame::{self, Role},
    publication::{Audience, Data, Publication},
};

const ROOMS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const KEYS: [Option<&str>; 3] = [None, Some("x"), Some("y")];

/// What a member was to get: its number, and for a publication room and key.
type Accepted = (u32, Option<(usize, usize)>);

struct Member {
    id: ConnId,
    rooms: HashSet<usize>,
    accepted: Vec<Accepted>,
    /// It took nothing since it was opened.
    stalled: bool,
}

struct Run {
    engine: ShardEngine,
    wire: Wire,
    rng: Rng,
    members: Vec<Member>,
    rooms: usize,
    keys: usize,
    /// In percent of the steps.
    directs: usize,
    numbers: u32,
    budget: usize,
}

impl Run {
    fn new(seed: u64, policy: SlowPolicy) -> Self {
        let mut rng = Rng::new(seed);
        let budget = 4000 + rng.below(20_000);
        let limits = Limits {
            queue_bytes: budget,
            batch_bytes: 300 + rng.below(3000),
            slow_policy: policy,
            sends_per_turn: 1 + rng.below(10),
            ..Limits::default()
        };
        let process = Arc::new(Process::new(1, limits, Dialect::Raw, "/ws", 1, None));
        let mut engine = ShardEngine::new(0, process, Arc::new(App::default()), Now::default());
        let conflates = policy == SlowPolicy::Conflate;
        let rooms = 1 + rng.below(if conflates { 2 } else { ROOMS.len() });
        let mut members = Vec::new();
        let mut wire = Wire::default();
        for _ in 0..=rng.below(3) {
            let id = open(&mut engine);
            wire.slow.insert(id);
            members.push(Member { id, rooms: HashSet::new(), accepted: Vec::new(), stalled: true });
        }
        let keys = 1 + rng.below(KEYS.len());
        let directs = [0, 5, 30][rng.below(3)];
        Self { engine, wire, rng, members, rooms, keys, directs, numbers: 0, budget }
    }

    fn data(&mut self) -> Data {
        self.numbers += 1;
        let mut bytes = self.numbers.to_be_bytes().to_vec();
        bytes.resize(4 + self.rng.below(60), 0);
        Data::binary(bytes)
    }

    fn publish(&mut self) {
        let (room, key) = (self.rng.below(self.rooms), self.rng.below(self.keys));
        let data = self.data();
        let mut publication = Publication::new(Audience::Room(ROOMS[room].into()), "", data, 0);
        publication.key = KEYS[key].map(Into::into);
        if self.rng.chance(20) {
            publication.except = Some(self.members[self.rng.below(self.members.len())].id);
        }
        let except = publication.except;
        self.engine.on_mail(Mail::Publish(Arc::new(publication)).charged_to(Origin::Shard));
        for member in &mut self.members {
            if member.rooms.contains(&room) && Some(member.id) != except {
                member.accepted.push((self.numbers, Some((room, key))));
            }
        }
    }

    fn step(&mut self) {
        let index = self.rng.below(self.members.len());
        let id = self.members[index].id;
        match self.rng.below(100) {
            roll if roll < self.directs => {
                let data = self.data();
                let message = DirectMessage { to: id, event: "".into(), data };
                self.engine.on_mail(Mail::Send(Box::new(message)).charged_to(Origin::Shard));
                self.members[index].accepted.push((self.numbers, None));
            }
            0..=79 => self.publish(),
            80..=84 => {
                let room = self.rng.below(self.rooms);
                self.members[index].rooms.insert(room);
                let request = join(&self.engine, id, ROOMS[room]);
                self.engine.on_mail(request.charged_to(Origin::Shard));
            }
            85 => {
                let room = self.rng.below(self.rooms);
                self.members[index].rooms.remove(&room);
                self.engine.on_mail(leave(id, ROOMS[room]).charged_to(Origin::Shard));
            }
            86 => {
                self.members[index].stalled = false;
                self.engine.on_sent(id);
            }
            _ => self.flush(),
        }
    }

    fn flush(&mut self) {
        while flush(&mut self.engine, &mut self.wire) {}
        for member in &self.members {
            self.check_counts(member.id);
        }
    }

    /// After all rooms were passed the running sum is exact, and within the budget.
    fn check_counts(&self, id: ConnId) {
        let core = &self.engine.core;
        let connection = core.find(id).unwrap();
        let Some(send_queue) = &connection.send_queue else { return };
        assert!(send_queue.in_flight, "nothing waits for one that is not blocked");
        let mut exact = LogBacklog::default();
        for membership in &connection.memberships {
            let group = core.rooms.group(membership.group);
            let cursor = group.members[membership.position as usize].cursor;
            let (entries, end) = (group.log.entries(), group.log.end());
            exact.observe(group.serial, entries.cost_at(cursor), entries.cost_at(end));
        }
        assert_eq!(send_queue.logs.bytes(), exact.bytes());
        // An eighth is left for the two batches that the driver may have.
        let (waiting, max) = (send_queue.waiting(), self.budget - self.budget / 8);
        assert!(waiting <= max, "{waiting} of {max}");
    }

    /// Lets everybody take everything, and returns the numbers that each was sent.
    fn finish(&mut self) -> Vec<Vec<u32>> {
        self.flush();
        self.wire.slow.clear();
        for member in &self.members {
            self.engine.on_sent(member.id);
        }
        self.flush();
        assert!(
            self.members.iter().all(|m| self.engine.core.find(m.id).unwrap().send_queue.is_none())
        );
        self.members.iter().map(|member| numbers(&self.wire.sent[&member.id])).collect()
    }
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

/// The numbers of the messages behind the answer to the upgrade.
fn numbers(sent: &[u8]) -> Vec<u32> {
    let head = sent.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let (mut rest, mut numbers) = (&sent[head + 4..], Vec::new());
    while let Some((header, length)) = frame::decode(rest, Role::Client).unwrap() {
        let payload = &rest[length..length + header.len as usize];
        numbers.push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
        rest = &rest[length + header.len as usize..];
    }
    assert!(rest.is_empty(), "half a frame");
    numbers
}

fn check_policy(policy: SlowPolicy, run: &Run, member: &Member, got: &[u32]) {
    let mut accepted = member.accepted.iter().map(|(number, _)| *number);
    match policy {
        SlowPolicy::DropOldest => assert_eq!(got.last().copied(), accepted.next_back()),
        // Without room being made there is one gap, at the end.
        SlowPolicy::DropNewest if member.stalled => {
            assert!(accepted.take(got.len()).eq(got.iter().copied()), "a second gap");
        }
        SlowPolicy::Conflate if run.directs == 0 => {
            let newest: HashMap<_, u32> =
                member.accepted.iter().map(|(number, place)| (*place, *number)).collect();
            assert!(newest.values().all(|number| got.binary_search(number).is_ok()));
        }
        _ => {}
    }
}

#[test]
fn what_a_policy_drops_is_told_and_the_rest_arrives_in_order_within_the_budget() {
    let policies = [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::Conflate];
    let mut dropping = 0;
    for seed in 0..10_000 {
        let policy = policies[seed as usize % 3];
        let mut run = Run::new(seed, policy);
        for _ in 0..50 + run.rng.below(500) {
            run.step();
        }
        let got = run.finish();
        let mut missing = 0;
        for (member, got) in run.members.iter().zip(&got) {
            assert!(got.is_sorted_by(|a, b| a < b), "out of order or twice, seed {seed}");
            let accepted: HashSet<u32> =
                member.accepted.iter().map(|(number, _)| *number).collect();
            assert!(got.iter().all(|number| accepted.contains(number)), "seed {seed}");
            missing += member.accepted.len() - got.len();
            check_policy(policy, &run, member, got);
        }
        assert_eq!(run.engine.stats().messages_dropped, missing as u64, "seed {seed}");
        dropping += usize::from(missing > 0);
    }
    assert!(dropping > 1500, "only {dropping} runs dropped anything");
}

/// A member that is blocked, in the first `rooms` of as many rooms.
fn stalled(policy: SlowPolicy, rooms: usize) -> (ShardEngine, ConnId, Wire) {
    let limits = Limits { slow_policy: policy, ..Limits::default() };
    let process = Arc::new(Process::new(1, limits, Dialect::Raw, "/ws", 1, None));
    let mut engine = ShardEngine::new(0, process, Arc::new(App::default()), Now::default());
    let id = open(&mut engine);
    for room in 0..rooms {
        let request = join(&engine, id, &room.to_string());
        engine.on_mail(request.charged_to(Origin::Shard));
    }
    let wire = Wire { slow: [id].into(), ..Wire::default() };
    (engine, id, wire)
}

fn publish(engine: &mut ShardEngine, room: usize, bytes: &[u8]) {
    let audience = Audience::Room(room.to_string().into());
    let publication = Publication::new(audience, "", Data::binary(bytes.to_vec()), 0);
    engine.on_mail(Mail::Publish(Arc::new(publication)).charged_to(Origin::Shard));
}

#[test]
fn dropping_the_oldest_copies_nothing_out_of_the_logs() {
    let (mut engine, id, mut wire) = stalled(SlowPolicy::DropOldest, 100);
    for turn in 0..500 {
        (0..200).for_each(|number| publish(&mut engine, (turn + number) % 100, b"x"));
        while flush(&mut engine, &mut wire) {}
        let send_queue = engine.core.find(id).unwrap().send_queue.as_ref().unwrap();
        assert_eq!(send_queue.bytes(), 0, "its own queue");
    }
    let groups = (0..100).map(|room| {
        let room = engine.core.rooms.find(crate::engine::Space::Room, &room.to_string()).unwrap();
        let group = engine.core.rooms.room(room).groups[0];
        engine.core.rooms.group(group).log.kept_bytes()
    });
    let kept: usize = groups.sum();
    assert!(kept < 1024 * 1024 / 10 * 11 + 100 * 4096, "{kept}");
    assert!(engine.stats().messages_dropped > 30_000);
}

#[test]
fn a_message_is_held_back_from_no_one_by_a_budget_that_it_fits_into() {
    // It is more than the three quarters that a policy leaves, and fits beside what the
    // driver may have.
    let message = vec![1; 900 * 1000];
    // An even number too: what drops two at a time would leave the last of an odd one.
    let policies = [SlowPolicy::DropOldest, SlowPolicy::Conflate];
    for (policy, rounds) in policies.into_iter().flat_map(|policy| [(policy, 4), (policy, 5)]) {
        let (mut engine, id, mut wire) = stalled(policy, 2);
        while flush(&mut engine, &mut wire) {}
        for _ in 0..rounds {
            publish(&mut engine, 0, b"small");
            publish(&mut engine, 1, &message);
            while flush(&mut engine, &mut wire) {}
        }
        wire.slow.clear();
        wire.sent.clear();
        engine.on_sent(id);
        while flush(&mut engine, &mut wire) {}
        let got = wire.sent.get(&id).map_or(0, Vec::len);
        let range = message.len()..message.len() + 50;
        assert!(range.contains(&got), "{got} after {rounds}, {policy:?}");
    }
}

#[test]
fn a_blocked_member_costs_a_room_that_is_passed_no_look_at_its_other_rooms() {
    let (mut engine, id, mut wire) = stalled(SlowPolicy::DropOldest, 100);
    while flush(&mut engine, &mut wire) {}
    (0..100).for_each(|room| publish(&mut engine, room, b"x"));
    while flush(&mut engine, &mut wire) {}
    // A room that nothing is published in is not looked at: what it has is wrong on
    // purpose, and stays.
    let connection = engine.core.find_mut(id).unwrap();
    let quiet = connection.memberships[5];
    let serial = engine.core.rooms.group(quiet.group).serial;
    let logs = &mut engine.core.connections[id.slot()].send_queue().logs;
    logs.forget(serial, 0);
    let before = logs.bytes();
    publish(&mut engine, 7, b"x");
    while flush(&mut engine, &mut wire) {}
    let logs = &engine.core.find(id).unwrap().send_queue.as_ref().unwrap().logs;
    let one = ENTRY_BYTES + 3;
    assert_eq!(logs.bytes(), before + one);
}

#[test]
fn a_batch_of_short_frames_from_many_rooms_has_a_bounded_number_of_slices() {
    let (mut engine, id, mut wire) = stalled(SlowPolicy::Close, 100);
    wire.slow.clear();
    (0..20_000).for_each(|number| publish(&mut engine, number % 100, b"x"));
    while flush(&mut engine, &mut wire) {}
    assert_eq!(engine.stats().deliveries, 20_000);
    assert!(engine.stats().sends >= 19, "{}", engine.stats().sends);
    assert!(engine.core.find(id).unwrap().send_queue.is_none());
}

#[test]
fn drop_newest_takes_messages_again_once_a_quarter_is_free() {
    let (mut engine, id, mut wire) = stalled(SlowPolicy::DropNewest, 1);
    while flush(&mut engine, &mut wire) {}
    let message = [0; 1000];
    let fill = |engine: &mut ShardEngine, wire: &mut Wire| {
        for _ in 0..1200 {
            publish(engine, 0, &message);
            while flush(engine, wire) {}
        }
    };
    fill(&mut engine, &mut wire);
    let dropped = engine.stats().messages_dropped;
    assert!((150..400).contains(&dropped), "{dropped}");
    // One batch is a quarter of the budget.
    engine.on_sent(id);
    while flush(&mut engine, &mut wire) {}
    publish(&mut engine, 0, &message);
    while flush(&mut engine, &mut wire) {}
    assert_eq!(engine.stats().messages_dropped, dropped, "there is room again");
    fill(&mut engine, &mut wire);
    assert!(engine.stats().messages_dropped > dropped + 800);
}

#[test]
fn a_direct_message_is_held_back_from_no_one_by_a_budget_that_it_fits_into() {
    let message = vec![1; 900 * 1000];
    for rounds in [4, 5] {
        let (mut engine, id, mut wire) = stalled(SlowPolicy::DropOldest, 1);
        while flush(&mut engine, &mut wire) {}
        for _ in 0..rounds {
            publish(&mut engine, 0, b"small");
            let data = Data::binary(message.clone());
            let direct = DirectMessage { to: id, event: "".into(), data };
            engine.on_mail(Mail::Send(Box::new(direct)).charged_to(Origin::Shard));
            while flush(&mut engine, &mut wire) {}
        }
        wire.slow.clear();
        wire.sent.clear();
        engine.on_sent(id);
        while flush(&mut engine, &mut wire) {}
        let got = wire.sent.get(&id).map_or(0, Vec::len);
        assert!((message.len()..message.len() + 50).contains(&got), "{got} after {rounds}");
    }
}
