//! What every driver promises, tried on each of them: one body, many worlds.
//! Waits for conditions; the only number of turns is the one that says "never".

mod endings;
mod fairness;
mod holding;
mod of_kernel;
mod worlds;

use bytes::Bytes;

use self::{
    endings::*,
    holding::*,
    worlds::{Sim, World},
};
use super::*;

/// Every body runs on every driver; on the simulator with these many seeds, of
/// which the first is free of faults.
const SEEDS: u64 = 40;

/// The most turns until something must have happened.
const TURNS: usize = 10_000;

/// More than the buffers between a driver and a stalled peer hold.
const STALLING_BYTES: usize = 1 << 20;

/// What the kernel of a peer acknowledges before the peer has read it, at the most.
const RECEIVABLE_BYTES: usize = 128 << 10;

macro_rules! contract {
    ($($body:ident,)*) => {
        mod sim {
            $(#[test] fn $body() { (0..super::SEEDS).for_each(super::$body::<super::Sim>); })*
        }
        contract! { in epoll: Epoll; $($body,)* }
        contract! { in uring: Uring; $($body,)* }
        contract! { in uring_aloud: UringAloud; $($body,)* }
        contract! { in uring_whole_buffers: UringWholeBuffers; $($body,)* }
        contract! { in uring_plain: UringPlain; $($body,)* }
        contract! { in uring_tiny: UringTiny; $($body,)* }
        contract! { in uring_as_shipped: UringAsShipped; $($body,)* }
    };
    (in $world:ident: $kind:ident; $($body:ident,)*) => {
        mod $world {
            use super::worlds::{Loopback, $kind};

            $(#[test] fn $body() { super::$body::<Loopback<$kind>>(0); })*
        }
    };
}

contract! {
    bytes_arrive_whole_and_in_order,
    a_slow_reader_gets_everything_and_sent_comes_once,
    unsent_bytes_fall_with_each_that_the_peer_takes,
    what_was_done_is_sent_before_a_shutdown,
    what_was_done_is_sent_before_a_close,
    held_data_waits_while_sends_go_on,
    a_wait_returns_at_once_for_data_whose_hold_has_ended,
    a_held_connection_lends_nothing_and_others_are_served,
    what_a_hold_kept_back_is_lent_when_it_ends,
    a_hold_takes_effect_on_what_the_turn_has_yet_to_lend,
    holds_that_come_and_go_lose_nothing,
    a_held_connection_is_told_what_was_sent,
    the_end_of_a_held_connection_comes_behind_its_data,
    a_held_connection_that_fails_is_reported_at_once,
    a_held_connection_that_fails_after_its_end_is_reported_at_once,
    a_connection_that_fails_before_it_is_held_again_is_reported_at_once,
    little_is_received_of_a_held_connection,
    little_is_received_of_a_connection_that_is_held_at_its_first_bytes,
    a_connection_that_failed_before_its_hold_is_reported,
    a_held_connection_whose_send_fails_is_reported_at_once,
    a_held_connection_is_closed_as_any_other,
    a_held_connection_is_detached_with_what_it_has_not_lent,
    a_hold_of_another_generation_is_ignored,
    a_wait_returns_at_once_for_events_that_were_left_untaken,
    a_batch_of_slices_of_every_size_arrives_whole,
    after_eof_sending_goes_on,
    a_reset_is_reported_once_and_ends_sending,
    a_reset_while_pending_is_gone_and_never_sent,
    a_failure_after_eof_releases_whoever_waits_for_sent,
    nothing_names_a_closed_connection,
    a_stale_generation_is_ignored,
    a_detached_socket_lives_on,
    a_waker_ends_a_wait_without_limit,
    no_connection_is_accepted_after_stop,
    shutdown_ends_one_direction_only,
    a_socket_that_is_not_attached_is_closed,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Data(Vec<u8>),
    Sent,
    Gone(Gone),
}

/// A driver in its world, and what it has reported.
struct Bench<W: World> {
    world: W,
    driver: W::Driver,
    seen: Vec<(ConnId, Seen)>,
    accepted: Vec<<W::Driver as Driver>::Socket>,
}

impl<W: World> Bench<W> {
    fn new(seed: u64) -> Self {
        let (world, driver) = W::open(seed);
        Self { world, driver, seen: Vec::new(), accepted: Vec::new() }
    }

    fn turn(&mut self) {
        self.turn_of(Some(Duration::from_millis(1)));
    }

    fn turn_of(&mut self, timeout: Option<Duration>) {
        self.driver.wait(timeout).unwrap();
        while let Some(event) = self.driver.next() {
            match event {
                Event::Accepted { socket, .. } => self.accepted.push(socket),
                Event::Data(id, bytes) => {
                    assert!(!bytes.is_empty());
                    self.seen.push((id, Seen::Data(bytes.to_vec())));
                }
                Event::Sent(id) => self.seen.push((id, Seen::Sent)),
                Event::Gone(id, why) => self.seen.push((id, Seen::Gone(why))),
            }
        }
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS {
            if holds(self) {
                return;
            }
            self.turn();
        }
        panic!("{what}: not after {TURNS} turns; seen {:?}", self.seen.len());
    }

    fn connect(&mut self, id: ConnId) -> W::Peer {
        let peer = self.world.connect();
        self.until("accept", |bench| !bench.accepted.is_empty());
        self.driver.attach(id, self.accepted.remove(0)).unwrap();
        peer
    }

    /// Lets everything that is underway arrive: what a later connection has
    /// brought to its end, an earlier one will not begin.
    fn settle(&mut self) {
        let fence = ConnId::new(0, 1000, self.seen.len() as u32);
        let mut peer = self.connect(fence);
        self.world.write(&mut peer, b"fence");
        self.until("settle", |bench| bench.data(fence) == b"fence" && bench.world.is_quiet());
        self.driver.close(fence);
    }

    /// Lets what `peer` wrote come as far as it can while data is held: what is
    /// sent to it later comes back to it, so that was there before.
    fn settle_held(&mut self, peer: &mut W::Peer) {
        self.send(ID, &Bytes::from_static(b"echo"));
        assert_eq!(self.read_exactly(peer, 4), b"echo");
        for _ in 0..10 {
            self.turn();
        }
    }

    /// Writes all of `bytes`, however long the connection takes.
    fn write_all(&mut self, peer: &mut W::Peer, mut bytes: &[u8]) {
        self.until("write", |bench| {
            bytes = &bytes[bench.world.write(peer, bytes)..];
            bytes.is_empty()
        });
    }

    /// Reads until `len` bytes are there.
    fn read_exactly(&mut self, peer: &mut W::Peer, len: usize) -> Vec<u8> {
        let mut read = Vec::new();
        self.until("read", |bench| {
            read.extend(bench.world.read(peer).0);
            read.len() >= len
        });
        read
    }

    fn data(&self, id: ConnId) -> Vec<u8> {
        let mut data = Vec::new();
        for (from, seen) in &self.seen {
            if let (true, Seen::Data(bytes)) = (*from == id, seen) {
                data.extend_from_slice(bytes);
            }
        }
        data
    }

    fn count(&self, id: ConnId, what: &Seen) -> usize {
        self.seen.iter().filter(|(from, seen)| *from == id && seen == what).count()
    }

    fn send(&mut self, id: ConnId, bytes: &Bytes) -> Sending {
        self.driver.send(id, &[Slice::whole(bytes)])
    }

    /// Sends more than `peer`, who does not read, can take; what was sent.
    fn fill(&mut self, id: ConnId, peer: &mut W::Peer) -> Vec<u8> {
        let bytes = Bytes::from(pattern(STALLING_BYTES));
        self.fill_with(id, peer, &[Slice::whole(&bytes)])
    }

    /// The same with a batch that is more than the peer can take. A driver may find
    /// that out only when it is given the next.
    fn fill_with(&mut self, id: ConnId, peer: &mut W::Peer, batch: &[Slice<'_>]) -> Vec<u8> {
        self.world.stall(peer);
        let once = batch.iter().flat_map(Slice::as_slice).copied().collect::<Vec<_>>();
        if self.driver.send(id, batch) == Sending::Pending {
            return once;
        }
        assert_eq!(self.driver.send(id, batch), Sending::Pending);
        once.repeat(2)
    }

    /// How often, and why, `id` was reported gone.
    fn gone(&self, id: ConnId) -> Vec<Gone> {
        let gone = self.seen.iter().filter(|(from, _)| *from == id);
        gone.filter_map(|(_, seen)| if let Seen::Gone(why) = seen { Some(*why) } else { None })
            .collect()
    }
}

const ID: ConnId = ConnId::new(0, 3, 1);
const OTHER: ConnId = ConnId::new(0, 4, 1);

/// Bytes of which no two stretches are alike.
fn pattern(len: usize) -> Vec<u8> {
    let mut rng = super::sim::Rng::new(len as u64);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

fn bytes_arrive_whole_and_in_order<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let text = pattern(200_000);
    bench.write_all(&mut peer, &text);
    bench.world.finish(&mut peer);
    bench.until("end", |bench| bench.count(ID, &Seen::Gone(Gone::Eof)) == 1);
    assert!(bench.data(ID) == text);
    assert!(matches!(bench.seen.last(), Some((_, Seen::Gone(Gone::Eof)))));
}

fn a_slow_reader_gets_everything_and_sent_comes_once<W: World>(seed: u64) {
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

fn unsent_bytes_fall_with_each_that_the_peer_takes<W: World>(seed: u64) {
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

fn what_was_done_is_sent_before_a_shutdown<W: World>(seed: u64) {
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

fn what_was_done_is_sent_before_a_close<W: World>(seed: u64) {
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

fn a_wait_returns_at_once_for_events_that_were_left_untaken<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let ids = [ID, OTHER, ConnId::new(0, 5, 1)];
    let mut peers = ids.map(|id| bench.connect(id));
    for peer in &mut peers {
        bench.write_all(peer, &[7; 100]);
        bench.world.finish(peer);
    }
    // One event of each turn is taken; nothing new comes that could end a wait.
    let mut arrived = 0;
    let mut ended = 0;
    while ended < ids.len() {
        bench.driver.wait(None).unwrap();
        match bench.driver.next() {
            Some(Event::Data(_, bytes)) => arrived += bytes.len(),
            Some(Event::Gone(_, Gone::Eof)) => ended += 1,
            None => {}
            Some(_) => panic!("neither data nor an end"),
        }
    }
    assert_eq!(arrived, 300);
}

fn a_batch_of_slices_of_every_size_arrives_whole<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    let text = Bytes::from(pattern(STALLING_BYTES));
    let mut sent: Vec<u8> = Vec::new();
    let mut rng = super::sim::Rng::new(seed);
    // How many slices, and how long they are at the most.
    for (count, most) in [(1000, 8), (65, 200), (64, 4000), (1, STALLING_BYTES), (1000, 4000)] {
        let batch = (0..count).map(|_| rng.piece(most)).map(|len| Slice::new(&text, 0..len));
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

fn nothing_names_a_closed_connection<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peers = [bench.connect(ID), bench.connect(OTHER)];
    for peer in &mut peers {
        bench.write_all(peer, b"to be lost or not");
        bench.world.finish(peer);
    }
    // Both have an event waiting when the first of them is taken.
    let mut first = None;
    while first.is_none() {
        bench.driver.wait(None).unwrap();
        first = bench.driver.next().map(|event| match event {
            Event::Data(id, _) => id,
            _ => panic!("data comes first"),
        });
    }
    let closed = if first == Some(ID) { OTHER } else { ID };
    bench.driver.close(closed);
    bench.driver.close(closed);
    bench.settle();
    assert!(bench.seen.iter().all(|(from, _)| *from != closed));
    let [one, two] = &mut peers;
    let peer = if closed == ID { one } else { two };
    bench.until("closed", |bench| bench.world.read(peer).1);
}

fn a_stale_generation_is_ignored<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let _former = bench.connect(ID);
    bench.driver.close(ID);
    let heir = ConnId::new(ID.shard(), ID.slot(), ID.generation() + 1);
    let mut peer = bench.connect(heir);
    assert_eq!(bench.send(ID, &Bytes::from_static(b"for the former")), Sending::Done);
    bench.driver.shutdown(ID);
    bench.driver.close(ID);
    assert!(bench.driver.detach(ID).is_none());
    bench.send(heir, &Bytes::from_static(b"for the heir"));
    assert_eq!(bench.read_exactly(&mut peer, 12), b"for the heir");
    bench.write_all(&mut peer, b"thanks");
    bench.until("data", |bench| bench.data(heir) == b"thanks");
    assert!(bench.seen.iter().all(|(from, _)| *from != ID));
}

fn a_detached_socket_lives_on<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    bench.write_all(&mut peer, b"before, ");
    bench.settle();
    let mut data = bench.data(ID);
    let detached = bench.driver.detach(ID).unwrap();
    assert!(bench.driver.detach(ID).is_none());
    data.extend(detached.unread);
    bench.write_all(&mut peer, b"meanwhile");
    bench.settle();
    assert_eq!(bench.data(ID).len() % b"before, ".len(), 0);
    bench.driver.attach(OTHER, detached.socket).unwrap();
    bench.until("data", |bench| [data.clone(), bench.data(OTHER)].concat() == b"before, meanwhile");
    bench.send(OTHER, &Bytes::from_static(b"welcome back"));
    assert_eq!(bench.read_exactly(&mut peer, 12), b"welcome back");
}

fn a_waker_ends_a_wait_without_limit<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let waker = bench.driver.waker();
    // Before the wait, and many times.
    waker.wake();
    waker.wake();
    bench.driver.wait(None).unwrap();
    let thread = std::thread::spawn(move || waker.wake());
    bench.driver.wait(None).unwrap();
    thread.join().unwrap();
    bench.settle();
}

fn no_connection_is_accepted_after_stop<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut old = bench.connect(ID);
    bench.driver.stop_accepting();
    bench.driver.stop_accepting();
    let mut new = bench.world.connect();
    bench.until("refused", |bench| bench.world.read(&mut new).1);
    bench.write_all(&mut old, b"still here");
    bench.until("data", |bench| bench.data(ID) == b"still here");
    assert!(bench.accepted.is_empty());
}

fn shutdown_ends_one_direction_only<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.connect(ID);
    if bench.send(ID, &Bytes::from_static(b"goodbye")) == Sending::Pending {
        bench.until("sent", |bench| bench.count(ID, &Seen::Sent) == 1);
    }
    bench.driver.shutdown(ID);
    let mut read = Vec::new();
    bench.until("end", |bench| {
        let (bytes, ended) = bench.world.read(&mut peer);
        read.extend(bytes);
        ended
    });
    assert_eq!(read, b"goodbye");
    bench.write_all(&mut peer, b"goodbye to you");
    bench.world.finish(&mut peer);
    bench.until("end", |bench| bench.gone(ID) == [Gone::Eof]);
    assert_eq!(bench.data(ID), b"goodbye to you");
}

fn a_socket_that_is_not_attached_is_closed<W: World>(seed: u64) {
    let mut bench = Bench::<W>::new(seed);
    let mut peer = bench.world.connect();
    bench.until("accept", |bench| !bench.accepted.is_empty());
    bench.accepted.clear();
    bench.until("closed", |bench| bench.world.read(&mut peer).1);
}
