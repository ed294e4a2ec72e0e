//! The drivers that every body is run on.

use shardcast::DriverKind;

use super::Server;

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
    vec![DriverKind::Epoll, DriverKind::Uring]
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

/// The drivers for engines in the test's own process.
pub(crate) fn engine_drivers() -> Vec<DriverKind> {
    drivers()
}
