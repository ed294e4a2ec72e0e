//! What a stalled reader of the shortest frames costs. A test binary of its own,
//! since it looks at the memory of its whole process.

use std::fs;

use shardcast::{
    Data, Engine, Limits, SlowPolicy,
    driver::sim::{Faults, PeerId},
    shard::sim::World,
};

const MEMBERS: usize = 8;
const ROOMS: usize = 100;
/// More than a budget of 1 MiB has bytes, divided by the three of a frame.
const MESSAGES: usize = 400_000;

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<usize>().ok()).expect("a number") * 1024
}

/// Members of all rooms that read nothing.
fn stalled(policy: SlowPolicy) -> (World, Vec<PeerId>) {
    let limits = Limits { slow_policy: policy, ..Limits::default() };
    let engine = Engine::builder()
        .limits(limits)
        .on_connect(|conn| (0..ROOMS).try_for_each(|room| conn.join(&room.to_string())));
    let mut world = World::new(1, 1, Faults::none(), engine).expect("the limits are good");
    let members: Vec<PeerId> = (0..MEMBERS).map(|_| world.upgrade(0, "/ws/raw")).collect();
    world.settle();
    for member in &members {
        world.net().stall(*member);
    }
    (world, members)
}

#[test]
fn a_stalled_reader_of_short_frames_costs_its_budget_and_a_tenth() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::Conflate] {
        let (mut world, _members) = stalled(policy);
        let (before, mut most) = (resident_bytes(), 0);
        for number in 0..MESSAGES {
            let data = Data::binary(&b"x"[..]);
            world.handle().publish(&(number % ROOMS).to_string(), "", data).expect("room for it");
            if number % 2000 == 0 {
                world.settle();
                most = most.max(resident_bytes());
            }
        }
        let grown = most.saturating_sub(before);
        // The batch that is with the driver, and what a shard keeps whoever waits.
        let beside = MEMBERS * 256 * 1024 + 6 * 1024 * 1024;
        let budget = Limits::default().queue_bytes;
        assert!(grown < MEMBERS * budget / 10 * 11 + beside, "{grown} bytes, {policy:?}");
        assert!(world.stats().messages_dropped > 0);
    }
}
