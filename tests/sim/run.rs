//! Runs: random operations in phases, each followed by rest, then the checks.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use shardcast::{
    Builder, Conn, Engine, Limits, SlowPolicy,
    driver::sim::{Faults, Rng},
    proto::frame::Opcode,
    shard::sim::World,
};

use crate::{
    model::{Accepted, Entry, Model},
    peer::{Frame, Peer},
};

const ROOMS: [&str; 3] = ["red", "green", "blue"];

type Log = Arc<Mutex<Vec<Entry>>>;

/// An engine whose hooks write down what it accepts.
fn tapped(log: &Log) -> Builder {
    let note = |log: &Log, conn: &Conn<'_>, what| {
        let client = conn.client_id().to_string();
        log.lock().unwrap().push(Entry { client, what });
    };
    let (opened, gone, messages) = (log.clone(), log.clone(), log.clone());
    Engine::builder()
        .on_connect(move |conn| {
            note(&opened, conn, Accepted::Opened);
            Ok(())
        })
        .on_disconnect(move |conn, _| note(&gone, conn, Accepted::Gone))
        .on("others", |conn, message| {
            let room = message.room().unwrap_or_default();
            conn.to(room).except_self().emit("message", message.data());
            Ok(())
        })
        .on_message(move |conn, message| {
            let data = message.data().map(|data| serde_json::from_slice(data.as_bytes()).unwrap());
            let room = message.room().map(str::to_owned);
            let event = message.event().to_owned();
            note(&messages, conn, Accepted::Message { event, room, data });
            Ok(())
        })
}

/// Bounds at which every turn leaves something over.
fn cramped() -> Limits {
    Limits {
        batch_bytes: 300,
        room_share_bytes: 500,
        shard_share_bytes: 2000,
        window_bytes: 1500,
        received_bytes_per_turn: 300,
        mails_per_turn: 2,
        events_per_turn: 2,
        sends_per_turn: 1,
        timers_per_turn: 1,
        ..Limits::default()
    }
}

struct Run {
    world: World,
    rng: Rng,
    peers: Vec<Peer>,
    /// Peers that have reset or closed; they do nothing more.
    left: Vec<bool>,
    /// Peers that have reset: what they were sent may be cut off.
    broken: Vec<bool>,
    published: u64,
    log: Log,
    /// The log's length at the end of each phase.
    phases: Vec<usize>,
}

impl Run {
    fn new(seed: u64, shards: usize) -> Self {
        let log = Log::default();
        // A few seeds on a perfect network: what fails there is no race.
        let faults = if seed.is_multiple_of(10) { Faults::none() } else { Faults::all() };
        let engine = tapped(&log).limits(if seed % 3 == 1 { cramped() } else { Limits::default() });
        let world = World::new(seed, shards, faults, engine).unwrap();
        Self {
            world,
            rng: Rng::new(seed ^ 0x5EED),
            peers: Vec::new(),
            left: Vec::new(),
            broken: Vec::new(),
            published: 0,
            log,
            phases: Vec::new(),
        }
    }

    fn shards(&self) -> usize {
        self.world.shard_count()
    }

    fn connect(&mut self) {
        let shard = self.rng.below(self.shards());
        let id = self.world.upgrade(shard, "/ws");
        self.peers.push(Peer::new(id, shard));
        self.left.push(false);
        self.broken.push(false);
    }

    /// Anyone who has not left.
    fn someone(&mut self) -> Option<usize> {
        let there: Vec<usize> = (0..self.peers.len()).filter(|peer| !self.left[*peer]).collect();
        if there.is_empty() { None } else { Some(there[self.rng.below(there.len())]) }
    }

    fn step(&mut self) {
        if self.peers.len() < 2 || self.rng.chance(8) {
            self.connect();
            return;
        }
        let Some(peer) = self.someone() else { return };
        let net = self.world.net().clone();
        match self.rng.below(100) {
            0..=24 => self.talk(peer, "publish"),
            25..=34 => self.talk(peer, "others"),
            35..=54 => self.talk(peer, "subscribe"),
            55..=62 => self.talk(peer, "unsubscribe"),
            63..=72 => self.talk(peer, "broadcast"),
            73..=76 => self.talk(peer, "ping"),
            77..=79 => self.talk(peer, "nonsense"),
            80..=83 => self.peers[peer].send_control(&net, Opcode::Ping, b"?"),
            84..=87 => net.stall(self.peers[peer].id),
            88..=91 => net.resume(self.peers[peer].id),
            92 => {
                self.peers[peer].send_control(&net, Opcode::Close, &1000u16.to_be_bytes());
                self.left[peer] = true;
            }
            93 => {
                net.reset(self.peers[peer].id);
                self.left[peer] = true;
                self.broken[peer] = true;
            }
            _ => {
                let shard = self.rng.below(self.shards());
                self.world.turn(shard);
            }
        }
    }

    fn talk(&mut self, peer: usize, event: &str) {
        let mut message = json!({ "type": event });
        if matches!(event, "publish" | "others" | "subscribe" | "unsubscribe") {
            message["room"] = json!(ROOMS[self.rng.below(ROOMS.len())]);
        }
        if matches!(event, "publish" | "others" | "broadcast") {
            self.published += 1;
            // Now and then a frame that is referenced instead of copied.
            let padding = if self.rng.chance(3) { 20_000 } else { self.rng.below(60) };
            message["data"] = json!({ "n": self.published, "pad": "x".repeat(padding) });
        }
        let pieces = 1 + self.rng.below(3);
        self.peers[peer].send(self.world.net(), &message.to_string(), pieces);
    }

    /// Lets everything arrive.
    fn rest(&mut self) {
        self.world.settle();
        let net = self.world.net().clone();
        for peer in &mut self.peers {
            peer.read(&net);
        }
        self.phases.push(self.log.lock().unwrap().len());
    }

    /// Random operations, then everybody reads until nothing is left.
    fn play(&mut self, steps: usize) {
        for _ in 0..3 {
            for _ in 0..steps {
                self.step();
            }
            self.rest();
            let pause = Duration::from_millis(self.rng.below(2000) as u64);
            self.world.advance(pause);
        }
        let net = self.world.net().clone();
        for peer in &self.peers {
            net.resume(peer.id);
        }
        self.rest();
    }

    /// Everybody leaves; the engine must keep nothing of them.
    fn end(mut self) {
        let net = self.world.net().clone();
        for peer in 0..self.peers.len() {
            if !self.left[peer] {
                net.finish(self.peers[peer].id);
            }
        }
        self.rest();
        self.world.advance(Duration::from_secs(20));
        assert!(self.world.is_empty(), "something is left of the connections: {:?}", self.world);
    }

    fn events(&self, peer: usize) -> Vec<&Value> {
        let events = self.peers[peer].frames.iter();
        events
            .filter_map(|frame| match frame {
                Frame::Event(event) => Some(event),
                _ => None,
            })
            .collect()
    }
}

/// Random operations, and what each peer was sent against the model.
pub(crate) fn against_the_model(seed: u64, shards: usize) {
    let mut run = Run::new(seed, shards);
    run.play(25);
    let log = run.log.lock().unwrap().clone();
    if shards == 1 {
        check_exactly(&run, &log);
    } else {
        check_loosely(&run, &log);
    }
    run.end();
}

/// With one shard there is one order: the model's.
fn check_exactly(run: &Run, log: &[Entry]) {
    let model = Model::of(log);
    for peer in 0..run.peers.len() {
        let Some(client) = &run.peers[peer].client_id else {
            assert!(run.left[peer], "peer {peer} was never greeted");
            continue;
        };
        let expected: Vec<&Value> = model.sent[client].iter().collect();
        let seen = run.events(peer);
        if run.broken[peer] {
            assert!(expected.starts_with(&seen), "peer {peer}: {seen:#?}\n!= {expected:#?}");
        } else {
            assert_eq!(seen, expected, "peer {peer}");
            assert!(run.peers[peer].is_between_frames(), "peer {peer}: half a frame");
        }
    }
}

/// With several, publications of different shards may meet in any order.
fn check_loosely(run: &Run, log: &[Entry]) {
    let memberships = Memberships::of(log);
    for peer in 0..run.peers.len() {
        let Some(client) = run.peers[peer].client_id.clone() else { continue };
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut seen: Vec<u64> = Vec::new();
        for event in run.events(peer) {
            if event["type"] != "message" {
                continue;
            }
            let number = event["data"]["n"].as_u64().unwrap();
            let from = event["client_id"].as_str().unwrap();
            let before = last.insert(from, number).unwrap_or(0);
            assert!(before < number, "peer {peer}: {number} of {from} behind {before}");
            seen.push(number);
        }
        for (index, entry) in log.iter().enumerate() {
            let Accepted::Message { event, room, data } = &entry.what else { continue };
            let everyone = event == "broadcast";
            let others = event == "others";
            let published = event == "publish" && memberships.has_sent(index);
            if !everyone && !others && !published {
                continue;
            }
            let number = data.as_ref().unwrap()["n"].as_u64().unwrap();
            let end = *run.phases.iter().find(|end| **end > index).unwrap();
            let room = if everyone { None } else { room.as_deref() };
            let excepted = others && entry.client == client;
            let (always, ever) = if excepted {
                (false, false)
            } else {
                memberships.during(&client, room, index, end)
            };
            let came = seen.contains(&number);
            assert!(came || !always || run.broken[peer], "peer {peer} lacks {number}");
            assert!(!came || ever, "peer {peer} got {number} without being a member");
        }
    }
}

/// A client and a room of its, or its being open.
type Membership = (String, Option<String>);

/// Who was a member when, by index of the log.
struct Memberships {
    /// When each membership began or ended.
    changes: BTreeMap<Membership, Vec<(usize, bool)>>,
    /// Whether the publish at this index was by a member.
    sent: Vec<bool>,
}

impl Memberships {
    fn of(log: &[Entry]) -> Self {
        let mut this = Self { changes: BTreeMap::new(), sent: vec![false; log.len()] };
        for (index, entry) in log.iter().enumerate() {
            let client = entry.client.clone();
            match &entry.what {
                Accepted::Opened => this.change(client, None, index, true),
                Accepted::Gone => {
                    let rooms = ROOMS.iter().map(|room| Some((*room).to_owned()));
                    for room in rooms.chain([None]) {
                        this.change(client.clone(), room, index, false);
                    }
                }
                Accepted::Message { event, room, .. } => match event.as_str() {
                    "subscribe" => this.change(client, room.clone(), index, true),
                    "unsubscribe" => this.change(client, room.clone(), index, false),
                    _ => this.sent[index] = this.during(&client, room.as_deref(), index, index).0,
                },
            }
        }
        this
    }

    fn change(&mut self, client: String, room: Option<String>, index: usize, member: bool) {
        self.changes.entry((client, room)).or_default().push((index, member));
    }

    fn has_sent(&self, index: usize) -> bool {
        self.sent[index]
    }

    /// Whether the client was a member from `from` to `to` all the time, and
    /// whether it was at any time.
    fn during(&self, client: &str, room: Option<&str>, from: usize, to: usize) -> (bool, bool) {
        let key = (client.to_owned(), room.map(str::to_owned));
        let changes = self.changes.get(&key).map_or(&[][..], Vec::as_slice);
        let before = changes.iter().rev().find(|(index, _)| *index <= from);
        let start = before.is_some_and(|(_, member)| *member);
        let within = changes.iter().filter(|(index, _)| (from + 1..to).contains(index));
        let (mut always, mut ever) = (start, start);
        for (_, member) in within {
            always &= member;
            ever |= member;
        }
        (always, ever)
    }
}

/// Readers that stall under a small budget and a lossy policy.
pub(crate) fn with_slow_readers(seed: u64) {
    let policies = [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::Conflate];
    let policy = policies[(seed % 3) as usize];
    let limits =
        Limits { queue_bytes: 2000, batch_bytes: 500, slow_policy: policy, ..Limits::default() };
    let engine = Engine::builder().limits(limits);
    let mut world = World::new(seed, 1, Faults::all(), engine).unwrap();
    let net = world.net().clone();
    let mut rng = Rng::new(seed);
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::new(world.upgrade(0, "/ws"), 0)).collect();
    for peer in &peers {
        peer.send(&net, r#"{"type":"subscribe","room":"red"}"#, 1);
    }
    world.settle();
    net.stall(peers[1].id);
    let count = 150 + rng.below(100) as u64;
    for number in 1..=count {
        let pad = "y".repeat(rng.below(100));
        let data = json!({ "n": number, "pad": pad });
        let message = json!({ "type": "publish", "room": "red", "data": data });
        peers[0].send(&net, &message.to_string(), 1);
        if rng.chance(70) {
            world.settle();
        }
    }
    world.settle();
    net.resume(peers[1].id);
    world.settle();
    for peer in &mut peers {
        peer.read(&net);
        assert!(peer.is_between_frames());
    }
    let all: Vec<u64> = (1..=count).collect();
    assert_eq!(numbers(&peers[0]), all);
    assert_eq!(numbers(&peers[2]), all);
    check_what_is_left(policy, &numbers(&peers[1]), count);
    assert!(world.stats().messages_dropped > 0);
}

fn check_what_is_left(policy: SlowPolicy, seen: &[u64], count: u64) {
    assert!(seen.is_sorted_by(|a, b| a < b), "out of order or twice: {seen:?}");
    assert!((seen.len() as u64) < count, "nothing was dropped");
    match policy {
        SlowPolicy::DropNewest => {
            // An unbroken beginning, and it ends before the last.
            assert!(seen.len() > 5 && seen[..5] == [1, 2, 3, 4, 5], "{seen:?}");
            assert_ne!(seen.last(), Some(&count), "{seen:?}");
        }
        _ => assert_eq!(seen.last(), Some(&count), "the newest must arrive: {seen:?}"),
    }
}

fn numbers(peer: &Peer) -> Vec<u64> {
    let messages = peer.frames.iter().filter_map(|frame| match frame {
        Frame::Event(event) => event["data"]["n"].as_u64(),
        _ => None,
    });
    messages.collect()
}

/// Everything that every peer was sent in a run, with client ids by number.
pub(crate) fn transcript(seed: u64) -> String {
    let mut run = Run::new(seed, 2);
    run.play(40);
    let mut text = String::new();
    for peer in &run.peers {
        let _ = writeln!(text, "{} {:?}", peer.shard, peer.frames);
    }
    let ids: Vec<String> = run.peers.iter().filter_map(|peer| peer.client_id.clone()).collect();
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(id, &format!("client {number}"));
    }
    text
}
