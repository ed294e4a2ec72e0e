//! Who waits for whom: on the drivers of the kernel, nobody for a flood, and
//! nothing for a held connection.

use std::{io::Write, net::TcpStream, time::Instant};

use super::{
    Bench, ID, OTHER,
    worlds::{Loopback, OfKernel, World, opened},
};
use crate::{
    driver::{Driver, Event, scarcity::RETRY_AFTER},
    id::ConnId,
};

const FLOODERS: u32 = 8;

/// Peers that write whenever they can, each with a connection, from slot 0 on.
fn flooders<K: OfKernel>(bench: &mut Bench<Loopback<K>>) -> Vec<TcpStream> {
    (0..FLOODERS).map(|slot| bench.connect(ConnId::new(0, slot, 1))).collect()
}

fn flood<K: OfKernel>(bench: &Bench<Loopback<K>>, flooders: &mut [TcpStream]) {
    for peer in flooders {
        while bench.world.write(peer, &[7; 8192]) > 0 {}
    }
}

/// One turn that ends after its first `max` events, which `note` is told of.
fn short_turn<D: Driver>(driver: &mut D, max: usize, mut note: impl FnMut(Event<'_, D::Socket>)) {
    driver.wait(Some(RETRY_AFTER)).unwrap();
    for _ in 0..max {
        let Some(event) = driver.next() else { return };
        note(event);
    }
}

pub(super) fn a_stranger_is_heard_within_a_round_of_those_who_flood<K: OfKernel>() {
    let mut bench = Bench::<Loopback<K>>::new(0);
    let mut flooders = flooders(&mut bench);
    let stranger = ConnId::new(0, FLOODERS, 1);
    let mut peer = bench.connect(stranger);
    for _ in 0..50 {
        flood(&bench, &mut flooders);
        assert_eq!(bench.world.write(&mut peer, b"a word"), 6);
        let (mut events, mut heard) = (0, 0);
        while heard < 6 {
            flood(&bench, &mut flooders);
            short_turn(&mut bench.driver, 3, |event| {
                let Event::Data(id, bytes) = event else { panic!("{event:?}") };
                events += 1;
                heard += if id == stranger { bytes.len() } else { 0 };
            });
            assert!(events <= 3 * (FLOODERS + 1), "a word was not heard");
        }
    }
}

pub(super) fn whoever_connects_is_accepted_beside_a_flood<K: OfKernel>() {
    let (mut bench, mut accepted) = (Bench::<Loopback<K>>::new(0), Vec::new());
    let mut flooders = flooders(&mut bench);
    let _peers = (0..20).map(|_| bench.world.connect()).collect::<Vec<_>>();
    let mut events = 0;
    while accepted.len() < 20 {
        flood(&bench, &mut flooders);
        short_turn(&mut bench.driver, 3, |event| {
            events += 1;
            if let Event::Accepted { socket, .. } = event {
                accepted.push(socket);
            }
        });
        assert!(events <= 4 * 20 + 40, "{} accepted after {events} events", accepted.len());
    }
}

pub(super) fn a_storm_of_connects_does_not_keep_data_waiting<K: OfKernel>() {
    let (mut driver, address) = opened::<K>(128);
    let peers = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>();
    let mut sockets = Vec::new();
    while sockets.is_empty() {
        short_turn(&mut driver, 1, |event| {
            let Event::Accepted { socket, .. } = event else { panic!("{event:?}") };
            sockets.push(socket);
        });
    }
    (&peers[0]).write_all(b"a word").unwrap();
    driver.attach(ID, sockets.remove(0)).unwrap();
    let mut heard = 0;
    while heard < 6 {
        short_turn(&mut driver, 2, |event| match event {
            Event::Accepted { socket, .. } => sockets.push(socket),
            Event::Data(ID, bytes) => heard += bytes.len(),
            other => panic!("{other:?}"),
        });
        assert!(sockets.len() < 40, "a word was not heard");
    }
}

pub(super) fn whoever_was_served_does_not_wait_behind_a_burst_of_new_connections<K: OfKernel>() {
    let mut bench = Bench::<Loopback<K>>::new(0);
    let mut peer = bench.connect(ID);
    bench.write_all(&mut peer, b"hello");
    bench.until("data", |bench| bench.data(ID).len() == 5);
    let new = |slot| ConnId::new(0, slot, 1);
    let mut peers = (100..400).map(|slot| bench.connect(new(slot))).collect::<Vec<_>>();
    for peer in &mut peers {
        assert_eq!(bench.world.write(peer, b"a first word"), 12);
    }
    assert_eq!(bench.world.write(&mut peer, b"a word"), 6);
    // All of it may be lent by one turn: the word is then among the first.
    let (mut heard, mut before, mut first_words) = (0, 0, 0);
    while heard < 6 || first_words < 300 * 12 {
        let mut of_turn = 0;
        short_turn(&mut bench.driver, usize::MAX, |event| {
            let Event::Data(id, bytes) = event else { panic!("{event:?}") };
            if id == ID {
                heard += bytes.len();
                before = of_turn;
            } else {
                first_words += bytes.len();
            }
            of_turn += 1;
        });
    }
    assert!(before < 100, "behind {before} new connections");
}

pub(super) fn a_held_connection_lets_the_driver_sleep<K: OfKernel>() {
    let mut bench = Bench::<Loopback<K>>::new(0);
    let mut peers = [bench.connect(ID), bench.connect(OTHER)];
    // One is held before anything comes, and one while it has more.
    bench.driver.hold(ID, true);
    for peer in &mut peers {
        assert_eq!(bench.world.write(peer, &vec![7; 60_000]), 60_000);
    }
    bench.until("data", |bench| !bench.data(OTHER).is_empty());
    bench.driver.hold(OTHER, true);
    (0..10).for_each(|_| bench.settle());
    // What is underway in the kernel may end a wait or two.
    let (mut turns, mut slept) = (0, 0);
    while slept < 3 {
        let before = Instant::now();
        bench.turn_of(Some(RETRY_AFTER));
        slept = if before.elapsed() >= RETRY_AFTER { slept + 1 } else { 0 };
        turns += 1;
        assert!(turns < 20, "a held connection ends waits");
    }
    assert_eq!(K::longest_wait(&bench.driver), None);
    assert!(bench.data(ID).is_empty());
}

pub(super) fn a_held_peers_window_fills_and_nobody_elses<K: OfKernel>() {
    let mut bench = Bench::<Loopback<K>>::new(0);
    let (mut flooder, mut other) = (bench.connect(ID), bench.connect(OTHER));
    bench.driver.hold(ID, true);
    let (mut written, mut full) = (0, 0);
    while full < 100 {
        let taken = bench.world.write(&mut flooder, &[7; 8192]);
        full = if taken == 0 { full + 1 } else { 0 };
        written += taken;
        bench.turn();
        // What the kernel keeps, and the driver no more than the buffers hold.
        assert!(written < 16 << 20, "{written}");
    }
    let text = super::pattern(200_000);
    bench.write_all(&mut other, &text);
    bench.until("the other's", |bench| bench.data(OTHER).len() == text.len());
    assert!(bench.data(ID).is_empty() && bench.data(OTHER) == text);
    bench.driver.hold(ID, false);
    bench.until("the flood", |bench| bench.data(ID).len() >= 200_000);
}
