//! What every driver promises, tried on each of them: one body, many worlds.
//! Waits for conditions; the only number of turns is the one that says "never".

mod bench;
mod endings;
mod fairness;
mod holding;
mod of_kernel;
mod sending;
mod worlds;

use bytes::Bytes;

use self::{
    bench::{Bench, ID, OTHER, Seen, TURNS, pattern},
    endings::*,
    holding::*,
    sending::*,
    worlds::{Sim, World},
};
use super::*;

/// Every body runs on every driver; on the simulator with these many seeds, of
/// which the first is free of faults.
const SEEDS: u64 = 40;

macro_rules! contract {
    ($($body:ident,)*) => {
        mod sim {
            $(#[test] fn $body() { (0..super::SEEDS).for_each(super::$body::<super::Sim>); })*
        }
        contract! { in epoll: Epoll; $($body,)* }
        contract! { in uring: Uring; $($body,)* }
        contract! { in uring_answered: UringAnswered; $($body,)* }
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
    a_batch_for_a_reader_that_has_fallen_behind_is_not_done_before_it_has_left,
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
    let _predecessor = bench.connect(ID);
    bench.driver.close(ID);
    let successor = ConnId::new(ID.shard(), ID.slot(), ID.generation() + 1);
    let mut peer = bench.connect(successor);
    assert_eq!(bench.send(ID, &Bytes::from_static(b"for the predecessor")), Sending::Done);
    bench.driver.shutdown(ID);
    bench.driver.close(ID);
    assert!(bench.driver.detach(ID).is_none());
    bench.send(successor, &Bytes::from_static(b"for the successor"));
    assert_eq!(bench.read_exactly(&mut peer, 17), b"for the successor");
    bench.write_all(&mut peer, b"thanks");
    bench.until("data", |bench| bench.data(successor) == b"thanks");
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
