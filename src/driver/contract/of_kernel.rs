//! What the drivers of the kernel promise besides: how they share its descriptors,
//! and that they sleep. The simulator has neither.

use std::{net::TcpStream, process::Command, time::Instant};

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Bench, ID, Seen,
    fairness::*,
    worlds::{Loopback, OfKernel, World, opened},
};
use crate::{
    batch::{Sending, Slice},
    driver::{
        Driver, Event, Gone,
        scarcity::{LINES_APART, RETRY_AFTER},
    },
};

/// Set in the environment of a process that runs one test alone.
const OWN_PROCESS: &str = "SHARDCAST_TEST_OWN_PROCESS";

macro_rules! of_kernel {
    ($($driver:ident: $kind:ident,)*) => {
        $(mod $driver {
            use super::super::worlds::$kind;

            of_kernel! { $kind;
                a_turn_accepts_a_bounded_number_and_the_next_goes_on,
                bytes_that_a_peer_sent_before_it_left_survive_a_failed_send,
                an_idle_driver_does_not_spin,
                a_stranger_is_heard_within_a_round_of_those_who_flood,
                whoever_connects_is_accepted_beside_a_flood,
                a_storm_of_connects_does_not_keep_data_waiting,
                whoever_was_served_does_not_wait_behind_a_burst_of_new_connections,
                a_held_connection_lets_the_driver_sleep,
                a_held_peers_window_fills_and_nobody_elses,
            }

            #[test]
            fn a_server_without_descriptors_stays_up_and_accepts_later() {
                super::in_a_process_of_its_own(module_path!());
            }

            #[test]
            #[ignore = "lowers the process's limit of open files; run by the test above"]
            fn in_a_process_without_descriptors() {
                super::accept_without_descriptors::<$kind>();
            }
        })*
    };
    ($kind:ident; $($body:ident,)*) => {
        $(#[test] fn $body() { super::$body::<$kind>(); })*
    };
}

of_kernel! {
    epoll: Epoll,
    uring: Uring,
    uring_tiny: UringTiny,
}

fn a_turn_accepts_a_bounded_number_and_the_next_goes_on<K: OfKernel>() {
    let (mut driver, address) = opened::<K>(3);
    // More than a driver keeps ready for later turns.
    let _peers = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>();
    let mut accepted = Vec::new();
    while accepted.len() < 40 {
        // Nobody connects any more: a wait that forgot the rest would never return.
        driver.wait(None).unwrap();
        let before = accepted.len();
        while let Some(event) = driver.next() {
            let Event::Accepted { peer, .. } = event else { panic!("{event:?}") };
            accepted.push(peer);
        }
        assert!(accepted.len() - before <= 3);
    }
}

fn bytes_that_a_peer_sent_before_it_left_survive_a_failed_send<K: OfKernel>() {
    let mut bench = Bench::<Loopback<K>>::new(0);
    let mut peer = bench.connect(ID);
    bench.write_all(&mut peer, b"last words");
    bench.world.reset(peer);
    let text = Bytes::from_static(b"an answer");
    for _ in 0..100 {
        assert_eq!(bench.driver.send(ID, &[Slice::whole(&text)]), Sending::Done);
    }
    bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
    assert_eq!(bench.data(ID), b"last words");
    assert_eq!(bench.count(ID, &Seen::Sent), 0);
}

fn an_idle_driver_does_not_spin<K: OfKernel>() {
    let mut bench = Bench::<Loopback<K>>::new(0);
    let mut peer = bench.connect(ID);
    bench.write_all(&mut peer, b"x");
    bench.until("data", |bench| bench.data(ID) == b"x");
    bench.turn();
    let before = Instant::now();
    bench.turn_of(Some(RETRY_AFTER));
    assert!(before.elapsed() >= RETRY_AFTER);
    assert_eq!(K::longest_wait(&bench.driver), None);
}

/// Runs the ignored test of `module` in a process that has nothing else to do: the
/// limit is the whole process's.
fn in_a_process_of_its_own(module: &str) {
    let (_, module) = module.split_once("::").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::in_a_process_without_descriptors"), "--ignored"])
        .env(OWN_PROCESS, "")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!(told.matches("cannot accept").count(), 1, "{told}");
    assert!(told.contains("ulimit -n"), "{told}");
    assert_eq!(told.matches("accepting connections again").count(), 1, "{told}");
}

fn accept_without_descriptors<K: OfKernel>() {
    if std::env::var_os(OWN_PROCESS).is_none() {
        return;
    }
    let _logging = tracing::subscriber::set_default(tracing_subscriber::fmt().finish());
    let (mut driver, address) = opened::<K>(128);
    let _peers = [(); 3].map(|()| TcpStream::connect(address).unwrap());
    let before = allow_no_more_descriptors();
    let begun = Instant::now();
    // Each returns, for the next try, but not at once.
    for _ in 0..6 {
        driver.wait(None).unwrap();
        assert!(driver.next().is_none());
    }
    assert!(begun.elapsed() >= 2 * RETRY_AFTER);
    setrlimit(Resource::Nofile, before).unwrap();
    let mut accepted = Vec::new();
    while accepted.len() < 3 {
        driver.wait(None).unwrap();
        while let Some(Event::Accepted { socket, .. }) = driver.next() {
            accepted.push(socket);
        }
    }
    // The next line in the log is due, and the next accept makes it.
    while begun.elapsed() < LINES_APART + RETRY_AFTER {
        driver.wait(Some(LINES_APART)).unwrap();
        assert!(driver.next().is_none());
    }
    let _last = TcpStream::connect(address).unwrap();
    while !matches!(driver.next(), Some(Event::Accepted { .. })) {
        driver.wait(None).unwrap();
    }
}

/// Sets the limit to what is open already; the limit before.
fn allow_no_more_descriptors() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let next = std::fs::File::open("/dev/null").unwrap();
    let current = Some(std::os::fd::AsRawFd::as_raw_fd(&next).unsigned_abs().into());
    drop(next);
    setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
    before
}
