//! A great many messages through peers of the worst manners: they write and read
//! in random pieces, fragment as they like, stop reading for a while, reset and
//! come back. Every echo must be exact and in order, on every driver.
//!
//! `SHARDCAST_TORTURE_MESSAGES` says how many messages on each driver, and
//! `SHARDCAST_TORTURE_SEED` repeats a run as far as the kernel allows.

#[path = "../support/mod.rs"]
mod support;
mod talker;

use std::{
    env,
    net::SocketAddr,
    thread,
    time::{Duration, Instant, SystemTime},
};

use shardcast::driver::sim::Rng;

use support::{GUARD, on_every_driver};
use talker::{Talker, Texts};

/// Messages on each driver, unless the environment says otherwise.
const MESSAGES: usize = 1_000_000;

const THREADS: usize = 2;
/// Connections of each thread.
const TALKERS: usize = 24;

/// What became of one thread's connections.
#[derive(Debug, Default)]
struct Tally {
    echoes: usize,
    resets: usize,
    /// Messages that a reset took with it.
    lost: usize,
    /// Passes that found all underway that a connection allows.
    full: usize,
}

#[test]
fn every_echo_is_exact_and_in_order_whatever_the_peers_do() {
    let messages = from_environment("SHARDCAST_TORTURE_MESSAGES").unwrap_or(MESSAGES as u64);
    let seed = from_environment("SHARDCAST_TORTURE_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.expect("a time after 1970").as_nanos() as u64
    });
    println!("SHARDCAST_TORTURE_SEED={seed}");
    on_every_driver(|bed| {
        // Slow readers are to be waited for, not closed.
        let patient = ["--queue-bytes", "67108864", "--write-timeout", "10m"];
        let server = bed.server(&patient);
        let begun = Instant::now();
        // One half with one shard, the other with two.
        let share = (messages as usize).div_ceil(2 * THREADS);
        let address = server.address();
        let threads = (0..THREADS as u64)
            .map(|number| thread::spawn(move || converse(address, seed ^ number, share)))
            .collect::<Vec<_>>();
        for thread in threads {
            println!("{:?}", thread.join().expect("a thread whose echoes are right"));
        }
        println!("{:?}", begun.elapsed());
        server.wait_for_clients(0);
    });
}

fn from_environment(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Lets connections talk until so many messages have come back.
fn converse(address: SocketAddr, seed: u64, messages: usize) -> Tally {
    let mut rng = Rng::new(seed);
    let texts = Texts::new(&mut rng);
    let mut tally = Tally::default();
    // Messages that nobody has begun to send.
    let mut left = messages;
    let mut talkers =
        (0..TALKERS).map(|_| Talker::connect(address, rng.next_u64())).collect::<Vec<_>>();
    let mut last_progress = Instant::now();
    while tally.echoes < messages {
        let mut progress = false;
        for talker in &mut talkers {
            if left > 0 && rng.below(300) == 0 {
                let fresh = Talker::connect(address, rng.next_u64());
                let lost = std::mem::replace(talker, fresh).reset();
                tally.resets += 1;
                tally.lost += lost;
                left += lost;
            }
            progress |= talker.write(&texts, &mut left);
            tally.full += usize::from(talker.is_full());
            let echoes = talker.read(&texts);
            tally.echoes += echoes.unwrap_or_default();
            progress |= echoes.is_some();
        }
        if progress {
            last_progress = Instant::now();
            continue;
        }
        assert!(last_progress.elapsed() < GUARD, "nothing more comes after {tally:?}");
        // Leaves the processor to the server.
        thread::park_timeout(Duration::from_micros(200));
    }
    assert!(talkers.iter().all(Talker::is_done), "more came than was sent");
    tally
}
