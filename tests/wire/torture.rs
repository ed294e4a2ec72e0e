//! Echoes of any size through sockets that are written to and read from in random
//! pieces, left unread for a while, and reset at any moment: each byte comes back,
//! once and in order. `SHARDCAST_TORTURE_MESSAGES` sets the messages of each
//! driver and number of shards, `SHARDCAST_TORTURE_SEED` repeats a run.

use std::{
    collections::VecDeque,
    env,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicI64, Ordering},
    thread,
    time::{Duration, Instant},
};

use shardcast::{
    driver::sim::Rng,
    proto::frame::{Opcode, Role, decode, write_masked},
};
use socket2::SockRef;

use crate::support::{Bed, GUARD, RawClient, on_every_driver};

/// Messages of each bed unless the environment says otherwise: seconds, not a
/// minute.
const MESSAGES: u64 = 200_000;
const THREADS: u64 = 2;
const CONNECTIONS: usize = 12;
/// The longest message.
const LONGEST: usize = 200 * 1024;
/// Messages of one connection that may be underway.
const WINDOW: usize = 12;
/// The most bytes of one write or read.
const PIECE: usize = 64 * 1024;

/// Messages are stretches of this, so that a comparison finds every byte that is
/// missing, doubled or out of place.
fn pattern() -> Vec<u8> {
    let mut rng = Rng::new(7);
    (0..LONGEST * 2).map(|_| rng.next_u64() as u8).collect()
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// One connection and what is underway on it.
struct Link<'a> {
    pattern: &'a [u8],
    stream: TcpStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// Where in the pattern each message lies that has not come back.
    expected: VecDeque<(usize, usize)>,
    /// Rounds in which nothing is read.
    pause: usize,
}

impl<'a> Link<'a> {
    fn open(address: SocketAddr, pattern: &'a [u8]) -> Self {
        let stream = RawClient::open(address, "/ws/raw").into_stream();
        stream.set_nonblocking(true).expect("an option");
        let (unsent, received) = (Vec::new(), Vec::new());
        Self { pattern, stream, unsent, received, expected: VecDeque::new(), pause: 0 }
    }

    /// Queues one message, whole or in fragments.
    fn say(&mut self, rng: &mut Rng) {
        let longest = if rng.chance(10) { LONGEST } else { 300 };
        let longest = rng.below(longest + 1);
        let len = rng.below(longest + 1);
        let from = rng.below(LONGEST);
        self.expected.push_back((from, len));
        let mut payload = &self.pattern[from..from + len];
        let mut opcode = Opcode::Binary;
        loop {
            let cut = if rng.chance(20) { rng.below(payload.len() + 1) } else { payload.len() };
            let (part, rest) = payload.split_at(cut);
            let fin = rest.is_empty();
            let mask = (rng.next_u64() as u32).to_le_bytes();
            write_masked(&mut self.unsent, fin, opcode, mask, part);
            if fin {
                return;
            }
            (payload, opcode) = (rest, Opcode::Continuation);
        }
    }

    /// Writes a piece of what is queued. Whether anything was taken.
    fn write(&mut self, rng: &mut Rng) -> bool {
        let most = self.unsent.len().min(1 + rng.below(PIECE));
        let most = if rng.chance(10) { most.min(1) } else { most };
        match self.stream.write(&self.unsent[..most]) {
            Ok(written) => {
                self.unsent.drain(..written);
                written > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("the server broke off: {error}"),
        }
    }

    /// Reads a piece and compares what is whole. How many messages came back, or
    /// `None` if nothing was read.
    fn read(&mut self, rng: &mut Rng, scratch: &mut [u8]) -> Option<i64> {
        let most = if rng.chance(30) { 64 } else { PIECE };
        let most = 1 + rng.below(most);
        match self.stream.read(&mut scratch[..most]) {
            Ok(0) => panic!("the server closed"),
            Ok(len) => self.received.extend_from_slice(&scratch[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("the server broke off: {error}"),
        }
        let mut at = 0;
        let mut whole = 0;
        while let Some((header, head)) =
            decode(&self.received[at..], Role::Client).expect("a frame")
        {
            let end = at + head + header.len as usize;
            if end > self.received.len() {
                break;
            }
            let (from, len) = self.expected.pop_front().expect("nothing that was not sent");
            assert!((header.fin, header.opcode) == (true, Opcode::Binary), "{header:?}");
            assert!(self.received[at + head..end] == self.pattern[from..from + len]);
            at = end;
            whole += 1;
        }
        self.received.drain(..at);
        Some(whole)
    }

    /// Breaks the connection off, whatever is underway, and opens another.
    fn reset(&mut self, address: SocketAddr) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option");
        *self = Self::open(address, self.pattern);
    }
}

/// Keeps connections busy until `left` messages have come back to all threads.
fn torment(address: SocketAddr, seed: u64, pattern: &[u8], left: &AtomicI64) {
    let mut rng = Rng::new(seed);
    let mut scratch = vec![0; PIECE];
    let mut links = (0..CONNECTIONS).map(|_| Link::open(address, pattern)).collect::<Vec<_>>();
    let mut moved = Instant::now();
    loop {
        let is_over = left.load(Ordering::Relaxed) <= 0;
        if is_over && links.iter().all(|link| link.expected.is_empty()) {
            return;
        }
        let mut is_idle = true;
        for link in &mut links {
            while !is_over && link.expected.len() < WINDOW && rng.chance(60) {
                link.say(&mut rng);
            }
            is_idle &= link.unsent.is_empty() || !link.write(&mut rng);
            if link.pause > 0 {
                link.pause -= 1;
                continue;
            }
            if let Some(whole) = link.read(&mut rng, &mut scratch) {
                left.fetch_sub(whole, Ordering::Relaxed);
                is_idle = false;
            }
            match rng.below(5_000) {
                0 if !is_over => link.reset(address),
                1..30 => link.pause = rng.below(200),
                _ => {}
            }
        }
        if is_idle {
            assert!(moved.elapsed() < GUARD, "nothing comes back any more");
            // Leaves the processor to the server.
            thread::yield_now();
        } else {
            moved = Instant::now();
        }
    }
}

fn echoes_come_back_byte_for_byte(bed: Bed) {
    let seed = number("SHARDCAST_TORTURE_SEED", 1);
    let messages = number("SHARDCAST_TORTURE_MESSAGES", MESSAGES).cast_signed();
    // Seen only if the body fails.
    println!("{messages} messages, seed {seed}");
    // A reader that pauses has a whole window coming.
    let server = bed.server(&["--queue-bytes", "16777216"]);
    let (left, pattern) = (AtomicI64::new(messages), pattern());
    let (address, pattern, left_of_all) = (server.address(), &pattern, &left);
    thread::scope(|scope| {
        for number in 0..THREADS {
            scope.spawn(move || torment(address, seed * THREADS + number, pattern, left_of_all));
        }
    });
    assert!(left.load(Ordering::Relaxed) <= 0);
    server.wait_for_clients(0);
}

#[test]
fn echoes_come_back_byte_for_byte_through_random_pieces_pauses_and_resets() {
    on_every_driver(echoes_come_back_byte_for_byte);
}
