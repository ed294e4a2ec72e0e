//! On which cores the shards run.

use std::{collections::BTreeMap, sync::mpsc::channel, thread};

use rustix::thread::{CpuSet, sched_getaffinity};

use super::bed::Bed;

/// The cores that this thread may run on.
fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("an affinity");
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

#[test]
fn shards_that_are_pinned_are_divided_over_the_cores() {
    let available = cores();
    // One more than there are cores: the first gets two.
    let shards = (available.len() + 1).min(4);
    let (tell, told) = channel();
    let bed = Bed::start(shards, |builder| {
        builder.pin(true).on_connect(move |conn| {
            tell.send((conn.id().shard(), cores())).expect("a test");
            Ok(())
        })
    });
    drop(bed.client_on_each_shard());
    bed.stop();
    let found: BTreeMap<u8, Vec<usize>> = told.into_iter().collect();
    let expected = (0..shards).map(|shard| (shard as u8, vec![available[shard % available.len()]]));
    assert_eq!(found, expected.collect());
    let own = thread::spawn(cores).join().expect("no panic");
    assert_eq!(own, available, "the program's own threads are left alone");
}
