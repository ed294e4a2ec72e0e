//! What is epoll's own; what every driver promises is tested in
//! `driver::contract`.

use std::{io::Write, net::TcpStream as Peer, process::Command};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::driver::listen::listen;

/// Set in the environment of a process that runs one test alone.
const OWN_PROCESS: &str = "SHARDCAST_TEST_OWN_PROCESS";

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

fn opened(settings: &EpollSettings) -> (EpollDriver, SocketAddr) {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 1024).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    (EpollDriver::new(Some(listener), settings).unwrap(), address)
}

fn accept(driver: &mut EpollDriver, address: SocketAddr, id: ConnId) -> Peer {
    let peer = Peer::connect(address).unwrap();
    loop {
        driver.wait(PATIENCE).unwrap();
        if let Some(Event::Accepted { socket, .. }) = driver.next() {
            driver.attach(id, socket).unwrap();
            return peer;
        }
    }
}

fn id(slot: u32) -> ConnId {
    ConnId::new(0, slot, 1)
}

/// Writes without end, or until the server stops reading for good.
fn flood(mut peer: Peer) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || while peer.write_all(&[7; 8192]).is_ok() {})
}

#[test]
fn a_flooding_peer_gets_its_reads_per_turn_and_no_more() {
    let settings =
        EpollSettings { receive_buffer_bytes: 64, reads_per_event: 3, ..EpollSettings::default() };
    let (mut driver, address) = opened(&settings);
    let flooding = flood(accept(&mut driver, address, id(0)));
    let mut quiet = accept(&mut driver, address, id(1));
    // How often each was read in one turn.
    let mut turn = || {
        driver.wait(PATIENCE).unwrap();
        let mut reads = [0, 0];
        while let Some(event) = driver.next() {
            let Event::Data(from, _) = event else { panic!("{event:?}") };
            reads[from.slot() as usize] += 1;
        }
        reads
    };
    while turn()[0] < 3 {}
    for _ in 0..100 {
        quiet.write_all(b"a word").unwrap();
        let mut heard = false;
        while !heard {
            let reads = turn();
            assert!(reads[0] <= 3);
            heard = reads[1] > 0;
        }
    }
    driver.close(id(0));
    flooding.join().unwrap();
}

#[test]
fn a_socket_left_half_read_makes_the_next_wait_return_at_once() {
    let settings =
        EpollSettings { receive_buffer_bytes: 10, reads_per_event: 2, ..EpollSettings::default() };
    let (mut driver, address) = opened(&settings);
    let mut peer = accept(&mut driver, address, id(0));
    let text = (0..=255).collect::<Vec<u8>>();
    peer.write_all(&text).unwrap();
    let mut arrived = Vec::new();
    // No further edge comes: a wait that forgot the rest would never return.
    while arrived.len() < text.len() {
        driver.wait(None).unwrap();
        while let Some(event) = driver.next() {
            let Event::Data(_, bytes) = event else { panic!("{event:?}") };
            arrived.extend_from_slice(bytes);
        }
    }
    assert_eq!(arrived, text);
}

#[test]
fn a_turn_serves_a_bounded_number_of_sockets_and_the_next_the_others() {
    let settings = EpollSettings { events_per_wait: 2, ..EpollSettings::default() };
    let (mut driver, address) = opened(&settings);
    let mut peers = (0..5).map(|slot| accept(&mut driver, address, id(slot))).collect::<Vec<_>>();
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 5 {
        driver.wait(PATIENCE).unwrap();
        let mut in_turn = 0;
        while let Some(event) = driver.next() {
            let Event::Data(from, _) = event else { panic!("{event:?}") };
            heard.push(from.slot());
            in_turn += 1;
        }
        assert!(in_turn <= 2);
    }
    heard.sort_unstable();
    assert_eq!(heard, [0, 1, 2, 3, 4]);
}

#[test]
fn a_turn_accepts_a_bounded_number_and_the_next_goes_on() {
    let settings = EpollSettings { accept_batch: 3, ..EpollSettings::default() };
    let (mut driver, address) = opened(&settings);
    let _peers = (0..8).map(|_| Peer::connect(address).unwrap()).collect::<Vec<_>>();
    let mut accepted = Vec::new();
    while accepted.len() < 8 {
        // The edge came once: a wait that forgot the rest would never return.
        driver.wait(None).unwrap();
        let before = accepted.len();
        while let Some(event) = driver.next() {
            let Event::Accepted { peer, .. } = event else { panic!("{event:?}") };
            accepted.push(peer);
        }
        assert!(accepted.len() - before <= 3);
    }
}

#[test]
fn bytes_that_a_peer_sent_before_it_left_survive_a_failed_send() {
    let (mut driver, address) = opened(&EpollSettings::default());
    let mut peer = accept(&mut driver, address, id(0));
    peer.write_all(b"last words").unwrap();
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let text = bytes::Bytes::from_static(b"an answer");
    while driver.send(id(0), &[Slice::whole(&text)]) == Sending::Done && driver.ready.is_empty() {}
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.starts_with("gone")) {
        driver.wait(PATIENCE).unwrap();
        while let Some(event) = driver.next() {
            seen.push(match event {
                Event::Data(_, bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Event::Gone(_, why) => format!("gone {why:?}"),
                other => panic!("{other:?}"),
            });
        }
    }
    assert_eq!(seen, ["last words", "gone Reset"]);
}

#[test]
fn an_idle_driver_does_not_spin() {
    let (mut driver, address) = opened(&EpollSettings::default());
    let mut peer = accept(&mut driver, address, id(0));
    peer.write_all(b"x").unwrap();
    let mut heard = false;
    while !heard {
        driver.wait(PATIENCE).unwrap();
        while let Some(event) = driver.next() {
            heard |= matches!(event, Event::Data(..));
        }
    }
    assert_eq!(driver.allowed_wait(None), None);
    assert_eq!(driver.allowed_wait(PATIENCE), PATIENCE);
}

#[test]
fn a_server_without_descriptors_stays_up_and_accepts_later() {
    // The limit is the whole process's, so a process of its own tries it.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "driver::epoll::tests::in_a_process_without_descriptors", "--ignored"])
        .env(OWN_PROCESS, "")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!(told.matches("cannot accept").count(), 1, "{told}");
    assert!(told.contains("ulimit -n"), "{told}");
    assert_eq!(told.matches("accepting connections again").count(), 1, "{told}");
}

#[test]
#[ignore = "lowers the process's limit of open files; run by the test above"]
fn in_a_process_without_descriptors() {
    if std::env::var_os(OWN_PROCESS).is_none() {
        return;
    }
    let _logging = tracing::subscriber::set_default(tracing_subscriber::fmt().finish());
    let (mut driver, address) = opened(&EpollSettings::default());
    let _peers = [(); 3].map(|()| Peer::connect(address).unwrap());
    let before = allow_no_more_descriptors();
    for _ in 0..3 {
        driver.wait(None).unwrap();
        assert!(driver.next().is_none());
        assert_eq!(driver.allowed_wait(None), Some(Duration::from_millis(100)));
        assert_eq!(driver.allowed_wait(Some(Duration::ZERO)), Some(Duration::ZERO));
    }
    setrlimit(Resource::Nofile, before).unwrap();
    let mut accepted = Vec::new();
    while accepted.len() < 3 {
        driver.wait(None).unwrap();
        while let Some(Event::Accepted { socket, .. }) = driver.next() {
            accepted.push(socket);
        }
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
