//! How connections end: by the peer's end of the stream, and by failing.

use super::*;

pub(super) fn after_eof_sending_goes_on<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let text = bench.fill(ID, &mut peer);
    bench.world.finish(&mut peer);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Eof]);
    bench.world.resume(&mut peer);
    assert!(bench.read_exactly(&mut peer, text.len()) == text);
    bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 1);
    bench.settle();
    assert_eq!(bench.gone(ID), [Gone::Eof]);
}

pub(super) fn a_reset_is_reported_once_and_ends_sending<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.write_all(&mut peer, b"last words");
    bench.world.reset(peer);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
    assert!(b"last words".starts_with(&bench.data(ID)));
    let before = bench.seen.len();
    assert_eq!(bench.send(ID, &Bytes::from_static(b"anyone?")), Sending::Done);
    bench.settle();
    assert!(bench.seen[before..].iter().all(|(from, _)| *from != ID));
}

pub(super) fn a_reset_while_pending_is_gone_and_never_sent<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.fill(ID, &mut peer);
    bench.world.reset(peer);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Reset]);
    bench.settle();
    assert_eq!(bench.count(ID, &Seen::Sent), 0);
    assert_eq!(bench.gone(ID), [Gone::Reset]);
}

pub(super) fn a_failure_after_eof_releases_whoever_waits_for_sent<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.fill(ID, &mut peer);
    bench.world.finish(&mut peer);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Eof]);
    bench.world.reset(peer);
    bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 1);
    assert_eq!(bench.send(ID, &Bytes::from_static(b"anyone?")), Sending::Done);
    bench.settle();
    assert_eq!(bench.gone(ID), [Gone::Eof]);
}
