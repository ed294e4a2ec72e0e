//! Holds: of all data, and of one connection.

use super::*;

pub(super) fn held_data_waits_while_sends_go_on<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.driver.hold_data(true);
    let sent = bench.fill(ID, &mut peer);
    bench.write_all(&mut peer, b"held");
    bench.world.resume(&mut peer);
    assert!(bench.read_exactly(&mut peer, sent.len()) == sent);
    bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 1);
    assert_eq!(bench.data(ID), b"");
    bench.driver.hold_data(false);
    bench.until("what was held", |bench| bench.data(ID) == b"held");
}

pub(super) fn a_wait_returns_at_once_for_data_whose_hold_has_ended<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.driver.hold_data(true);
    bench.write_all(&mut peer, b"held");
    bench.settle_held(&mut peer);
    bench.driver.hold_data(false);
    while bench.data(ID) != b"held" {
        // Nothing new comes that could end this.
        bench.turn_of(None);
    }
}

/// Lets what the peers of held connections wrote come as far as it can: what is
/// sent over another connection later comes back from it, so that was there before.
fn settle_others<W: World>(bench: &mut Bench<W>) {
    for _ in 0..10 {
        bench.settle();
    }
}

pub(super) fn a_held_connection_lends_nothing_and_others_are_served<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peers = [bench.connect(ID), bench.connect(OTHER)];
    bench.driver.hold(ID, true);
    let text = pattern(100_000);
    for round in 1..=3 {
        bench.world.write(&mut peers[0], b"held");
        bench.write_all(&mut peers[1], &text);
        bench.until("the other's", |bench| bench.data(OTHER).len() == round * text.len());
    }
    settle_others(&mut bench);
    assert!(bench.data(ID).is_empty());
    assert!(bench.data(OTHER) == text.repeat(3));
}

pub(super) fn what_a_hold_kept_back_is_lent_when_it_ends<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let mut text = Vec::new();
    for round in 1..10 {
        bench.driver.hold(ID, true);
        for _ in 0..round {
            let more = pattern(500 * round);
            bench.write_all(&mut peer, &more);
            text.extend(more);
            settle_others(&mut bench);
        }
        let before = bench.data(ID).len();
        bench.driver.hold(ID, false);
        while bench.data(ID).len() < text.len() {
            // Nothing new comes that could end this.
            bench.turn_of(None);
        }
        assert_eq!(before, text.len() - 500 * round * round);
    }
    assert!(bench.data(ID) == text);
}

/// One turn in which each connection is held as soon as it has lent something.
fn turn_with_holds<W: World>(bench: &mut Bench<W>, held: &mut [bool]) {
    bench.driver.wait(Some(Duration::from_millis(1))).unwrap();
    while let Some(event) = bench.driver.next() {
        let Event::Data(id, bytes) = event else { panic!("neither end nor connection") };
        bench.seen.push((id, Seen::Data(bytes.to_vec())));
        assert!(!std::mem::replace(&mut held[id.slot() as usize], true), "{id:?} is held");
        bench.driver.hold(id, true);
    }
}

pub(super) fn a_hold_takes_effect_on_what_the_turn_has_yet_to_lend<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let ids = [0, 1, 2].map(|slot| ConnId::new(0, slot, 1));
    let mut peers = ids.map(|id| bench.connect(id));
    let (text, mut held) = (pattern(50_000), [false; 3]);
    let mut written = [0; 3];
    for _ in 0..TURNS {
        for (peer, written) in peers.iter_mut().zip(&mut written) {
            *written += bench.world.write(peer, &text[*written..]);
        }
        turn_with_holds(&mut bench, &mut held);
        for (id, held) in ids.iter().zip(&mut held) {
            bench.driver.hold(*id, false);
            *held = false;
        }
        if ids.iter().all(|id| bench.data(*id).len() == text.len()) {
            break;
        }
    }
    assert!(ids.iter().all(|id| bench.data(*id) == text));
}

pub(super) fn holds_that_come_and_go_lose_nothing<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let ids = [0, 1, 2, 3].map(|slot| ConnId::new(0, slot, 1));
    let mut peers = ids.map(|id| bench.connect(id));
    let (text, mut rng) = (pattern(60_000), super::super::sim::Rng::new(seed));
    let mut written = [0; 4];
    bench.until("all", |bench| {
        let lent = ids.map(|id| bench.data(id).len());
        let held = ids.map(|_| rng.chance(50));
        for (slot, peer) in peers.iter_mut().enumerate() {
            let max = rng.piece(text.len() - written[slot]);
            written[slot] += bench.world.write(peer, &text[written[slot]..][..max]);
            for _ in 0..rng.below(3) {
                bench.driver.hold(ids[slot], rng.chance(50));
            }
            bench.driver.hold(ids[slot], held[slot]);
        }
        bench.turn();
        for ((id, lent), held) in ids.iter().zip(lent).zip(held) {
            assert!(!held || bench.data(*id).len() == lent, "{id:?} is held");
            bench.driver.hold(*id, false);
        }
        ids.iter().all(|id| bench.data(*id).len() == text.len())
    });
    assert!(ids.iter().all(|id| bench.data(*id) == text));
}

pub(super) fn a_held_connection_is_told_what_was_sent<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.driver.hold(ID, true);
    let sent = bench.fill(ID, &mut peer);
    bench.write_all(&mut peer, b"held");
    bench.world.resume(&mut peer);
    assert!(bench.read_exactly(&mut peer, sent.len()) == sent);
    bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 1);
    settle_others(&mut bench);
    assert_eq!(bench.data(ID), b"");
    bench.driver.hold(ID, false);
    bench.until("what was held", |bench| bench.data(ID) == b"held");
}

pub(super) fn the_end_of_a_held_connection_comes_behind_its_data<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peers = [bench.connect(ID), bench.connect(OTHER)];
    bench.driver.hold(ID, true);
    bench.driver.hold(OTHER, true);
    bench.write_all(&mut peers[0], b"last words");
    settle_others(&mut bench);
    for peer in &mut peers {
        bench.world.finish(peer);
    }
    settle_others(&mut bench);
    assert_eq!((bench.data(ID).len(), bench.gone(ID), bench.gone(OTHER)), (0, vec![], vec![]));
    bench.driver.hold(ID, false);
    bench.driver.hold(OTHER, false);
    while bench.gone(ID).is_empty() || bench.gone(OTHER).is_empty() {
        bench.turn_of(None);
    }
    assert_eq!(bench.data(ID), b"last words");
    bench.settle();
    assert_eq!((bench.gone(ID), bench.gone(OTHER)), (vec![Gone::Eof], vec![Gone::Eof]));
}

pub(super) fn a_held_connection_that_fails_is_reported_at_once<W: World>(seed: u64) {
    for words in [&b""[..], b"last words"] {
        let mut bench = Bench::<W>::new(seed);
        let mut peer = bench.connect(ID);
        bench.driver.hold(ID, true);
        bench.write_all(&mut peer, words);
        settle_others(&mut bench);
        bench.world.reset(peer);
        bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
        bench.driver.hold(ID, false);
        assert_eq!(bench.send(ID, &Bytes::from_static(b"anyone?")), Sending::Done);
        bench.settle();
        assert_eq!((bench.data(ID), bench.gone(ID)), (vec![], vec![Gone::Reset]));
    }
}

pub(super) fn a_held_connection_that_fails_after_its_end_is_reported_at_once<W: World>(seed: u64) {
    for words in [&b""[..], b"last words"] {
        let mut bench = Bench::<W>::new(seed);
        let mut peer = bench.connect(ID);
        bench.driver.hold(ID, true);
        bench.write_all(&mut peer, words);
        settle_others(&mut bench);
        bench.world.finish(&mut peer);
        settle_others(&mut bench);
        bench.world.reset(peer);
        bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
        assert!(bench.data(ID).is_empty());
    }
}

pub(super) fn a_connection_that_fails_before_it_is_held_again_is_reported_at_once<W: World>(
    seed: u64,
) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.driver.hold(ID, true);
    bench.write_all(&mut peer, b"held");
    settle_others(&mut bench);
    bench.driver.hold(ID, false);
    bench.world.reset(peer);
    // The driver learns of it and is asked for nothing.
    for _ in 0..10 {
        bench.driver.wait(Some(Duration::from_millis(1))).unwrap();
    }
    bench.driver.hold(ID, true);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
    assert!(bench.data(ID).is_empty());
}

/// Writes until the connection takes no more, however often the driver looks.
fn write_until_full<W: World>(bench: &mut Bench<W>, peer: &mut W::Peer) {
    let (text, mut full) = (pattern(8192), 0);
    while full < 50 {
        full = if bench.world.write(peer, &text) == 0 { full + 1 } else { 0 };
        bench.turn();
    }
}

pub(super) fn little_is_received_of_a_held_connection<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.driver.hold(ID, true);
    while bench.world.write(&mut peer, &[7; 8192]) > 0 {}
    write_until_full(&mut bench, &mut peer);
    let unlent = bench.driver.detach(ID).unwrap().unread.len();
    assert!(unlent <= W::UNLENT_BYTES, "{unlent} bytes");
}

pub(super) fn little_is_received_of_a_connection_that_is_held_at_its_first_bytes<W: World>(
    seed: u64,
) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.turn();
    while bench.world.write(&mut peer, &[7; 8192]) > 0 {}
    let mut is_held = false;
    while !is_held {
        bench.driver.wait(Some(Duration::from_millis(1))).unwrap();
        is_held = bench.driver.next().is_some();
    }
    bench.driver.hold(ID, true);
    write_until_full(&mut bench, &mut peer);
    let unlent = bench.driver.detach(ID).unwrap().unread.len();
    assert!(unlent <= W::UNLENT_BYTES, "{unlent} bytes");
}

pub(super) fn a_connection_that_failed_before_its_hold_is_reported<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.write_all(&mut peer, b"last words");
    bench.world.reset(peer);
    // The driver may know of it, and may have lent none of it.
    bench.driver.wait(Some(Duration::from_millis(1))).unwrap();
    bench.driver.hold(ID, true);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
    assert!(b"last words".starts_with(&bench.data(ID)));
}

pub(super) fn a_held_connection_whose_send_fails_is_reported_at_once<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.fill(ID, &mut peer);
    bench.write_all(&mut peer, b"held");
    bench.driver.hold(ID, true);
    bench.world.reset(peer);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
    bench.driver.hold(ID, false);
    bench.settle();
    assert_eq!((bench.gone(ID), bench.count(ID, &Seen::Sent)), (vec![Gone::Reset], 0));
}

pub(super) fn a_held_connection_is_closed_as_any_other<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.driver.hold(ID, true);
    bench.write_all(&mut peer, b"held");
    settle_others(&mut bench);
    bench.driver.close(ID);
    bench.until("closed", |bench| bench.world.read(&mut peer).1);
    let successor = ConnId::new(ID.shard(), ID.slot(), ID.generation() + 1);
    let mut peer = bench.connect(successor);
    bench.driver.hold(ID, false);
    bench.write_all(&mut peer, b"not held");
    bench.until("the successor's", |bench| bench.data(successor) == b"not held");
    assert!(bench.seen.iter().all(|(from, _)| *from != ID));
}

pub(super) fn a_held_connection_is_detached_with_what_it_has_not_lent<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.driver.hold(ID, true);
    let text = pattern(40_000);
    bench.write_all(&mut peer, &text[..20_000]);
    settle_others(&mut bench);
    assert_eq!(bench.data(ID), b"");
    let mut data = Vec::new();
    let detached = bench.driver.detach(ID).unwrap();
    data.extend(detached.unread);
    bench.write_all(&mut peer, &text[20_000..]);
    settle_others(&mut bench);
    bench.driver.attach(OTHER, detached.socket).unwrap();
    let rest = text.len() - data.len();
    bench.until("the rest", |bench| bench.data(OTHER).len() == rest);
    assert!([data, bench.data(OTHER)].concat() == text);
}

pub(super) fn a_hold_of_another_generation_is_ignored<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let _predecessor = bench.connect(ID);
    bench.driver.hold(ID, true);
    bench.driver.close(ID);
    let successor = ConnId::new(ID.shard(), ID.slot(), ID.generation() + 1);
    let mut peer = bench.connect(successor);
    bench.driver.hold(ID, true);
    bench.driver.hold(ConnId::new(0, 999, 1), true);
    bench.write_all(&mut peer, b"here");
    bench.until("the successor's", |bench| bench.data(successor) == b"here");
    bench.driver.hold(successor, true);
    bench.driver.hold(ID, false);
    bench.write_all(&mut peer, b"not yet");
    settle_others(&mut bench);
    assert_eq!(bench.data(successor), b"here");
}
