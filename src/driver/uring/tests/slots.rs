//! Slots that change their connections while the kernel is busy with the last one's
//! operations.

use super::*;

#[test]
fn what_comes_for_a_slots_last_tenant_is_never_its_successors() {
    let mut bed = Bed::new(&scarce_buffers());
    let (mut rng, mut last_peer) = (Rng::new(5), None);
    for generation in 1..=400 {
        let connection = ConnId::new(0, 0, generation);
        let mark = generation as u8;
        let mut peer = bed.connect(connection);
        write(&mut peer, &vec![mark; rng.piece(3_000)]);
        if rng.chance(50) {
            bed.driver.send(connection, &[Slice::whole(&Bytes::from(vec![mark; 20]))]);
        }
        if rng.chance(50) {
            // Some of it stays underway when the connection is closed.
            let large = Bytes::from(vec![mark; STALLING_BYTES]);
            while bed.send(connection, &large) == Sending::Done && rng.chance(70) {}
        }
        for _ in 0..rng.below(3) {
            bed.turn();
        }
        // The last one's peer reads, or leaves, while the successor is at work.
        if let Some((mut peer, mark)) = last_peer.replace((peer, mark)) {
            let mut arrived = Vec::new();
            read(&mut peer, &mut arrived);
            assert!(arrived.iter().all(|byte| *byte == mark));
        }
        bed.driver.close(connection);
    }
    for (connection, bytes) in &bed.data {
        assert!(bytes.iter().all(|byte| *byte == connection.generation() as u8), "{connection:?}");
    }
    assert!(bed.data.len() > 50, "{}", bed.data.len());
}

/// Detaches a connection to which bytes come all the while; what of them has come
/// before, with and behind the socket.
fn detached(bed: &mut Bed, id: ConnId, text: &[u8], turns: usize) -> Vec<u8> {
    // It stays open until all was read: what a closed one has left to send the kernel
    // may reset when it is short of memory for sockets.
    let mut peer = bed.connect(id);
    peer.set_nonblocking(false).unwrap();
    peer.set_write_timeout(Some(GUARD)).unwrap();
    let mut all = Vec::new();
    let (read, written) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            text.chunks(777).try_for_each(|chunk| peer.write_all(chunk))?;
            peer.shutdown(Shutdown::Write)
        });
        (0..turns).for_each(|_| bed.turn());
        all.extend_from_slice(bed.data(id));
        let mut detached = bed.driver.detach(id).unwrap();
        all.extend(detached.unread);
        (detached.socket.read_to_end(&mut all), writing.join().unwrap())
    });
    // Both at once: the failure of one end follows from that of the other.
    assert!(read.is_ok() && written.is_ok(), "{read:?}, {written:?} after {} bytes", all.len());
    all
}

#[test]
fn a_socket_that_is_detached_while_bytes_arrive_loses_none() {
    for incremental_buffers in [true, false] {
        let settings = UringSettings { incremental_buffers, ..scarce_buffers() };
        for settings in [settings, UringSettings { incremental_buffers, ..Default::default() }] {
            let mut bed = Bed::new(&settings);
            for slot in 0..30 {
                let text = pattern(300_000, slot);
                let arrived = detached(&mut bed, id(slot), &text, slot as usize);
                assert!(arrived == text, "{slot}");
            }
        }
    }
}

/// A ring that takes a large text in more receives than the kernel makes at once.
fn many_small_buffers() -> UringSettings {
    UringSettings { receive_buffers: 1024, receive_buffer_bytes: 64, ..Default::default() }
}

#[test]
fn a_socket_that_is_detached_at_once_loses_nothing() {
    let mut bed = Bed::new(&many_small_buffers());
    for slot in 0..20 {
        let mut peer = Peer::connect(bed.address).unwrap();
        let text = pattern(60_000, slot);
        peer.write_all(&text).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        bed.until("accept", |bed| !bed.accepted.is_empty());
        bed.driver.attach(id(slot), bed.accepted.pop_front().unwrap()).unwrap();
        if slot % 2 == 0 {
            bed.driver.ring.submit();
        }
        let mut detached = bed.driver.detach(id(slot)).unwrap();
        detached.socket.read_to_end(&mut detached.unread).unwrap();
        assert!(detached.unread == text, "{slot}");
    }
}

#[test]
fn a_connection_that_is_closed_at_once_ends_whatever_its_peer_has_sent() {
    let mut bed = Bed::new(&many_small_buffers());
    for slot in 0..20 {
        let mut peer = Peer::connect(bed.address).unwrap();
        peer.write_all(&pattern(60_000, slot)).unwrap();
        peer.set_nonblocking(true).unwrap();
        bed.until("accept", |bed| !bed.accepted.is_empty());
        bed.driver.attach(id(slot), bed.accepted.pop_front().unwrap()).unwrap();
        if slot % 2 == 0 {
            bed.driver.ring.submit();
        }
        bed.driver.close(id(slot));
        bed.until("end", |_| read(&mut peer, &mut Vec::new()));
    }
    assert!(bed.data.is_empty());
}

#[test]
fn a_socket_that_is_detached_in_a_crowd_loses_nothing() {
    let mut bed = Bed::new(&UringSettings::default());
    let crowd = 2_000;
    let mut peers = bed.connect_many(crowd);
    bed.turn();
    // The kernel has more to say of the others than it says at once.
    for peer in &mut peers {
        assert_eq!(write(peer, b"hello"), 5);
    }
    let last = crowd - 1;
    let mut detached = bed.driver.detach(id(last)).unwrap();
    let peer = &mut peers[last as usize];
    assert_eq!(write(peer, b", world"), 7);
    peer.shutdown(Shutdown::Write).unwrap();
    bed.until("the others", |bed| (0..last).all(|slot| bed.data(id(slot)) == b"hello"));
    detached.socket.read_to_end(&mut detached.unread).unwrap();
    assert_eq!(detached.unread, b"hello, world");
}

#[test]
fn detaching_does_not_wait_for_the_crowd() {
    let mut bed = Bed::new(&UringSettings::default());
    let crowd = 2_000;
    let mut peers = bed.connect_many(crowd);
    bed.turn();
    for peer in &mut peers {
        assert_eq!(write(peer, b"hello"), 5);
    }
    for slot in (0..crowd).step_by(2) {
        let before = bed.driver.ring.epoch();
        let mut detached = bed.driver.detach(id(slot)).unwrap();
        // One to find out what was sent, and a few to look.
        assert!(bed.driver.ring.epoch().wrapping_sub(before) <= 6);
        peers[slot as usize].shutdown(Shutdown::Write).unwrap();
        detached.socket.read_to_end(&mut detached.unread).unwrap();
        assert_eq!(detached.unread, b"hello");
    }
    bed.until("the others", |bed| (1..crowd).step_by(2).all(|slot| bed.data(id(slot)) == b"hello"));
    assert!((0..crowd).step_by(2).all(|slot| bed.data(id(slot)).is_empty()));
}
