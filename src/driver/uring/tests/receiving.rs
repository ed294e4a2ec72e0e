//! Receiving when buffers and completions are scarce.

use super::*;

/// Lets each peer write all of its text while data is held from time to time, and
/// requires that all of it arrives.
fn everything_arrives(settings: &UringSettings, peers: u32, bytes: usize) {
    let mut bed = Bed::new(settings);
    let mut peers = bed.connect_many(peers);
    let texts = (0..peers.len() as u32).map(|slot| pattern(bytes, slot)).collect::<Vec<_>>();
    let mut written = vec![0; peers.len()];
    let mut rng = Rng::new(bytes as u64);
    bed.until("all arrived", |bed| {
        bed.driver.hold_data(rng.chance(50));
        for (slot, peer) in peers.iter_mut().enumerate() {
            let max = rng.piece(bytes - written[slot]);
            written[slot] += write(peer, &texts[slot][written[slot]..][..max]);
        }
        (0u32..).zip(&texts).all(|(slot, text)| bed.data(id(slot)).len() == text.len())
    });
    for (slot, text) in (0u32..).zip(&texts) {
        assert!(bed.data(id(slot)) == text, "{slot}");
    }
    assert_eq!(bed.gone, []);
}

#[test]
fn an_empty_buffer_ring_is_backpressure() {
    let mut bed = Bed::new(&scarce_buffers());
    let mut peers = bed.connect_many(6);
    bed.driver.hold_data(true);
    let text = pattern(20_000, 0);
    for peer in &mut peers {
        assert_eq!(write(peer, &text), text.len());
    }
    // Each has filled a buffer or found that none is left.
    bed.until("no buffer", |bed| bed.driver.ring.received() >= peers.len());
    assert!(!bed.driver.ring.has_buffers());
    assert!(bed.data.is_empty());
    bed.driver.hold_data(false);
    bed.until("all", |bed| (0..6).all(|slot| bed.data(id(slot)).len() == text.len()));
    assert!((0..6).all(|slot| bed.data(id(slot)) == text));
}

#[test]
fn scarce_buffers_lose_nothing() {
    everything_arrives(&scarce_buffers(), 6, 20_000);
    let whole = UringSettings {
        // Sixteen times as many of a sixteenth.
        receive_buffers: 1,
        receive_buffer_bytes: 256,
        incremental_buffers: false,
        ..UringSettings::default()
    };
    everything_arrives(&whole, 40, 5_000);
}

#[test]
fn scarce_completions_lose_nothing() {
    everything_arrives(&scarce_entries(), 100, 5_000);
    everything_arrives(&UringSettings { submission_entries: 2, ..scarce_buffers() }, 20, 3_000);
}

#[test]
fn a_receive_that_the_kernel_ended_is_armed_again() {
    let mut bed = Bed::new(&UringSettings { submission_entries: 2, ..scarce_buffers() });
    let mut peers = bed.connect_many(50);
    bed.driver.hold_data(true);
    for peer in &mut peers {
        assert_eq!(write(peer, &[1; 100]), 100);
    }
    for _ in 0..10 {
        bed.turn();
    }
    bed.driver.hold_data(false);
    bed.until("all", |bed| (0..50).all(|slot| bed.data(id(slot)).len() == 100));
    bed.until("armed", |bed| {
        let table = &mut bed.driver.table;
        (0..50).all(|slot| table.find(id(slot)).unwrap().flags.any(flag::ARMED))
    });
}

#[test]
fn a_flooding_peer_does_not_drain_the_buffers_for_the_others() {
    let mut bed = Bed::new(&scarce_buffers());
    let mut flooder = bed.connect(id(0));
    let mut quiet = (1..6).map(|slot| bed.connect(id(slot))).collect::<Vec<_>>();
    let flood = vec![7; 1 << 20];
    for word in 1..=200 {
        for peer in &mut quiet {
            assert_eq!(write(peer, b"a word"), 6);
        }
        let mut turns = 0;
        while !(1..6).all(|slot| bed.data(id(slot)).len() == 6 * word) {
            assert!(write(&mut flooder, &flood) > 0 || turns > 0 || word > 1);
            turns += 1;
            assert!(turns <= 20, "a word was not heard");
            bed.turn();
        }
    }
    assert!(bed.data(id(0)).len() > 10_000, "no flood");
}

#[test]
fn a_wait_takes_back_what_was_lent() {
    let settings = UringSettings { receive_buffers: 1, ..scarce_buffers() };
    let mut bed = Bed::new(&settings);
    let mut peers = bed.connect_many(4);
    let large = bed.fill(id(3));
    assert_eq!(bed.send(id(3), &large), Sending::Pending);
    let waits_for = |bed: &mut Bed, received| {
        let deadline = Instant::now() + GUARD;
        while bed.driver.waiting() < received {
            assert!(Instant::now() < deadline, "{received} arrivals: not after {GUARD:?}");
            bed.driver.wait(Some(Duration::from_millis(1))).unwrap();
        }
    };
    // The first takes the buffer, the second finds none.
    write(&mut peers[0], &[0; 64]);
    waits_for(&mut bed, 1);
    write(&mut peers[1], b"starved");
    waits_for(&mut bed, 2);
    assert!(matches!(bed.driver.next(), Some(Event::Data(from, _)) if from == id(0)));
    // Something else comes, and the buffer is free until the third takes it.
    while bed.driver.sent.is_empty() {
        read(&mut peers[3], &mut Vec::new());
        bed.driver.wait(Some(Duration::from_millis(1))).unwrap();
    }
    assert!(matches!(bed.driver.next(), Some(Event::Sent(from)) if from == id(3)));
    write(&mut peers[2], &[2; 64]);
    waits_for(&mut bed, 2);
    assert!(matches!(bed.driver.next(), Some(Event::Data(from, _)) if from == id(2)));
    // Nothing new comes that could end this.
    bed.driver.wait(None).unwrap();
    assert!(matches!(bed.driver.next(), Some(Event::Data(from, _)) if from == id(1)));
}

#[test]
fn ends_and_resets_use_up_no_buffer_and_mix_none_up() {
    let mut bed = Bed::new(&scarce_buffers());
    let mut steady = bed.connect(id(0));
    let text = pattern(60_000, 0);
    let (mut written, mut rng) = (0, Rng::new(9));
    for slot in 1..200 {
        let mut peer = bed.connect(id(slot));
        written += write(&mut steady, &text[written..][..300]);
        let word = pattern(rng.below(100), slot);
        assert_eq!(write(&mut peer, &word), word.len());
        let resets = rng.chance(50);
        if resets {
            SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(peer);
        bed.until("gone", |bed| bed.gone.iter().any(|(from, _)| *from == id(slot)));
        assert!(bed.data(id(slot)) == word || (resets && word.starts_with(bed.data(id(slot)))));
        bed.driver.close(id(slot));
    }
    bed.until("all", |bed| bed.data(id(0)).len() == written);
    assert!(bed.data(id(0)) == &text[..written]);
}
