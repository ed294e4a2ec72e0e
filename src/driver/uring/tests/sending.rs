//! Sends of every size and number, and closed connections that linger.

use io_uring::types::Timespec;

use super::*;

/// The pieces of one batch: so many of so many bytes.
const SHAPES: [(usize, usize); 9] = [
    (1, 10),
    (3, 100),
    (1, 5_000),
    (2, 4_000),
    (64, 100),
    (65, 100),
    (1000, 1),
    (1000, 700),
    (1, STALLING_BYTES),
];

/// Sends every connection, in each turn, as many batches of all shapes as it takes,
/// and requires that its peer reads them all.
fn everything_leaves(settings: &UringSettings, connections: u32, turns: usize) {
    let mut bed = Bed::new(settings);
    let mut peers = bed.connect_many(connections);
    let owner = Bytes::from(pattern(STALLING_BYTES, 0));
    let mut rng = Rng::new(u64::from(connections));
    let mut sent = vec![Vec::<u8>::new(); peers.len()];
    let mut arrived = vec![Vec::new(); peers.len()];
    let mut waiting = vec![0; peers.len()];
    for _ in 0..turns {
        for slot in 0..connections {
            let index = slot as usize;
            while bed.sent.get(&id(slot)).copied().unwrap_or_default() == waiting[index] {
                // Seldom the largest, which are as large as all others together.
                let shapes = if rng.chance(3) { 9 } else { 7 };
                let (count, len) = SHAPES[rng.below(shapes)];
                let from = rng.below(owner.len() - len + 1);
                let batch = vec![Slice::new(&owner, from..from + len); count];
                for slice in &batch {
                    sent[index].extend(slice.as_slice());
                }
                if bed.driver.send(id(slot), &batch) == Sending::Pending {
                    waiting[index] += 1;
                }
                if rng.chance(60) {
                    break;
                }
            }
            if rng.chance(70) {
                read(&mut peers[index], &mut arrived[index]);
            }
        }
        bed.turn();
    }
    bed.until("all", |_| {
        for (peer, arrived) in peers.iter_mut().zip(&mut arrived) {
            read(peer, arrived);
        }
        sent.iter().zip(&arrived).all(|(sent, arrived)| arrived.len() >= sent.len())
    });
    assert!(sent == arrived);
    assert_eq!(bed.gone, []);
}

#[test]
fn every_batch_leaves_whole_and_in_order() {
    everything_leaves(&UringSettings::default(), 10, 40);
}

#[test]
fn a_turn_may_send_to_more_connections_than_a_submission_holds() {
    everything_leaves(&scarce_entries(), 100, 5);
    let aloud = UringSettings { silent_sends: false, ..scarce_entries() };
    everything_leaves(&aloud, 100, 5);
}

#[test]
fn a_turn_may_send_more_than_one_submission_can_hold() {
    let mut bed = Bed::new(&UringSettings::default());
    let mut peers = bed.connect_many(700);
    let owner = Bytes::from(pattern(10_000, 0));
    let mut arrived = vec![Vec::new(); peers.len()];
    let mut pending = vec![0; peers.len()];
    // More copies, more pieces and more gathered sends than there is room for.
    for len in [2_000, 70, 2_500] {
        for slot in 0..700 {
            let count = if len == 70 { 64 } else { 2 };
            let batch = vec![Slice::new(&owner, 0..len); count];
            if bed.driver.send(id(slot), &batch) == Sending::Pending {
                pending[slot as usize] += 1;
            }
        }
        bed.turn();
        // A host that is short of memory for sockets takes less at once, and the next
        // batch must wait for the rest.
        bed.until("sent", |bed| {
            for (peer, arrived) in peers.iter_mut().zip(&mut arrived) {
                read(peer, arrived);
            }
            let sent = |slot| bed.sent.get(&id(slot)).copied().unwrap_or_default();
            (0..700).all(|slot| sent(slot) == pending[slot as usize])
        });
    }
    let expected = [2_000, 2_000].into_iter().chain([70; 64]).chain([2_500, 2_500]);
    let expected = expected.flat_map(|len| &owner[..len]).copied().collect::<Vec<_>>();
    for (peer, mut arrived) in peers.iter_mut().zip(arrived) {
        bed.until("read", |_| {
            read(peer, &mut arrived);
            arrived.len() >= expected.len()
        });
        assert!(arrived == expected);
    }
}

#[test]
fn an_overflown_completion_queue_loses_neither_arrivals_nor_refused_sends() {
    let mut bed = Bed::new(&scarce_entries());
    let mut peers = bed.connect_many(300);
    let words = (0..300).map(|slot| pattern(100, slot)).collect::<Vec<_>>();
    for (peer, word) in peers.iter_mut().zip(&words) {
        assert_eq!(write(peer, word), 100);
    }
    // Every one of these is refused in part, while all that arrived is reported.
    let sent = (0..300).map(|slot| bed.fill(id(slot))).collect::<Vec<_>>();
    let mut arrived = vec![Vec::new(); 300];
    bed.until("all", |bed| {
        let mut all = true;
        for slot in 0..300 {
            let index = slot as usize;
            read(&mut peers[index], &mut arrived[index]);
            all &= arrived[index].len() >= sent[index].len() && bed.data(id(slot)).len() == 100;
        }
        all
    });
    assert!(arrived.iter().zip(&sent).all(|(arrived, sent)| arrived == sent));
    assert!((0..300).all(|slot| bed.data(id(slot)) == words[slot as usize]));
}

#[test]
fn a_send_that_is_refused_while_completions_overflow_is_not_forgotten() {
    let mut bed = Bed::new(&UringSettings {
        receive_buffers: 1024,
        receive_buffer_bytes: 64,
        ..scarce_entries()
    });
    for round in 0..5 {
        let (talker, reader) = (id(2 * round), id(2 * round + 1));
        let mut peer = bed.connect(reader);
        bed.turn();
        let mut talking = Peer::connect(bed.address).unwrap();
        let text = pattern(40_000, round);
        talking.write_all(&text).unwrap();
        bed.until("accept", |bed| !bed.accepted.is_empty());
        // In one submission: first arrivals for which there is no room, then a send.
        bed.driver.attach(talker, bed.accepted.pop_front().unwrap()).unwrap();
        let sent = bed.fill(reader);
        let mut arrived = Vec::new();
        bed.until("all", |bed| {
            read(&mut peer, &mut arrived);
            arrived.len() >= sent.len() && bed.data(talker).len() >= text.len()
        });
        assert!(arrived == sent && bed.data(talker) == text, "{round}");
    }
}

#[test]
fn closed_connections_deliver_to_whoever_reads_and_are_bounded_in_number() {
    static AN_HOUR: Timespec = Timespec::new().sec(3600);
    let mut bed = Bed::new(&UringSettings::default());
    // The peers read one after the other, however long a busy host takes for that.
    bed.driver.ring.linger_time = &AN_HOUR;
    let count = MAX_LINGERING as u32 + 4;
    let mut peers = bed.connect_many(count);
    let sent = (0..count).map(|slot| bed.fill(id(slot))).collect::<Vec<_>>();
    (0..count).for_each(|slot| bed.driver.close(id(slot)));
    assert_eq!(bed.driver.lingering.len(), MAX_LINGERING);
    for (index, peer) in peers.iter_mut().enumerate() {
        let mut arrived = Vec::new();
        bed.until("end", |_| read(peer, &mut arrived));
        assert!(sent[index].starts_with(&arrived));
        assert_eq!(arrived.len() == sent[index].len(), index < MAX_LINGERING, "{index}");
    }
    assert!(bed.driver.has_sent_all());
    assert_eq!((bed.gone.len(), bed.sent.len()), (0, 0));
}

#[test]
fn a_closed_connection_whose_peer_never_reads_is_given_up() {
    let mut bed = Bed::new(&UringSettings::default());
    let mut peer = bed.connect(id(0));
    bed.fill(id(0));
    bed.driver.close(id(0));
    while !bed.driver.has_sent_all() {
        bed.driver.wait(None).unwrap();
    }
    bed.until("end", |_| read(&mut peer, &mut Vec::new()));
}
