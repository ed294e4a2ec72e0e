//! Floods: far more than the bounds allow to be kept, by every way in which one client
//! can make the engine keep something, while those who should take it do not read.

use shardcast::{Limits, SlowPolicy, driver::sim::Faults};

use crate::{
    app::cramped,
    hand::Act,
    run::{Outcome, ROOMS, Run},
};

/// Messages of each flooder. At some 200 bytes each that is many times the bounds.
const MESSAGES: usize = 800;

/// Flooders, readers that stall and some that read; then nobody stalls any more.
pub(crate) fn beyond_all_bounds(seed: u64) -> Outcome {
    let shards = 1 + (seed % 3) as usize;
    let limits = Limits { batch_bytes: 1000, sends_per_turn: 4, mails_per_turn: 8, ..cramped() };
    let mut run = Run::with_limits(seed, shards, limits);
    run.has_large = false;
    run.world.net().set_faults(Faults::none());
    for _ in 0..6 {
        run.connect();
    }
    run.rest();
    for peer in 0..run.peers.len() {
        for room in &ROOMS[..2] {
            run.say(peer, &format!(r#"{{"type":"subscribe","room":"{room}"}}"#));
        }
        run.talk(peer, "name");
        if run.rng.chance(30) {
            let policy = SlowPolicy::ALL[run.rng.below(4)].name();
            run.say(peer, &format!(r#"{{"type":"policy","to":"{policy}"}}"#));
        }
    }
    run.rest();
    let net = run.world.net().clone();
    for peer in 0..run.peers.len() {
        if run.rng.chance(50) {
            net.stall(run.peers[peer].id);
        }
    }
    for _ in 0..=run.rng.below(2) {
        let peer = run.rng.below(run.peers.len());
        let events = ["publish", "others", "keyed", "many", "broadcast", "whisper", "direct"];
        let event = events[run.rng.below(events.len())];
        for _ in 0..MESSAGES {
            run.talk(peer, event);
        }
    }
    let asker = run.rng.below(run.peers.len());
    for _ in 0..MESSAGES {
        run.talk(asker, "ping");
    }
    for n in 1..=MESSAGES as u64 {
        run.by_hand(Act::Publish { room: ROOMS[0], n: 1_000_000 + n });
    }
    for _ in 0..8 {
        run.rest();
        run.pass_time(300);
    }
    for peer in &run.peers {
        net.resume(peer.id);
    }
    run.rest();
    assert_eq!(run.world.held_count(), 0, "somebody is held though all have read");
    run.end()
}
