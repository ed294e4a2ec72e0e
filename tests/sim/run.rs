//! A world with peers and a thread that has a handle, and what they do: by chance, in
//! phases, each followed by rest.

use std::time::Duration;

use serde_json::json;
use shardcast::{
    Limits, SlowPolicy,
    driver::sim::{Faults, Rng},
    proto::frame::Opcode,
    shard::sim::World,
};

use crate::{
    app::{MANY, Tap, cramped, patient, tapped},
    bounds::Bounds,
    hand::{Act, HANDLE_ROOMS, Hand},
    peer::Peer,
};

pub(crate) const ROOMS: [&str; 3] = ["red", "green", "blue"];
pub(crate) const USERS: [&str; 3] = ["ann", "bob", "eve"];

/// The time within which peers answer a ping, in milliseconds.
const ANSWER_MS: usize = 400;

/// What a run had to deal with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) holds: u64,
    pub(crate) busy: usize,
    pub(crate) dropped: u64,
    pub(crate) too_slow: u64,
}

pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) rng: Rng,
    pub(crate) peers: Vec<Peer>,
    pub(crate) tap: Tap,
    pub(crate) hand: Hand,
    /// The log's length at the end of each phase.
    pub(crate) phases: Vec<usize>,
    /// The network loses no time: who reads takes everything at once.
    pub(crate) is_prompt: bool,
    pub(crate) bounds: Bounds,
    /// Some messages are so large that they are referenced instead of copied.
    pub(crate) has_large: bool,
    published: u64,
}

impl Run {
    pub(crate) fn new(seed: u64, shards: usize) -> Self {
        let limits = if seed.is_multiple_of(3) { patient() } else { cramped() };
        Self::with_limits(seed, shards, limits)
    }

    pub(crate) fn with_limits(seed: u64, shards: usize, limits: Limits) -> Self {
        let tap = Tap::default();
        // A few seeds on a perfect network: what fails there is no race.
        let is_prompt = seed.is_multiple_of(10);
        let faults = if is_prompt { Faults::none() } else { Faults::all() };
        let engine = tapped(&tap).limits(limits.clone());
        let world = World::new(seed, shards, faults, engine).unwrap();
        Self {
            hand: Hand::new(world.handle(), tap.clone()),
            world,
            rng: Rng::new(seed ^ 0x5EED),
            peers: Vec::new(),
            tap,
            phases: Vec::new(),
            is_prompt,
            bounds: Bounds::new(limits, shards),
            has_large: true,
            published: 0,
        }
    }

    pub(crate) fn connect(&mut self) {
        let shard = self.rng.below(self.world.shard_count());
        let id = self.world.upgrade(shard, "/ws");
        self.peers.push(Peer::new(id, shard));
    }

    /// Anyone who has not left.
    pub(crate) fn someone(&mut self) -> Option<usize> {
        let there = |peer: &usize| !self.peers[*peer].left;
        let there: Vec<usize> = (0..self.peers.len()).filter(there).collect();
        if there.is_empty() { None } else { Some(there[self.rng.below(there.len())]) }
    }

    /// A client that was greeted, whatever has become of it.
    fn some_client(&mut self) -> Option<String> {
        let clients = self.peers.iter().filter_map(|peer| peer.client_id.as_ref());
        let clients: Vec<&String> = clients.collect();
        if clients.is_empty() { None } else { Some(clients[self.rng.below(clients.len())].clone()) }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.below(from.len())]
    }

    /// Something happens, by chance anything.
    pub(crate) fn step(&mut self) {
        if self.peers.len() < 2 || (self.peers.len() < 12 && self.rng.chance(8)) {
            self.connect();
            return;
        }
        let Some(peer) = self.someone() else { return };
        match self.rng.below(100) {
            0..=51 => self.some_publish(),
            52..=65 => self.talk(peer, "subscribe"),
            66..=70 => self.talk(peer, "unsubscribe"),
            71..=73 => self.talk(peer, "name"),
            74..=76 => self.talk(peer, "policy"),
            77 => self.talk(peer, "nonsense"),
            78..=81 => self.some_membership_by_hand(),
            82 => self.leave(peer),
            83 => self.reset(peer),
            84 => {
                if let Some(client) = self.some_client() {
                    self.by_hand(Act::Close { client });
                }
            }
            _ => self.some_trouble(),
        }
        self.watch();
    }

    /// Something is published or sent.
    pub(crate) fn some_publish(&mut self) {
        let Some(peer) = self.someone() else { return };
        match self.rng.below(50) {
            0..=13 => self.talk(peer, "publish"),
            14..=18 => self.talk(peer, "others"),
            19..=23 => self.talk(peer, "keyed"),
            24..=26 => self.talk(peer, "many"),
            27..=30 => self.talk(peer, "broadcast"),
            31..=34 => self.talk(peer, "whisper"),
            35..=38 => self.talk(peer, "direct"),
            39..=40 => self.talk(peer, "ping"),
            41..=48 => self.publish_by_hand(),
            _ => {
                let event = self.pick(&["publish", "publish", "others", "direct", "ping"]);
                for _ in 0..5 + self.rng.below(40) {
                    self.talk(peer, event);
                }
            }
        }
    }

    /// Something that is nobody's wish.
    pub(crate) fn some_trouble(&mut self) {
        let Some(peer) = self.someone() else { return };
        let net = self.world.net().clone();
        match self.rng.below(16) {
            0..=4 => {
                net.stall(self.peers[peer].id);
                self.peers[peer].stalled = true;
            }
            5 => net.resume(self.peers[peer].id),
            6 => self.peers[peer].send_control(&net, Opcode::Ping, b"?"),
            7 => {
                self.peers[peer].read(&net);
            }
            8 => self.freeze(),
            _ => {
                let shard = self.rng.below(self.world.shard_count());
                self.world.turn(shard);
            }
        }
    }

    /// The process stands still. Peers do not, unless it is their machine too.
    pub(crate) fn freeze(&mut self) {
        let seconds = self.pick(&[0, 1, 2, 5, 70]);
        self.world.freeze(Duration::from_millis(seconds * 1000 + 900));
        let net = self.world.net().clone();
        if seconds < 5 || self.rng.chance(50) {
            for peer in &mut self.peers {
                peer.read(&net);
            }
        }
    }

    fn leave(&mut self, peer: usize) {
        let net = self.world.net().clone();
        self.peers[peer].send_control(&net, Opcode::Close, &1000u16.to_be_bytes());
        self.peers[peer].left = true;
    }

    pub(crate) fn reset(&mut self, peer: usize) {
        self.world.net().reset(self.peers[peer].id);
        self.peers[peer].left = true;
        self.peers[peer].broken = true;
    }

    pub(crate) fn talk(&mut self, peer: usize, event: &str) {
        let mut message = json!({ "type": event });
        match event {
            "publish" | "subscribe" | "unsubscribe" => message["room"] = json!(self.pick(&ROOMS)),
            "others" | "keyed" | "many" => {
                let room = if self.rng.chance(20) { self.pick(&HANDLE_ROOMS) } else { "" };
                let room = if room.is_empty() { self.pick(&ROOMS) } else { room };
                message["room"] = json!(room);
            }
            _ => {}
        }
        match event {
            "keyed" => message["to"] = json!(self.pick(&["key", "other key"])),
            "name" | "whisper" => message["to"] = json!(self.pick(&USERS)),
            "policy" => message["to"] = json!(self.pick(&SlowPolicy::ALL).name()),
            "direct" => {
                let Some(client) = self.some_client() else { return };
                message["to"] = json!(client);
            }
            _ => {}
        }
        if matches!(
            event,
            "publish" | "others" | "keyed" | "many" | "broadcast" | "whisper" | "direct"
        ) {
            // Now and then a frame that is referenced instead of copied.
            let padding =
                if self.has_large && self.rng.chance(1) { 20_000 } else { self.rng.below(100) };
            let n = self.number(if event == "many" { MANY } else { 1 });
            message["data"] = json!({ "n": n, "pad": "x".repeat(padding) });
            self.bounds.largest = self.bounds.largest.max(padding + 50);
        }
        self.say(peer, &message.to_string());
    }

    /// Writes a message, in one frame or several.
    pub(crate) fn say(&mut self, peer: usize, text: &str) {
        let pieces = 1 + self.rng.below(3);
        self.peers[peer].send(self.world.net(), text, pieces);
    }

    /// The first of `count` new numbers.
    fn number(&mut self, count: u64) -> u64 {
        let first = self.published + 1;
        self.published += count;
        first
    }

    fn publish_by_hand(&mut self) {
        let n = self.number(1);
        let act = match self.rng.below(6) {
            0..=1 => Act::Publish { room: self.pick(&HANDLE_ROOMS), n },
            2 => Act::Publish { room: self.pick(&ROOMS), n },
            3 => Act::Whisper { user: self.pick(&USERS), n },
            4 => Act::Broadcast { n },
            _ => match self.some_client() {
                Some(client) => Act::Send { client, n },
                None => return,
            },
        };
        self.by_hand(act);
    }

    pub(crate) fn by_hand(&mut self, act: Act) {
        self.hand.act(act, self.phases.len());
    }

    pub(crate) fn some_membership_by_hand(&mut self) {
        let Some(client) = self.some_client() else { return };
        let room = self.pick(&HANDLE_ROOMS);
        let joins = self.rng.chance(70);
        self.by_hand(if joins { Act::Join { client, room } } else { Act::Leave { client, room } });
    }

    /// Turns until nothing moves; nothing may be kept beyond the bounds meanwhile.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if self.world.is_quiet() {
                return;
            }
            for shard in 0..self.world.shard_count() {
                self.world.turn(shard);
            }
            self.watch();
        }
        panic!("a shard never comes to rest");
    }

    pub(crate) fn watch(&mut self) {
        let rooms = ROOMS.len() + HANDLE_ROOMS.len() + USERS.len() + 1;
        self.bounds.check(self.world.kept_bytes(), self.peers.len(), rooms);
    }

    /// Lets everything arrive and be answered.
    pub(crate) fn rest(&mut self) {
        let net = self.world.net().clone();
        loop {
            self.settle();
            let mut came = false;
            for peer in &mut self.peers {
                came |= peer.read(&net);
            }
            if !came {
                break;
            }
        }
        self.phases.push(self.tap.len());
    }

    /// Time passes, in which peers answer pings.
    pub(crate) fn pass_time(&mut self, milliseconds: usize) {
        let mut left = milliseconds;
        while left > 0 {
            let step = left.min(1 + self.rng.below(ANSWER_MS));
            self.world.advance(Duration::from_millis(step as u64));
            self.rest();
            left -= step;
        }
    }

    /// Random steps, then everybody reads until nothing is left. Whoever was held for
    /// it goes on.
    pub(crate) fn play(&mut self, mut steps: impl FnMut(&mut Self)) {
        for _ in 0..3 {
            steps(self);
            self.rest();
            let pause = self.rng.below(2000);
            self.pass_time(pause);
        }
        let net = self.world.net().clone();
        for peer in &self.peers {
            net.resume(peer.id);
        }
        self.rest();
        assert_eq!(self.world.held_count(), 0, "somebody is held though all have read");
    }

    /// Everybody leaves; the engine must keep nothing of them.
    pub(crate) fn end(mut self) -> Outcome {
        let stats = self.world.stats();
        let net = self.world.net().clone();
        for peer in &self.peers {
            net.finish(peer.id);
        }
        self.rest();
        self.world.advance(Duration::from_secs(20));
        assert!(self.world.is_empty(), "something is left of the connections: {:?}", self.world);
        let kept = self.world.kept_bytes();
        assert_eq!(kept.total(), kept.underway, "{kept:?}");
        Outcome {
            holds: stats.holds,
            busy: self.hand.refused.len(),
            dropped: stats.messages_dropped,
            too_slow: stats.slow_disconnects,
        }
    }
}
