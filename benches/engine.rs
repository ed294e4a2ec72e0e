//! What a publication costs on its way through the whole engine: received, read,
//! checked, appended to the room's log, given to each member. Times by criterion,
//! then each as a ratio to the same bytes on the same simulated network without an
//! engine: a bare driver that receives the message and sends each member what it
//! got from the engine. The difference of the two times is the engine's own.
//!
//! On both sides the network copies, and the peers take what they were sent. All
//! members are served in one turn: a simulated driver looks at every connection in
//! each turn, which the engine on a real one never has to.
//!
//! A member of many rooms with one frame in each is held against the same member
//! with as many frames in one room: without a kernel, and with one, by the processor
//! time of the shard's thread. A stalled member under a lossy policy is held against
//! one that reads; members of two rooms against as many of one; a publication that
//! crosses shards against one that stays.
//!
//! A burst is of the dialect `raw`, whose frames are so short that the network's
//! copies do not hide what the engine does; it is held also against as many turns
//! with one publication each, as it would be without a room's log.

mod ratio;
mod sockets;

use std::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use ratio::print_ratio;
use shardcast::{
    Builder, Conn, ConnId, Engine, Limits, MESSAGE_EVENT, Payload, SlowPolicy,
    batch::Slice,
    driver::{
        Driver, Event,
        sim::{Faults, PeerId, SimDriver, SimNet},
    },
    proto::frame::{Opcode, write_masked},
    shard::sim::World,
};
use sockets::{Served, print_cpu_ratio};

/// Members of the room.
const MEMBERS: [u32; 3] = [1, 100, 10_000];
/// A burst: publications that one member sends at once, and the members.
const BURST: (u32, u32) = (1000, 100);

/// Members that are in many rooms, and how many each is in.
const MANY_ROOMS: (u32, usize) = (300, 100);

/// Rooms of which members are in some, each in others than the one before.
const ALL_ROOMS: usize = 256;

/// What is published in many rooms, and its frame's header.
const SMALL: (&str, usize) = ("fifty bytes, which is what a price or a move takes.", 2);

/// A message that is published, and the path of those who exchange such.
struct Publish {
    path: &'static str,
    text: &'static str,
}

const PUBSUB: Publish = Publish {
    path: "/ws/pubsub",
    text: r#"{"type":"publish","room":"room","data":{"text":"twenty bytes of text"}}"#,
};
const RAW: Publish = Publish { path: "/ws/raw", text: "twenty bytes of text" };

impl Publish {
    /// What a client sends to publish `count` times.
    fn frames(&self, count: u32) -> Vec<u8> {
        let mut frames = Vec::new();
        for _ in 0..count {
            let (key, payload) = ([0x37, 0xFA, 0x21, 0x3D], self.text.as_bytes());
            write_masked(&mut frames, true, Opcode::Text, key, payload);
        }
        frames
    }
}

/// An engine of one shard, all of whose connections are in one room.
struct Room {
    world: World,
    members: Vec<PeerId>,
}

impl Room {
    fn new(members: u32, path: &str) -> Self {
        let limits = Limits {
            sends_per_turn: members as usize,
            // The whole burst of one member: a sixty-fourth of it is one connection's.
            messages_per_turn: 64 * BURST.0 as usize,
            ..Limits::default()
        };
        let builder = Engine::builder().limits(limits).on_connect(|conn| conn.join("room"));
        Self::with(
            members,
            path,
            builder.on_text(|conn, text| {
                conn.to("room").emit(MESSAGE_EVENT, Payload::Text(text));
                Ok(())
            }),
        )
    }

    /// All members are in many rooms. To the message "one" as many messages are
    /// published in one of them, to any other one in each.
    fn many(policy: SlowPolicy) -> Self {
        let limits = Limits { sends_per_turn: 1 << 20, slow_policy: policy, ..Limits::default() };
        Self::with(MANY_ROOMS.0, RAW.path, many_rooms("x").limits(limits))
    }

    /// Each member is in many rooms, seldom in the same as another. Any message is
    /// published in as many of all as one is in, or in one room as often.
    fn various() -> Self {
        let (members, rooms) = MANY_ROOMS;
        let limits = Limits { sends_per_turn: 1 << 20, ..Limits::default() };
        let names: Vec<String> = (0..ALL_ROOMS).map(|room| format!("room {room}")).collect();
        let (joined, next) = (names.clone(), AtomicUsize::new(1));
        let join = move |conn: &mut Conn<'_>| {
            let mut left: Vec<&String> = joined.iter().collect();
            (0..rooms).try_for_each(|_| {
                // Any spread will do.
                let seed = next.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
                conn.join(left.swap_remove((seed >> 33) % left.len()))
            })
        };
        let builder = Engine::builder().limits(limits).on_connect(join);
        Self::with(
            members,
            RAW.path,
            builder.on_text(move |conn, _| {
                for name in &names {
                    conn.to(name).emit(MESSAGE_EVENT, Payload::Text("x"));
                }
                Ok(())
            }),
        )
    }

    /// Members of one of two rooms each; a message is published in both. Or all are
    /// in the first, and it is published there.
    fn split(members: u32, rooms: usize) -> Self {
        let limits = Limits { sends_per_turn: members as usize, ..Limits::default() };
        let next = AtomicUsize::new(0);
        let builder = Engine::builder()
            .limits(limits)
            .on_connect(move |conn| conn.join(ROOMS[next.fetch_add(1, Ordering::Relaxed) % rooms]));
        Self::with(
            members,
            RAW.path,
            builder.on_text(move |conn, text| {
                for room in &ROOMS[..rooms] {
                    conn.to(room).emit(MESSAGE_EVENT, Payload::Text(text));
                }
                Ok(())
            }),
        )
    }

    /// The publisher and a member, on the same shard or another.
    fn pair(shards: usize) -> Self {
        let builder = Engine::builder().on_connect(|conn| conn.join("room"));
        let builder = builder.on_text(|conn, text| {
            conn.to("room").emit(MESSAGE_EVENT, Payload::Text(text));
            Ok(())
        });
        let mut world = World::new(1, shards, Faults::none(), builder).expect("good limits");
        let members = [0, shards - 1].map(|shard| world.upgrade(shard, RAW.path)).into();
        world.settle();
        let room = Self { world, members };
        room.read();
        room
    }

    fn with(members: u32, path: &str, builder: Builder) -> Self {
        let mut world = World::new(1, 1, Faults::none(), builder).expect("the limits are good");
        let members = (0..members).map(|_| world.upgrade(0, path)).collect();
        world.settle();
        let room = Self { world, members };
        room.read();
        room
    }

    /// The first member writes `messages`, and everyone gets what follows.
    fn publish(&mut self, messages: &[u8]) {
        self.world.net().write(self.members[0], black_box(messages));
        self.world.settle();
        self.read();
    }

    fn read(&self) {
        for member in &self.members {
            black_box(self.world.net().take(*member));
        }
    }

    /// What each member gets when the first one writes `messages`: checked to be
    /// all of their deliveries in one send.
    fn delivered(&mut self, messages: &[u8], count: u32) -> Vec<u8> {
        let before = self.world.stats();
        self.world.net().write(self.members[0], messages);
        self.world.settle();
        let after = self.world.stats();
        let members = self.members.len() as u64;
        assert_eq!(after.deliveries - before.deliveries, members * u64::from(count));
        assert_eq!(after.sends - before.sends, members, "one send for each member");
        let delivered = self.world.net().take(self.members[0]);
        self.read();
        delivered
    }
}

const ROOMS: [&str; 2] = ["first", "second"];

/// Members are in many rooms. To the message "one" as many messages are published in
/// one of them, to any other one in each.
fn many_rooms(message: &'static str) -> Builder {
    let names: Vec<String> = (0..MANY_ROOMS.1).map(|room| format!("room {room}")).collect();
    let joined = names.clone();
    let builder = Engine::builder();
    let builder =
        builder.on_connect(move |conn| joined.iter().try_for_each(|room| conn.join(room)));
    builder.on_text(move |conn, text| {
        for name in &names {
            let room = if text == "one" { &names[0] } else { name };
            conn.to(room).emit(MESSAGE_EVENT, Payload::Text(message));
        }
        Ok(())
    })
}

/// The same connections without an engine.
struct Bare {
    net: SimNet,
    driver: SimDriver,
    members: Vec<(ConnId, PeerId)>,
}

impl Bare {
    fn new(members: u32) -> Self {
        let net = SimNet::new(1, Faults::none());
        let mut driver = net.driver();
        let members: Vec<_> =
            (0..members).map(|slot| (ConnId::new(0, slot, 1), net.connect(0))).collect();
        let mut ids = members.iter().map(|(id, _)| *id);
        while !net.is_quiet() {
            driver.wait(None).expect("a simulated driver can wait");
            while let Some(Event::Accepted { socket, .. }) = driver.next() {
                let id = ids.next().expect("as many accepts as members");
                driver.attach(id, socket).expect("a simulated driver can attach");
            }
        }
        Self { net, driver, members }
    }

    /// The first member writes `messages`, and everyone gets `answer`. The network
    /// is asked whether it is quiet as often as a world asks.
    fn publish(&mut self, messages: &[u8], answer: &Bytes) {
        self.net.write(self.members[0].1, black_box(messages));
        black_box(self.net.is_quiet());
        self.driver.wait(None).expect("a simulated driver can wait");
        while let Some(event) = self.driver.next() {
            black_box(&event);
        }
        for (id, _) in &self.members {
            self.driver.send(*id, &[Slice::whole(answer)]);
        }
        black_box(self.net.is_quiet());
        for (_, member) in &self.members {
            black_box(self.net.take(*member));
        }
    }
}

fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    let message = PUBSUB.frames(1);
    for members in MEMBERS {
        let mut room = Room::new(members, PUBSUB.path);
        group.throughput(Throughput::Elements(u64::from(members)));
        group.bench_function(BenchmarkId::new("publish", members), |bencher| {
            bencher.iter(|| room.publish(&message));
        });
    }
    let (count, members) = BURST;
    let (messages, mut room) = (RAW.frames(count), Room::new(members, RAW.path));
    group.throughput(Throughput::Elements(u64::from(count * members)));
    group.bench_function(BenchmarkId::new(format!("{count} publishes"), members), |bencher| {
        bencher.iter(|| room.publish(&messages));
    });
    group.finish();
}

fn ratios() {
    println!("The times in brackets are those of one delivery.");
    for members in MEMBERS {
        print_publish(&format!("publish to {members}"), &PUBSUB, 1, members);
    }
    let (count, members) = BURST;
    let name = format!("{count} publishes to {members}");
    print_publish(&name, &RAW, count, members);
    let (messages, message) = (RAW.frames(count), RAW.frames(1));
    let (mut room, mut other) = (Room::new(members, RAW.path), Room::new(members, RAW.path));
    print_ratio(
        &name,
        "one in each turn",
        count * members,
        || room.publish(&messages),
        || (0..count).for_each(|_| other.publish(&message)),
    );
    print_many_rooms();
    print_many_rooms_on_sockets();
    for members in [300, 10_000] {
        let (mut room, mut other) = (Room::split(members, 2), Room::split(members, 1));
        print_ratio(
            &format!("{members} in one of two rooms"),
            "all in one",
            members,
            || room.publish(&message),
            || other.publish(&message),
        );
    }
    let (mut room, mut other) = (Room::pair(2), Room::pair(1));
    print_ratio(
        &format!("{count} publishes to another shard"),
        "to the same",
        count,
        || room.publish(&messages),
        || other.publish(&messages),
    );
}

/// The same with real sockets and the kernel's part of the sends.
fn print_many_rooms_on_sockets() {
    let (members, rooms) = MANY_ROOMS;
    let [each, one] = ["each", "one"].map(|text| Publish { path: RAW.path, text }.frames(1));
    let len = rooms * (SMALL.1 + SMALL.0.len());
    let names = (&*format!("sockets, one in each of {rooms} rooms"), "all in one");
    let served = || Served::new(members, RAW.path, many_rooms(SMALL.0));
    let deliveries = members * rooms as u32;
    print_cpu_ratio(names, deliveries, (served(), &each, len), (served(), &one, len));
}

/// One frame in each of many rooms against as many in one; and members that read
/// nothing against members that do.
fn print_many_rooms() {
    let (members, rooms) = MANY_ROOMS;
    let deliveries = members * rooms as u32;
    let each = Publish { path: RAW.path, text: "each" }.frames(1);
    let one = Publish { path: RAW.path, text: "one" }.frames(1);
    let (mut room, mut other) = (Room::many(SlowPolicy::Close), Room::many(SlowPolicy::Close));
    print_ratio(
        &format!("one in each of {rooms} rooms"),
        "all in one",
        deliveries,
        || room.publish(&each),
        || other.publish(&one),
    );
    let mut various = Room::various();
    print_ratio(
        &format!("about {rooms} frames of {ALL_ROOMS} rooms"),
        "all in one",
        deliveries,
        || various.publish(&each),
        || other.publish(&one),
    );
    for policy in [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::Conflate] {
        let mut stalled = Room::many(policy);
        // The first publishes, and reads.
        for member in &stalled.members[1..] {
            stalled.world.net().stall(*member);
        }
        let readers = stalled.members.drain(1..).collect::<Vec<_>>();
        // From the first message on, budgets are full.
        (0..600).for_each(|_| stalled.publish(&each));
        print_ratio(
            &format!("{} stalled, {}", readers.len(), policy.name()),
            "reading",
            deliveries,
            || stalled.publish(&each),
            || room.publish(&each),
        );
    }
}

/// `count` publications in one turn to `members`.
fn print_publish(name: &str, publish: &Publish, count: u32, members: u32) {
    let messages = publish.frames(count);
    let (mut room, mut bare) = (Room::new(members, publish.path), Bare::new(members));
    let answer = Bytes::from(room.delivered(&messages, count));
    print_ratio(
        name,
        "bare driver",
        count * members,
        || room.publish(&messages),
        || bare.publish(&messages, &answer),
    );
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    times(&mut criterion);
    criterion.final_summary();
    ratios();
}
