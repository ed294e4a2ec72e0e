//! A whole engine without sockets, threads or clocks: shards on simulated
//! drivers, turned one at a time by a test. Handlers run exactly as they do on
//! real shards; the network misbehaves as its seed says.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use super::{
    builder::Builder,
    clock::Clock,
    error::BuildError,
    handle::Handle,
    mailbox::MailboxSenders,
    parts::Parts,
    turn::{Shard, TurnLimits},
};
use crate::{
    driver::sim::{Faults, PeerId, SimDriver, SimNet},
    engine::{Kept, Now, ShardEngine, Stats},
};

/// Time that moves only when a test moves it.
#[derive(Clone, Debug)]
struct VirtualClock(Rc<Cell<Now>>);

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        self.0.get()
    }
}

/// An engine in a simulated world.
///
/// ```
/// use shardcast::{
///     Engine,
///     sim::{Faults, World},
/// };
///
/// let engine = Engine::builder().on_text(|conn, text| {
///     conn.send_text(text);
///     Ok(())
/// });
/// let mut world = World::new(1, 1, Faults::all(), engine)?;
/// let peer = world.upgrade(0, "/ws/raw");
/// world.net().write(peer, b"\x81\x82\0\0\0\0hi");
/// world.settle();
/// assert!(world.net().take(peer).ends_with(b"\x81\x02hi"));
/// # Ok::<(), shardcast::BuildError>(())
/// ```
pub struct World {
    net: SimNet,
    shards: Vec<Shard<SimDriver>>,
    clock: VirtualClock,
    handle: Handle,
}

/// The virtual clock begins at this Unix time, in milliseconds.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// Rounds of turns after which a world that does not come to rest is a bug.
const MAX_ROUNDS: usize = 1_000_000;

impl World {
    /// A world of `shards` shards with the limits and handlers of `builder`
    /// (where it listens does not matter), whose chance starts from `seed`.
    ///
    /// # Errors
    /// [`BuildError::Settings`], as [`Builder::build`] does.
    pub fn new(
        seed: u64,
        shards: usize,
        faults: Faults,
        builder: Builder,
    ) -> Result<Self, BuildError> {
        let Parts { process, app, mailboxes, relay: _, chore: _ } =
            builder.shards(shards).into_parts()?;
        let senders: Vec<_> = mailboxes.iter().map(|(_, sender)| sender.clone()).collect();
        let handle = Handle::new(Arc::clone(&process), senders.clone());
        let net = SimNet::new(seed, faults);
        let start = Now { since_start_ms: 0, unix_ms: EPOCH_MS };
        let limits = &process.limits;
        let turn = TurnLimits::of(limits);
        let shards = mailboxes
            .into_iter()
            .enumerate()
            .map(|(number, (mailbox, _))| {
                let engine =
                    ShardEngine::new(number as u8, Arc::clone(&process), Arc::clone(&app), start);
                let senders = MailboxSenders::new(senders.clone());
                Shard::new(engine, net.driver(), mailbox, senders, None, turn)
            })
            .collect();
        Ok(Self { net, shards, clock: VirtualClock(Rc::new(Cell::new(start))), handle })
    }

    /// The network: what peers do, and what they see.
    pub fn net(&self) -> &SimNet {
        &self.net
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The engine from outside. A query is answered by the turns of the shards:
    /// ask, [`settle`](World::settle), then wait.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A new peer connects to a shard.
    pub fn connect(&self, shard: usize) -> PeerId {
        self.net.connect(shard)
    }

    /// A new peer connects and asks for an upgrade at `path`. The response comes
    /// with the next turns.
    pub fn upgrade(&self, shard: usize, path: &str) -> PeerId {
        let peer = self.connect(shard);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        self.net.write(peer, request.as_bytes());
        peer
    }

    /// One turn of one shard.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn turn(&mut self, shard: usize) {
        // A simulated driver can always wait.
        let _ = self.shards[shard].turn(&self.clock);
    }

    /// Turns all shards until nothing moves any more at this moment.
    ///
    /// # Panics
    /// If that takes a million rounds: some shard never comes to rest.
    pub fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if self.is_quiet() {
                return;
            }
            for shard in 0..self.shards.len() {
                self.turn(shard);
            }
        }
        panic!("a shard never comes to rest");
    }

    /// Whether turns would change nothing until a peer or a handle acts or time
    /// passes.
    pub fn is_quiet(&self) -> bool {
        self.net.is_quiet() && self.shards.iter().all(Shard::is_quiet)
    }

    /// Lets time pass, timer by timer, and settles.
    pub fn advance(&mut self, by: Duration) {
        self.settle();
        let end = self.clock.0.get().since_start_ms + by.as_millis() as u64;
        loop {
            let now = self.clock.0.get();
            if now.since_start_ms >= end {
                return;
            }
            let timers = self.shards.iter().filter_map(|shard| shard.engine.next_timer());
            let next = timers.min().map_or(u64::MAX, |next| next.as_millis() as u64).max(1);
            let step = next.min(end - now.since_start_ms);
            self.clock.0.set(Now {
                since_start_ms: now.since_start_ms + step,
                unix_ms: now.unix_ms + step,
            });
            for shard in 0..self.shards.len() {
                self.turn(shard);
            }
            self.settle();
        }
    }

    /// The process stands still for so long, as it does when it is stopped or its
    /// machine is paused: the clock leaps, whatever timers come up meanwhile, and no
    /// shard turns. What peers do before the next turn is what they did meanwhile.
    pub fn freeze(&mut self, duration: Duration) {
        let now = self.clock.0.get();
        let by = duration.as_millis() as u64;
        self.clock
            .0
            .set(Now { since_start_ms: now.since_start_ms + by, unix_ms: now.unix_ms + by });
    }

    /// How many connections are held: not read, because others have not taken what
    /// they published, or they have not taken their own answers.
    pub fn held_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.engine.held()).sum()
    }

    /// What all shards keep in memory of what peers and handles sent. What lies in
    /// the simulated network is not theirs.
    pub fn kept_bytes(&self) -> Kept {
        let mut kept = Kept::default();
        for shard in &self.shards {
            kept += shard.engine.kept();
        }
        for sender in self.handle.senders() {
            kept.underway += sender.handle_bytes();
        }
        kept
    }

    /// What all shards counted.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats { rooms: self.handle.room_count() as u64, ..Stats::default() };
        for shard in &self.shards {
            sum += shard.engine.stats();
        }
        sum
    }

    /// Connections in all arenas, in whatever state.
    pub fn connection_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.engine.connection_count()).sum()
    }

    /// Whether every shard keeps nothing of connections, rooms or messages.
    pub fn is_empty(&self) -> bool {
        self.handle.knows_nobody() && self.shards.iter().all(|shard| shard.engine.is_empty())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
