//! Sends: what is taken, what is refused, and when that is reported.

use super::{bench::STALLING_BYTES, *};

/// What the kernel of a peer acknowledges before the peer has read it, at the most.
const RECEIVABLE_BYTES: usize = 128 << 10;

pub(super) fn a_slow_reader_gets_everything_and_sent_comes_once<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let text = Bytes::from(pattern(STALLING_BYTES));
    // Slices of all sizes, some of them of one shared buffer, some empty.
    let cuts = [0, 1, 1, 9_000, 9_010, 13_105, 13_106, 500_000, 500_100, text.len()];
    let batch = cuts.windows(2).map(|cut| Slice::new(&text, cut[0]..cut[1])).collect::<Vec<_>>();
    let all = bench.fill_with(ID, &mut peer, &batch);
    drop(batch);
    bench.settle();
    assert_eq!(bench.count(ID, &Seen::Sent), 0);
    bench.world.resume(&mut peer);
    let mut read = bench.read_exactly(&mut peer, all.len());
    bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 1);
    let mut sent = 1;
    if bench.send(ID, &Bytes::from_static(b"behind it")) == Sending::Pending {
        sent += 1;
        bench.until("sent again", |bench| bench.count(ID, &Seen::Sent) == sent);
    }
    read.extend(bench.read_exactly(&mut peer, 9));
    bench.settle();
    assert_eq!(bench.count(ID, &Seen::Sent), sent);
    assert!(read.strip_prefix(&all[..]) == Some(b"behind it"));
}

pub(super) fn unsent_bytes_fall_with_each_that_the_peer_takes<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    assert_eq!(bench.driver.unsent_bytes(ID), 0);
    let sent = bench.fill(ID, &mut peer).len();
    let mut unsent = bench.driver.unsent_bytes(ID);
    assert!(unsent > 0 && unsent <= sent, "{unsent} of {sent}");
    bench.world.resume(&mut peer);
    let mut read = 0;
    // What the peer has read it has acknowledged, sooner or later.
    bench.until("all", |bench| {
        read += bench.world.read(&mut peer).0.len();
        let now = bench.driver.unsent_bytes(ID);
        assert!(now <= unsent && now + read >= sent - RECEIVABLE_BYTES, "{now} after {unsent}");
        unsent = now;
        now == 0 && read == sent
    });
    bench.driver.close(ID);
    assert_eq!(bench.driver.unsent_bytes(ID), 0);
}

pub(super) fn a_batch_for_a_reader_that_has_fallen_behind_is_not_done_before_it_has_left<
    W: World,
>(
    seed: u64,
) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let sent = bench.fill(ID, &mut peer).len();
    let large = Bytes::from(pattern(STALLING_BYTES));
    bench.world.resume(&mut peer);
    let mut read = 0;
    bench.until("sent", |bench| {
        read += bench.world.read(&mut peer).0.len();
        bench.count(ID, &Seen::Sent) == 1
    });
    bench.world.stall(&mut peer);
    assert_eq!(bench.send(ID, &large), Sending::Pending);
    bench.settle();
    assert_eq!(bench.count(ID, &Seen::Sent), 1);
    bench.world.resume(&mut peer);
    bench.read_exactly(&mut peer, sent + large.len() - read);
    bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 2);
}

/// Fills the connection as far as the driver says that it is done with what it was
/// sent; all that.
fn fill_to_the_last_done<W: World>(bench: &mut Bench<W>, peer: &mut W::Peer) -> Vec<u8> {
    bench.world.stall(peer);
    let (small, large) = (pattern(500), Bytes::from(pattern(STALLING_BYTES)));
    let mut all = Vec::new();
    for _ in 0..20 {
        let sending = bench.send(ID, &Bytes::from(small.clone()));
        all.extend(&small);
        bench.turn();
        if sending == Sending::Pending {
            bench.world.resume(peer);
            bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 1);
            return all;
        }
    }
    if W::FINDS_OUT_LATE {
        assert_eq!(bench.send(ID, &large), Sending::Done);
        all.extend(&large);
    }
    all
}

pub(super) fn what_was_done_is_sent_before_a_shutdown<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let all = fill_to_the_last_done(&mut bench, &mut peer);
    bench.driver.shutdown(ID);
    bench.world.resume(&mut peer);
    let mut read = Vec::new();
    bench.until("end", |bench| {
        let (bytes, ended) = bench.world.read(&mut peer);
        read.extend(bytes);
        ended
    });
    assert!(read == all);
}

pub(super) fn what_was_done_is_sent_before_a_close<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let all = fill_to_the_last_done(&mut bench, &mut peer);
    bench.driver.close(ID);
    bench.settle();
    bench.world.resume(&mut peer);
    let mut read = Vec::new();
    bench.until("end", |bench| {
        let (bytes, ended) = bench.world.read(&mut peer);
        read.extend(bytes);
        ended
    });
    assert!(read == all);
}

pub(super) fn a_batch_of_slices_of_every_size_arrives_whole<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let text = Bytes::from(pattern(STALLING_BYTES));
    let mut sent: Vec<u8> = Vec::new();
    let mut rng = super::super::sim::Rng::new(seed);
    // How many slices, and how long they are at the most.
    for (count, max) in [(1000, 8), (65, 200), (64, 4000), (1, STALLING_BYTES), (1000, 4000)] {
        let batch = (0..count).map(|_| rng.piece(max)).map(|len| Slice::new(&text, 0..len));
        let batch = batch.collect::<Vec<_>>();
        sent.extend(batch.iter().flat_map(Slice::as_slice));
        if bench.driver.send(ID, &batch) == Sending::Done {
            continue;
        }
        let before = bench.count(ID, &Seen::Sent);
        let mut read = Vec::new();
        bench.until("sent", |bench| {
            read.extend(bench.world.read(&mut peer).0);
            bench.count(ID, &Seen::Sent) > before
        });
        assert!(sent.drain(..read.len()).eq(read));
    }
    assert!(bench.read_exactly(&mut peer, sent.len()) == sent);
}
