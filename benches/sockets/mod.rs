//! An engine of one shard on real sockets, and what its thread needs: processor
//! time as the scheduler counts it, the kernel's part of a send included.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use shardcast::{Builder, Running};

/// Measurements whose median counts.
const PAIRS: usize = 101;

/// All members read to the end of what they are sent.
pub(crate) struct Served {
    running: Running,
    members: Vec<TcpStream>,
    /// The shard's thread as the scheduler sees it.
    schedstat: String,
    scratch: Vec<u8>,
}

impl Served {
    pub(crate) fn new(members: u32, path: &str, builder: Builder) -> Self {
        let builder = builder.listen("127.0.0.1:0").shards(1);
        let engine = builder.build().expect("any port will do");
        let address = engine.local_addr();
        let before = shard_threads();
        let running = engine.start().expect("one shard can be started");
        let thread = shard_threads().into_iter().find(|thread| !before.contains(thread));
        let schedstat = format!("{}/schedstat", thread.expect("a shard has a thread"));
        let members = (0..members).map(|_| upgraded(address, path)).collect();
        Self { running, members, schedstat, scratch: vec![0; 1 << 16] }
    }

    /// The first member writes `message`, and each reads `len` bytes. Nanoseconds of
    /// the shard's thread.
    fn publish(&mut self, message: &[u8], len: usize) -> f64 {
        let before = self.busy_ns();
        self.members[0].write_all(message).expect("the shard reads");
        for member in &mut self.members {
            member.read_exact(&mut self.scratch[..len]).expect("the shard sends");
        }
        // The last send has come back when the thread sleeps: its time stands still.
        let mut after = self.busy_ns();
        loop {
            std::thread::sleep(Duration::from_micros(200));
            let now = self.busy_ns();
            if now == after {
                return Duration::from_nanos(after - before).as_secs_f64() * 1e9;
            }
            after = now;
        }
    }

    fn busy_ns(&self) -> u64 {
        let stat = fs::read_to_string(&self.schedstat).expect("the thread lives");
        let first = stat.split_whitespace().next();
        first.and_then(|ns| ns.parse().ok()).expect("nanoseconds come first")
    }

    fn end(self) {
        self.running.handle().shutdown();
        drop(self.members);
        self.running.join().expect("the shard has not failed");
    }
}

/// Prints the median of the ratios of what the thread of `subject` needs for a
/// message to what that of `limit` does, and what each of the `parts` costs. Each
/// message brings every member bytes of that number.
pub(crate) fn print_cpu_ratio(
    (name, limit_name): (&str, &str),
    parts: u32,
    (mut subject, message, len): (Served, &[u8], usize),
    (mut limit, limit_message, limit_len): (Served, &[u8], usize),
) {
    let mut pairs: Vec<(f64, f64)> = (0..PAIRS)
        .map(|_| (subject.publish(message, len), limit.publish(limit_message, limit_len)))
        .collect();
    pairs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (subject_ns, limit_ns) = pairs[PAIRS / 2];
    let ratio = subject_ns / limit_ns;
    let (subject_ns, limit_ns) = (subject_ns / f64::from(parts), limit_ns / f64::from(parts));
    println!("{name:<34} {ratio:>6.2} x {limit_name} ({subject_ns:.1} ns, {limit_ns:.1} ns)");
    subject.end();
    limit.end();
}

/// The folders of this process's threads that are a shard's.
fn shard_threads() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").expect("threads are listed");
    let folders = threads.map(|thread| thread.expect("a thread").path().display().to_string());
    let is_shard = |folder: &String| {
        fs::read_to_string(format!("{folder}/comm")).is_ok_and(|name| name.starts_with("shard-"))
    };
    folders.filter(is_shard).collect()
}

fn upgraded(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut member = TcpStream::connect(address).expect("the engine listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    member.write_all(request.as_bytes()).expect("the shard reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        member.read_exact(&mut byte).expect("the shard answers");
        head.push(byte[0]);
    }
    member
}
