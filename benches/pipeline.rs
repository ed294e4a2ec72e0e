//! What a message costs of which many come in one read, as from a client that keeps
//! them in flight: frame, message, dispatch, handler, answer. Times by criterion, then
//! a ratio to a bare loop on the same simulated network that unmasks each frame and
//! appends its answer, without asking what it is. What the network itself needs for
//! the bytes, with as many turns, is taken away from both.

mod ratio;

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use ratio::print_ratio_above;
use shardcast::{
    ConnId, Engine,
    batch::Slice,
    driver::{
        Driver, Event,
        sim::{Faults, PeerId, SimDriver, SimNet},
    },
    proto::frame::{Opcode, write_masked},
    shard::sim::World,
};

/// Messages in one read.
const IN_FLIGHT: [u32; 3] = [1, 16, 64];
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const PAYLOAD: &[u8] = b"twenty bytes of text";

/// A frame of the client's with a short payload: head, key, payload.
const HEAD: usize = 6;

/// `count` messages as the client sends them.
fn messages(count: u32) -> Vec<u8> {
    let mut frames = Vec::new();
    (0..count).for_each(|_| write_masked(&mut frames, true, Opcode::Text, KEY, PAYLOAD));
    frames
}

/// `count` messages as they come back.
fn answers(count: u32) -> Vec<u8> {
    [&[0x81, PAYLOAD.len() as u8], PAYLOAD].concat().repeat(count as usize)
}

/// The engine, and one client that it echoes to.
struct Echo {
    world: World,
    peer: PeerId,
}

impl Echo {
    fn new() -> Self {
        let engine = Engine::builder().on_text(|conn, text| {
            conn.send_text(text);
            Ok(())
        });
        let mut world = World::new(1, 1, Faults::none(), engine).expect("the limits are good");
        let peer = world.upgrade(0, "/ws/raw");
        world.settle();
        world.net().take(peer);
        Self { world, peer }
    }

    fn exchange(&mut self, messages: &[u8]) -> Vec<u8> {
        self.world.net().write(self.peer, black_box(messages));
        self.world.turn(0);
        self.world.net().take(self.peer)
    }
}

/// What a bare driver does with what it is lent.
type Answer = fn(&mut [u8], &mut Vec<u8>);

/// Unmasks each frame and appends its answer.
fn parse_and_answer(mut input: &mut [u8], out: &mut Vec<u8>) {
    while let [first, length, ..] = *input {
        let length = usize::from(length & 0x7F);
        if length > 125 || input.len() < HEAD + length {
            return;
        }
        let (frame, rest) = input.split_at_mut(HEAD + length);
        let (head, payload) = frame.split_at_mut(HEAD);
        let key = [head[2], head[3], head[4], head[5]];
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[at & 3];
        }
        out.extend_from_slice(&[first, length as u8]);
        out.extend_from_slice(payload);
        input = rest;
    }
}

/// Sends as many bytes as the answers have, whatever came.
fn copy(input: &mut [u8], out: &mut Vec<u8>) {
    let count = input.len() / (HEAD + PAYLOAD.len());
    out.resize(count * (2 + PAYLOAD.len()), 0);
    black_box(input);
}

/// One client, and no engine.
struct Bare {
    net: SimNet,
    driver: SimDriver,
    id: ConnId,
    peer: PeerId,
    answer: Answer,
}

impl Bare {
    fn new(answer: Answer) -> Self {
        let net = SimNet::new(1, Faults::none());
        let (mut driver, id) = (net.driver(), ConnId::new(0, 0, 1));
        let peer = net.connect(0);
        driver.wait(None).expect("a simulated driver can wait");
        let Some(Event::Accepted { socket, .. }) = driver.next() else { panic!("no accept") };
        driver.attach(id, socket).expect("a simulated driver can attach");
        Self { net, driver, id, peer, answer }
    }

    fn exchange(&mut self, messages: &[u8]) -> Vec<u8> {
        self.net.write(self.peer, black_box(messages));
        self.driver.wait(None).expect("a simulated driver can wait");
        let mut out = Vec::new();
        while let Some(event) = self.driver.next() {
            if let Event::Data(_, bytes) = event {
                (self.answer)(bytes, &mut out);
            }
        }
        self.driver.send(self.id, &[Slice::whole(&Bytes::from(out))]);
        self.net.take(self.peer)
    }
}

fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline");
    for count in IN_FLIGHT {
        let messages = messages(count);
        group.throughput(Throughput::Elements(u64::from(count)));
        let mut echo = Echo::new();
        group.bench_function(BenchmarkId::new("engine", count), |bencher| {
            bencher.iter(|| echo.exchange(&messages));
        });
        for (name, answer) in [("bare loop", parse_and_answer as Answer), ("network", copy)] {
            let mut bare = Bare::new(answer);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| bare.exchange(&messages));
            });
        }
    }
    group.finish();
}

fn ratios() {
    println!("The times in brackets are those of one message, without the network's.");
    for count in IN_FLIGHT {
        let (messages, answers) = (messages(count), answers(count));
        let (mut echo, mut bare) = (Echo::new(), Bare::new(parse_and_answer));
        let mut network = Bare::new(copy);
        assert_eq!(echo.exchange(&messages), answers, "the engine echoes");
        assert_eq!(bare.exchange(&messages), answers, "the bare loop echoes");
        assert_eq!(network.exchange(&messages).len(), answers.len(), "as many bytes");
        print_ratio_above(
            &format!("{count} in one read"),
            "parse and answer",
            count,
            || drop(black_box(echo.exchange(&messages))),
            || drop(black_box(bare.exchange(&messages))),
            || drop(black_box(network.exchange(&messages))),
        );
    }
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
