//! One slow reader under each lossy policy, and what of it is left.

use serde_json::json;
use shardcast::{
    Engine, Limits, SlowPolicy,
    driver::sim::{Faults, Rng},
    shard::sim::World,
};

use crate::peer::Peer;

/// Readers that stall under a small budget and a lossy policy.
pub(crate) fn with_slow_readers(seed: u64) {
    let policies = [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::Conflate];
    let policy = policies[(seed % 3) as usize];
    let limits =
        Limits { queue_bytes: 2000, batch_bytes: 500, slow_policy: policy, ..Limits::default() };
    let engine = Engine::builder().limits(limits);
    let mut world = World::new(seed, 1, Faults::all(), engine).unwrap();
    let net = world.net().clone();
    let mut rng = Rng::new(seed);
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::new(world.upgrade(0, "/ws"), 0)).collect();
    for peer in &peers {
        peer.send(&net, r#"{"type":"subscribe","room":"red"}"#, 1);
    }
    world.settle();
    net.stall(peers[1].id);
    let count = 150 + rng.below(100) as u64;
    for number in 1..=count {
        let pad = "y".repeat(rng.below(100));
        let data = json!({ "n": number, "pad": pad });
        let message = json!({ "type": "publish", "room": "red", "data": data });
        peers[0].send(&net, &message.to_string(), 1);
        if rng.chance(70) {
            world.settle();
        }
    }
    world.settle();
    net.resume(peers[1].id);
    world.settle();
    for peer in &mut peers {
        peer.read(&net);
        assert!(peer.is_between_frames());
    }
    let all: Vec<u64> = (1..=count).collect();
    assert_eq!(peers[0].numbers().collect::<Vec<_>>(), all);
    assert_eq!(peers[2].numbers().collect::<Vec<_>>(), all);
    check_what_is_left(policy, &peers[1].numbers().collect::<Vec<_>>(), count);
    assert!(world.stats().messages_dropped > 0);
}

fn check_what_is_left(policy: SlowPolicy, seen: &[u64], count: u64) {
    assert!(seen.is_sorted_by(|a, b| a < b), "out of order or twice: {seen:?}");
    assert!((seen.len() as u64) < count, "nothing was dropped");
    match policy {
        SlowPolicy::DropNewest => {
            // An unbroken beginning, and it ends before the last.
            assert!(seen.len() > 5 && seen[..5] == [1, 2, 3, 4, 5], "{seen:?}");
            assert_ne!(seen.last(), Some(&count), "{seen:?}");
        }
        _ => assert_eq!(seen.last(), Some(&count), "the newest must arrive: {seen:?}"),
    }
}
