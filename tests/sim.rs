//! The whole engine in a simulated world, against a naive model: seeded runs of
//! random operations on a network that misbehaves. A failing run prints its
//! seed; `SIM_SEED=<seed> cargo test --test sim` replays it alone, `SIM_SEEDS=<n>`
//! sets how many are run in all, and `SIM_FIRST=<seed>` leaves out those before it.

#[path = "sim/app.rs"]
mod app;
#[path = "sim/bounds.rs"]
mod bounds;
#[path = "sim/cases.rs"]
mod cases;
#[path = "sim/check.rs"]
mod check;
#[path = "sim/flood.rs"]
mod flood;
#[path = "sim/hand.rs"]
mod hand;
#[path = "sim/members.rs"]
mod members;
#[path = "sim/model.rs"]
mod model;
#[path = "sim/peer.rs"]
mod peer;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/settled.rs"]
mod settled;
#[path = "sim/slow.rs"]
mod slow;

use std::{
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
};

use check::{Fates, check_always, check_exactly, check_loosely};
use run::{Outcome, Run};

/// Runs of all tests together, where nothing else is said.
const SEEDS: u64 = 10_000;

/// Runs `body` for `percent` of the seeds; names the seed that fails.
fn for_seeds<T>(percent: u64, body: impl Fn(u64) -> T) -> Vec<T> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("SIM_SEED") {
        body(seed);
        return Vec::new();
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS) * percent / 100;
    let run = |seed| {
        catch_unwind(AssertUnwindSafe(|| body(seed))).unwrap_or_else(|panic| {
            eprintln!("seed {seed} fails; replay it by SIM_SEED={seed} cargo test --test sim");
            std::panic::resume_unwind(panic);
        })
    };
    let first = number("SIM_FIRST").unwrap_or(0);
    (first..seeds).map(run).collect()
}

/// The bounds bite: in a good part of the runs connections are held, handles are
/// refused, messages are dropped and connections are closed for being slow.
fn assert_pressed(outcomes: &[Outcome], percent: usize) {
    let of = |what: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|one| what(one)).count();
    let counts = [
        ("held", of(&|outcome| outcome.holds > 0)),
        ("refused to a handle", of(&|outcome| outcome.busy > 0)),
        ("dropped", of(&|outcome| outcome.dropped > 0)),
        ("too slow", of(&|outcome| outcome.too_slow > 0)),
    ];
    eprintln!("of {} runs: {counts:?}", outcomes.len());
    if outcomes.len() >= 100 {
        for (what, count) in counts {
            let most = if what == "held" { percent } else { 1 };
            assert!(count * 100 >= outcomes.len() * most, "{what} only in {count} runs");
        }
    }
}

fn against_the_model(seed: u64, shards: usize) -> Outcome {
    let mut run = Run::new(seed, shards);
    run.play(|run| (0..40).for_each(|_| run.step()));
    let log = run.tap.log();
    let fates = Fates::of(&run, &log);
    check_always(&run, &fates);
    if shards == 1 {
        check_exactly(&run, &log, &fates);
    } else {
        check_loosely(&run, &log, &fates);
    }
    run.end()
}

#[test]
fn one_shard_sends_each_peer_exactly_what_the_model_says_in_its_order() {
    let outcomes = for_seeds(32, |seed| against_the_model(seed, 1));
    assert_pressed(&outcomes, 30);
}

#[test]
fn several_shards_lose_nothing_repeat_nothing_and_keep_each_publishers_order() {
    let outcomes = for_seeds(32, |seed| against_the_model(seed, 2 + (seed % 3) as usize));
    assert_pressed(&outcomes, 50);
}

#[test]
fn every_message_that_members_who_stay_lack_is_told_and_counted() {
    let run = |seed| settled::with_members_that_stay(seed, 1 + (seed % 4) as usize);
    assert_pressed(&for_seeds(32, run), 50);
}

#[test]
fn a_flood_is_kept_no_further_than_the_bounds() {
    assert_pressed(&for_seeds(2, flood::beyond_all_bounds), 90);
}

#[test]
fn a_lossy_policy_drops_whole_messages_in_order_and_the_rest_arrives() {
    for_seeds(2, slow::with_slow_readers);
}

/// Everything that every peer was sent in a run, with client ids by number.
fn transcript(seed: u64) -> String {
    let mut run = Run::new(seed, 2);
    run.play(|run| (0..40).for_each(|_| run.step()));
    let mut text = String::new();
    for peer in &run.peers {
        let _ = writeln!(text, "{} {:?}", peer.shard, peer.frames);
    }
    let ids: Vec<&String> = run.peers.iter().filter_map(|peer| peer.client_id.as_ref()).collect();
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(*id, &format!("client {number}"));
    }
    text
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let runs: Vec<_> = (0..2).map(|_| transcript(7)).collect();
    assert!(!runs[0].is_empty());
    assert_eq!(runs[0], runs[1]);
}
