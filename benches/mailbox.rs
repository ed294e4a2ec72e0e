//! How long another thread waits for a shard: a question goes through the mailbox,
//! wakes the shard, and its answer wakes the asker. The time by criterion, then as
//! a ratio to what two threads need for a ping and its answer.
//!
//! The shard sleeps in the kernel, as it does between any two events, so each hop
//! is two wake-ups: what two threads that park need too. Those of a crossbeam
//! channel look again and again for a while before they sleep, and come to it only
//! where others want their cores: to them the ratio is as large as the machine is
//! quiet. The asker is bound to the last core, whoever answers to the first: else
//! the scheduler would decide, run by run, whether a hop crosses cores.

mod ratio;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use core_affinity::CoreId;
use criterion::Criterion;
use ratio::print_ratio;
use shardcast::{Engine, Handle, Running};

/// The cores of asker and answerer, if they are known.
fn cores() -> (Option<CoreId>, Option<CoreId>) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    (cores.last().copied(), cores.first().copied())
}

/// Where threads cannot be bound, they run where they may.
fn bind(core: Option<CoreId>) {
    black_box(core.is_some_and(core_affinity::set_for_current));
}

/// The only shard is bound to the first core.
fn start() -> Running {
    let builder = Engine::builder().listen("127.0.0.1:0").shards(1);
    builder.build().expect("any port will do").start().expect("one shard can be started")
}

/// To the shard and back.
fn hop(handle: &Handle) {
    black_box(handle.stats().wait().expect("the shard runs"));
}

/// A thread that answers each message of a channel by one of another.
struct Channels {
    ping: crossbeam_channel::Sender<()>,
    pong: crossbeam_channel::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Channels {
    fn start(core: Option<CoreId>) -> Self {
        let (ping, pings) = crossbeam_channel::bounded(1);
        let (pongs, pong) = crossbeam_channel::bounded(1);
        let thread = thread::spawn(move || {
            bind(core);
            while pings.recv().is_ok_and(|()| pongs.send(()).is_ok()) {}
        });
        Self { ping, pong, thread }
    }

    fn hop(&self) {
        self.ping.send(()).expect("the other thread runs");
        self.pong.recv().expect("the other thread runs");
    }

    fn end(self) {
        drop((self.ping, self.pong));
        self.thread.join().expect("the other thread has not panicked");
    }
}

/// A thread that parks until it is asked.
struct Parking {
    state: Arc<AtomicU8>,
    thread: JoinHandle<()>,
}

const IDLE: u8 = 0;
const ASKED: u8 = 1;
const ENDED: u8 = 2;

impl Parking {
    fn start(core: Option<CoreId>) -> Self {
        let state = Arc::new(AtomicU8::new(IDLE));
        let (asker, seen) = (thread::current(), Arc::clone(&state));
        let thread = thread::spawn(move || {
            bind(core);
            loop {
                match seen.load(Ordering::Acquire) {
                    IDLE => thread::park(),
                    ENDED => return,
                    _ => {
                        seen.store(IDLE, Ordering::Release);
                        asker.unpark();
                    }
                }
            }
        });
        Self { state, thread }
    }

    fn hop(&self) {
        self.state.store(ASKED, Ordering::Release);
        self.thread.thread().unpark();
        while self.state.load(Ordering::Acquire) == ASKED {
            thread::park();
        }
    }

    fn end(self) {
        self.state.store(ENDED, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().expect("the other thread has not panicked");
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let (asker, answerer) = cores();
    let running = start();
    bind(asker);
    let handle = running.handle();
    criterion.bench_function("mailbox/hop", |bencher| bencher.iter(|| hop(&handle)));
    criterion.final_summary();

    let channels = Channels::start(answerer);
    print_ratio("mailbox hop", "crossbeam channels", 1, || hop(&handle), || channels.hop());
    channels.end();
    let parking = Parking::start(answerer);
    print_ratio("mailbox hop", "threads that park", 1, || hop(&handle), || parking.hop());
    parking.end();

    handle.shutdown();
    running.join().expect("the shard has not failed");
}
