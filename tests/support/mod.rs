//! What the integration tests share: the program as a process, its clients, and the
//! drivers that every body is run on. Each test binary uses a part of it.
#![allow(dead_code, unused_imports, reason = "no test binary uses all of it")]

pub(crate) mod client;
pub(crate) mod drivers;
pub(crate) mod raw_client;
pub(crate) mod received;
pub(crate) mod server;

use std::{
    io::{Write, stderr},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use client::Client;
pub(crate) use drivers::{Bed, on_every_driver, on_every_driver_alone};
pub(crate) use raw_client::{RawClient, close_reason, masked, request, text};
pub(crate) use received::{Frame, Received, Response};
pub(crate) use server::{Server, program, run_to_end};

/// After this long a test gives up on what it waits for. No test takes so long
/// unless it fails.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

/// Waits until `condition` holds. `what` says which, if it never does.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_at_most(GUARD, what, condition);
}

/// The same, for what may take longer than a test is otherwise allowed.
#[track_caller]
pub(crate) fn wait_at_most(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        // Leaves the processor to the server between two looks.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Says what this host keeps from being tested. The macros for output will not do: what
/// a test prints that passes is not shown.
pub(crate) fn not_tested(why: &str) {
    drop(writeln!(stderr(), "NOT TESTED: {why}"));
}

/// Lets this process, and the servers that it starts, open many sockets.
pub(crate) fn allow_many_sockets() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a higher limit");
}
