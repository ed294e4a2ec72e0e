//! A whole engine in a simulated world, its peers, its handlers and its handle
//! driven by a script. The first byte chooses shards, faults and the policy for
//! slow consumers, the second how the peers leave at the end; the rest is
//! operations, one byte each and what they read behind it. The top bit of an
//! operation lets the world come to rest after it.

use std::time::Duration;

use shardcast::{
    ConnId, Data, Engine, Limits, SlowPolicy,
    driver::sim::{Faults, PeerId, ServerEnd},
    engine::HandlerError,
    proto::{
        close::CloseFrame,
        deframe::{Deframer, Step},
        frame::{Opcode, Role, write_masked},
    },
    shard::{Builder, sim::World},
};

/// Bounds of one run, so that no input is slow.
const MOST_OPERATIONS: usize = 300;
const MOST_PEERS: usize = 20;

/// Longer than any timeout of the engine, one after the other.
const LONG: Duration = Duration::from_mins(10);

const PATHS: [&str; 5] = ["/ws", "/ws/raw", "/ws/pubsub", "/ws/none", "/"];
const ROOMS: [&str; 5] = ["a", "b", "c", "d", "a name above the limit"];

pub(crate) fn run(data: &[u8]) {
    let mut script = Script(data);
    let (world_byte, end_byte) = (script.byte(), script.byte());
    let shards = 1 + usize::from(world_byte & 3);
    let faults = if world_byte & 4 == 0 { Faults::none() } else { Faults::all() };
    let policy = SlowPolicy::ALL[usize::from(world_byte >> 3 & 3)];
    let seed = u64::from(world_byte);
    let world = World::new(seed, shards, faults, engine(policy)).expect("the limits fit");
    let mut play = Play { world, shards, peers: Vec::new() };
    for _ in 0..MOST_OPERATIONS {
        if script.0.is_empty() {
            break;
        }
        play.operation(&mut script);
    }
    play.end(end_byte);
}

/// Bounds so small that a short script meets each of them, and handlers that do
/// to a connection whatever a handler may.
fn engine(slow_policy: SlowPolicy) -> Builder {
    let limits = Limits {
        head_bytes: 512,
        message_bytes: 2048,
        frames_per_message: 4,
        queue_bytes: 4096,
        slow_policy,
        batch_bytes: 2048,
        rooms_per_connection: 3,
        members_per_room: 5,
        name_bytes: 16,
        connections: 10,
        refusals_at_once: 2,
        room_share_bytes: 700,
        shard_share_bytes: 2000,
        window_bytes: 1500,
        handle_window_bytes: 4000,
        mails_per_turn: 3,
        events_per_turn: 5,
        sends_per_turn: 2,
        timers_per_turn: 2,
        ..Limits::default()
    };
    Engine::builder()
        .limits(limits)
        .on_connect(|conn| conn.join("lobby"))
        .on_disconnect(|conn, _| conn.to("lobby").emit("left", None))
        .on_join(|conn, room| conn.to(room).except_self().key("join").emit("joined", None))
        .on_leave(|conn, room| {
            conn.emit("left", None);
            // Somewhere else instead: refused when the room is left because the
            // connection ends.
            if room == "d" {
                let _ = conn.join("c");
            }
        })
        .on("swap", |conn, message| {
            let room = message.room().unwrap_or("a");
            if !conn.leave(room) {
                conn.join(room)?;
            }
            conn.to(room).key("swap").emit("swapped", message.data());
            Ok(())
        })
        .on("user", |conn, message| {
            conn.set_user(message.room().unwrap_or("alice"))?;
            conn.to_user("alice").emit("user", message.data());
            Ok(())
        })
        .on("tell", |conn, message| {
            for number in 0..8 {
                let to = ConnId::new(number as u8 & 1, number, number);
                conn.send_to(to, "told", message.data());
            }
            Ok(())
        })
        .on("fail", |_, _| Err(HandlerError::reply("no")))
        .on("bye", |conn, _| {
            conn.leave_all();
            conn.close(4000, "bye");
            conn.send_text("too late");
            Ok(())
        })
        .on_text(|conn, text| {
            conn.send_text(text);
            Ok(())
        })
        .on_binary(|conn, bytes| {
            conn.send_binary(bytes);
            conn.to_everyone().emit("binary", None);
            Ok(())
        })
}

struct Script<'d>(&'d [u8]);

impl<'d> Script<'d> {
    /// The next byte, 0 behind the end.
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    /// As many bytes as the next one says, or as there are.
    fn bytes(&mut self) -> &'d [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        self.0.split_off(..len).expect("len is at most what is left")
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn room(&mut self) -> &'static str {
        ROOMS[self.below(ROOMS.len())]
    }
}

struct Peer {
    id: PeerId,
    /// Everything that it was sent.
    received: Vec<u8>,
}

struct Play {
    world: World,
    shards: usize,
    peers: Vec<Peer>,
}

impl Play {
    fn operation(&mut self, script: &mut Script<'_>) {
        let operation = script.byte();
        match operation & 0x1F {
            0 => self.connect(script, false),
            1..=3 => self.connect(script, true),
            4..=15 => self.peer_operation(operation & 0x1F, script),
            16 => self.world.turn(script.below(self.shards)),
            17 => self.world.advance(Duration::from_millis(1 << script.below(17))),
            18 => self.take(),
            19 => self.world.handle().shutdown(),
            20 => self.count(),
            _ => self.handle_operation(operation & 0x1F, script),
        }
        if operation & 0x80 != 0 {
            self.world.settle();
        }
    }

    fn connect(&mut self, script: &mut Script<'_>, upgrade: bool) {
        if self.peers.len() == MOST_PEERS {
            return;
        }
        let shard = script.below(self.shards);
        let id = if upgrade {
            self.world.upgrade(shard, PATHS[script.below(PATHS.len())])
        } else {
            self.world.connect(shard)
        };
        self.peers.push(Peer { id, received: Vec::new() });
    }

    fn peer_operation(&mut self, operation: u8, script: &mut Script<'_>) {
        let Some(index) = script.below(256).checked_rem(self.peers.len()) else { return };
        let peer = self.peers[index].id;
        let net = self.world.net().clone();
        let frame = |fin, opcode, payload: &[u8]| {
            let mut frame = Vec::new();
            write_masked(&mut frame, fin, opcode, [0x37, 0xFA, 0x21, 0x3D], payload);
            net.write(peer, &frame);
        };
        match operation {
            4 => frame(true, Opcode::Text, script.bytes()),
            5 => frame(true, Opcode::Binary, script.bytes()),
            6 => frame(false, Opcode::Text, script.bytes()),
            7 => frame(script.byte() & 1 == 1, Opcode::Continuation, script.bytes()),
            8 => frame(true, Opcode::Ping, script.bytes()),
            9 => frame(true, Opcode::Close, script.bytes()),
            10 => net.write(peer, script.bytes()),
            11 => frame(true, Opcode::Text, request(script).as_bytes()),
            12 => net.stall(peer),
            13 => net.resume(peer),
            14 => net.finish(peer),
            _ => net.reset(peer),
        }
    }

    /// What any thread of the embedding program may do. Refusals are answers.
    fn handle_operation(&self, operation: u8, script: &mut Script<'_>) {
        let handle = self.world.handle();
        let id = ConnId::new(
            script.below(self.shards) as u8,
            script.below(8) as u32,
            script.below(16) as u32,
        );
        let room = script.room();
        let text = "x".repeat(script.below(256) * script.below(128));
        let data = Data::text(text);
        let _ = match operation {
            21 => handle.publish(room, "news", data),
            22 => handle.publish_keyed(room, "news", "key", data),
            23 => handle.broadcast("news", data),
            24 => handle.send_to_user("alice", "news", data),
            25 => handle.send(id, "news", data),
            26 => handle.join(id, room).map(drop),
            27 => handle.leave(id, room).map(drop),
            28 => handle.close(id, 4001, "go"),
            _ => {
                drop(handle.members(room));
                Ok(())
            }
        };
    }

    fn take(&mut self) {
        for peer in &mut self.peers {
            peer.received.extend(self.world.net().take(peer.id));
        }
    }

    /// Everybody has the same count of what is open.
    fn count(&mut self) {
        self.world.settle();
        let asked = self.world.handle().connections();
        self.world.settle();
        let answered = asked.wait().expect("every shard answers").len() as u64;
        let stats = self.world.stats();
        assert!(answered <= stats.connections);
        assert!(stats.connections <= self.world.connection_count() as u64);
        assert!(self.world.connection_count() <= self.peers.len());
    }

    /// Everybody leaves, the stalled ones too, and nothing is left of them.
    fn end(&mut self, how: u8) {
        for (index, peer) in self.peers.iter().enumerate() {
            if how >> (index % 8) & 1 == 0 {
                self.world.net().reset(peer.id);
            } else {
                self.world.net().finish(peer.id);
            }
        }
        self.world.advance(LONG);
        self.take();
        assert_eq!(self.world.connection_count(), 0);
        assert!(self.world.is_empty());
        let stats = self.world.stats();
        assert_eq!((stats.connections, stats.rooms), (0, 0));
        // The engine's own panics under a handler are counted as the handler's.
        assert_eq!(stats.handler_panics, 0);
        for peer in &self.peers {
            assert_eq!(self.world.net().server_end(peer.id), ServerEnd::Closed);
            check_stream(&peer.received);
        }
    }
}

/// A request in the `pubsub` dialect.
fn request(script: &mut Script<'_>) -> String {
    const TYPES: [&str; 10] = [
        "subscribe",
        "unsubscribe",
        "publish",
        "broadcast",
        "ping",
        "swap",
        "user",
        "fail",
        "bye",
        "tell",
    ];
    let name = TYPES[script.below(TYPES.len())];
    let data = "x".repeat(script.below(256) * 4);
    format!(r#"{{"type":"{name}","room":"{}","data":"{data}"}}"#, script.room())
}

/// What a server sent is one response, and behind a 101 unmasked frames that
/// make whole messages, of which a Close is the last. It may end anywhere.
fn check_stream(stream: &[u8]) {
    let Some(end) = stream.windows(4).position(|window| window == b"\r\n\r\n") else {
        assert!(stream.is_empty() || stream.starts_with(b"HTTP/1.1 ") || stream.len() < 9);
        return;
    };
    assert!(stream.starts_with(b"HTTP/1.1 "));
    if stream.starts_with(b"HTTP/1.1 101 ") {
        check_frames(&mut stream[end + 4..].to_vec());
    }
}

fn check_frames(mut input: &mut [u8]) {
    let mut deframer = Deframer::new(Role::Client);
    let mut payload = Vec::new();
    let mut closed = false;
    while let Some(step) = deframer.next(&mut input).expect("a server keeps to the protocol") {
        assert!(!closed, "something follows a Close frame");
        let Step::Payload { header, bytes, end } = step else {
            payload.clear();
            continue;
        };
        payload.extend_from_slice(bytes);
        if !end {
            continue;
        }
        assert!(header.fin, "the engine does not fragment");
        match header.opcode {
            Opcode::Text => assert!(str::from_utf8(&payload).is_ok()),
            Opcode::Close => {
                CloseFrame::parse(&payload).expect("a lawful Close frame");
                closed = true;
            }
            _ => {}
        }
    }
}
