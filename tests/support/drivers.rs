//! The drivers that every body is run on. A body that is meant for `io_uring` never
//! runs on epoll unnoticed: where the ring cannot be used it fails, unless whoever
//! runs the tests has asked for a run without it.

use std::{env, sync::Once};

use shardcast::DriverKind;

use super::{Server, not_tested};

/// Set, to anything, for a run on a host without `io_uring`.
const SKIP_URING: &str = "SHARDCAST_TESTS_SKIP_URING";

/// What a server process is started with.
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

/// The drivers to test. The one place to add another.
fn drivers() -> Vec<DriverKind> {
    static SAID: Once = Once::new();
    if env::var_os(SKIP_URING).is_none() {
        return vec![DriverKind::Epoll, DriverKind::Uring];
    }
    SAID.call_once(|| not_tested(&format!("io_uring, because {SKIP_URING} is set")));
    vec![DriverKind::Epoll]
}

/// Runs `body` with a server of one shard and of two, on every driver.
pub(crate) fn on_every_driver(body: impl Fn(Bed)) {
    for driver in drivers() {
        for shards in [1, 2] {
            Bed { driver: driver.name(), shards }.run(&body);
        }
    }
}

/// Runs `body` on every driver, with one shard: for what one connection meets.
pub(crate) fn on_every_driver_alone(body: impl Fn(Bed)) {
    for driver in drivers() {
        Bed { driver: driver.name(), shards: 1 }.run(&body);
    }
}

/// The drivers for engines in the test's own process, each of which is what an engine
/// that asks for it gets.
pub(crate) fn engine_drivers() -> Vec<DriverKind> {
    let drivers = drivers();
    for driver in &drivers {
        let choice = driver.resolve();
        assert_eq!(choice.kind(), *driver, "{}{HOW_TO_SKIP}", choice.why());
    }
    drivers
}

/// Requires that a server of `shards` shards, which holds so many rings, uses the
/// driver that it was asked for on each of them.
pub(crate) fn assert_as_asked(asked: &str, shards: usize, rings: usize) {
    let expected = if asked == DriverKind::Uring.name() { shards } else { 0 };
    assert_eq!(
        rings, expected,
        "the server was asked for {asked} on {shards} shards and holds {rings} rings{HOW_TO_SKIP}"
    );
}

const HOW_TO_SKIP: &str = "; set SHARDCAST_TESTS_SKIP_URING to test without io_uring";
