//! What is epoll's own; what every driver promises is tested in
//! `driver::contract`.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream as Peer},
};

use super::{serving::UNUSED_BYTES, *};
use crate::driver::listen::listen;

const TIMEOUT: Option<Duration> = Some(Duration::from_secs(10));

fn opened(settings: &EpollSettings) -> (EpollDriver, SocketAddr) {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 1024).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    (EpollDriver::new(Some(listener), settings).unwrap(), address)
}

fn accept(driver: &mut EpollDriver, address: SocketAddr, id: ConnId) -> Peer {
    let peer = Peer::connect(address).unwrap();
    loop {
        driver.wait(TIMEOUT).unwrap();
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
        driver.wait(TIMEOUT).unwrap();
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
        driver.wait(TIMEOUT).unwrap();
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
fn a_crowd_that_is_held_at_its_first_bytes_leaves_little_of_them_unused() {
    const CROWD: u32 = 40;
    const EACH: usize = 48 << 10;
    let (mut driver, address) = opened(&EpollSettings::default());
    let mut peers: Vec<Peer> =
        (0..CROWD).map(|slot| accept(&mut driver, address, id(slot))).collect();
    for peer in &mut peers {
        // It fits into the socket buffers of both ends.
        peer.write_all(&vec![7; EACH]).unwrap();
    }
    let (mut lent, mut heard) = (0, 0);
    while heard < CROWD {
        driver.wait(TIMEOUT).unwrap();
        while let Some(event) = driver.next() {
            let Event::Data(from, bytes) = event else { panic!("{event:?}") };
            (lent, heard) = (lent + bytes.len(), heard + 1);
            driver.hold(from, true);
        }
    }
    // A few whole reads, and from then on parts of a bound that grow ever smaller.
    assert!(lent < UNUSED_BYTES * 4, "{lent} bytes lent");
    (0..CROWD).for_each(|slot| driver.hold(id(slot), false));
    while lent < EACH * CROWD as usize {
        driver.wait(TIMEOUT).unwrap();
        while let Some(event) = driver.next() {
            let Event::Data(_, bytes) = event else { panic!("{event:?}") };
            lent += bytes.len();
        }
    }
}
