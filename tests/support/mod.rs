//! What the end-to-end tests share: the server as a process, clients, and the
//! list of what every body is run on. Each test binary uses a part of it.
#![allow(dead_code, unused_imports, reason = "no test binary uses all of it")]

pub(crate) mod client;
pub(crate) mod raw_client;
pub(crate) mod server;

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use client::Client;
pub(crate) use raw_client::{Frame, RawClient, close_reason, masked, request, text};
pub(crate) use server::{Server, program, run_to_end};

/// After this long a test gives up on what it waits for. No test takes so long
/// unless it fails.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

/// The drivers that this machine has, by the names of the server's flag. The one
/// place to add another.
const DRIVERS: &[&str] = &["epoll", "uring"];

/// What a body is run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bed {
    pub(crate) driver: &'static str,
    pub(crate) shards: usize,
}

impl Bed {
    /// Starts a server on this driver, with these further flags.
    pub(crate) fn server(self, flags: &[&str]) -> Server {
        let shards = self.shards.to_string();
        let bed = ["--driver", self.driver, "--shards", &shards];
        Server::start(&[&bed[..], flags].concat())
    }

    fn run(self, body: &impl Fn(Self)) {
        // Seen only if the body fails.
        println!("on {self:?}");
        body(self);
    }
}

/// Runs `body` on every driver, with one shard and with two.
pub(crate) fn on_every_driver(body: impl Fn(Bed)) {
    for &driver in DRIVERS {
        for shards in [1, 2] {
            Bed { driver, shards }.run(&body);
        }
    }
}

/// Runs `body` on every driver, with one shard: for what one connection meets.
pub(crate) fn on_every_driver_alone(body: impl Fn(Bed)) {
    for &driver in DRIVERS {
        Bed { driver, shards: 1 }.run(&body);
    }
}

/// Waits until `condition` holds. `what` says which, if it never does.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + GUARD;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        // Leaves the processor to the server between two looks.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Lets this process, and the servers that it starts, open many sockets.
pub(crate) fn allow_many_sockets() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a higher limit");
}
