//! Runs in which nobody joins or leaves once all have settled: then it is known for
//! any number of shards who gets what, and every loss can be counted.

use std::collections::BTreeMap;

use shardcast::driver::sim::Faults;

use crate::{
    app::Entry,
    check::{Fates, check_always, is_part},
    hand::Act,
    members::{Audience, Memberships},
    model::Model,
    peer::Peer,
    run::{Outcome, Run},
};

/// Publishers, slow readers of every policy and a handle among members that stay.
pub(crate) fn with_members_that_stay(seed: u64, shards: usize) -> Outcome {
    let mut run = Run::new(seed, shards);
    let start = settle_in(&mut run);
    run.play(|run| {
        for _ in 0..40 {
            match run.rng.below(100) {
                0..=79 => run.some_publish(),
                80 if run.rng.chance(20) => {
                    if let Some(peer) = run.someone() {
                        run.reset(peer);
                    }
                }
                _ => run.some_trouble(),
            }
            run.watch();
        }
    });
    let log = run.tap.log();
    let fates = Fates::of(&run, &log);
    check_always(&run, &fates);
    check_losses(&run, &log, start, &fates);
    run.end()
}

/// Peers connect, join and choose; the log's length after that.
fn settle_in(run: &mut Run) -> usize {
    run.world.net().set_faults(Faults::none());
    for _ in 0..2 + run.rng.below(6) {
        run.connect();
    }
    run.rest();
    for peer in 0..run.peers.len() {
        for _ in 0..3 {
            run.talk(peer, "subscribe");
        }
        run.talk(peer, "name");
        if run.rng.chance(50) {
            run.talk(peer, "policy");
        }
        run.rest();
        run.some_membership_by_hand();
    }
    run.rest();
    assert_eq!(run.world.stats().messages_dropped, 0);
    if !run.is_prompt {
        run.world.net().set_faults(Faults::all());
    }
    run.tap.len()
}

/// What a peer was to get and did not.
#[derive(Default)]
struct Missing {
    certain: u64,
    /// Of those that were cut off.
    possible: u64,
}

fn check_losses(run: &Run, log: &[Entry], start: usize, fates: &Fates<'_>) {
    let model = Model::of(log);
    let memberships = Memberships::of(&log[..start]);
    let mut missing = Missing::default();
    for (number, peer) in run.peers.iter().enumerate() {
        let client = peer.client_id.as_deref().expect("all were greeted");
        let mut expected = by_sender(fates, numbers_in(&model, client));
        expected.insert("handle", by_hand(run, client, &memberships));
        let mut seen = by_sender(fates, peer.numbers());
        let mut lacks = 0;
        for (sender, expected) in &expected {
            let seen = seen.remove(sender).unwrap_or_default();
            lacks += (expected.len() - seen.len().min(expected.len())) as u64;
            let context = || format!("peer {number}: {seen:?} != {expected:?} of {sender}");
            if fates.is_lossy(peer) {
                assert!(is_part(&seen, expected), "{}", context());
            } else if fates.ends_early(peer) {
                assert!(expected.starts_with(&seen), "{}", context());
            } else {
                assert!(*expected == seen, "{}", context());
            }
        }
        assert!(seen.is_empty(), "peer {number} was sent {seen:?}");
        lacks += answers_lacking(&model, client, peer);
        let is_cut = fates.ends_early(peer);
        missing.certain += if is_cut { 0 } else { lacks };
        missing.possible += if is_cut { lacks } else { 0 };
    }
    let dropped = run.world.stats().messages_dropped;
    let most = missing.certain + missing.possible;
    assert!(
        (missing.certain..=most).contains(&dropped),
        "{dropped} were counted as dropped, {} to {most} are missing",
        missing.certain
    );
}

fn numbers_in(model: &Model, client: &str) -> Vec<u64> {
    let messages = model.sent[client].iter().filter(|event| event["type"] == "message");
    messages.filter_map(|event| event["data"]["n"].as_u64()).collect()
}

fn by_sender<'l>(
    fates: &Fates<'l>,
    numbers: impl IntoIterator<Item = u64>,
) -> BTreeMap<&'l str, Vec<u64>> {
    let mut by_sender: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for n in numbers {
        by_sender.entry(fates.senders[&n]).or_default().push(n);
    }
    by_sender
}

/// Answers to what the peer itself sent that it did not get.
fn answers_lacking(model: &Model, client: &str, peer: &Peer) -> u64 {
    let expected = model.sent[client].iter().filter(|event| event["type"] != "message").count();
    let seen = peer.events().filter(|event| event["type"] != "message").count();
    (expected - seen) as u64
}

/// An index behind the log's end.
const LATER: usize = usize::MAX / 2;

/// What reaches a client from the handle.
fn by_hand(run: &Run, client: &str, memberships: &Memberships) -> Vec<u64> {
    let is_member = |audience| memberships.during(client, &audience, LATER, LATER).0;
    let for_client = |act: &Act| match act {
        Act::Publish { room, n } => is_member(Audience::Room((*room).to_owned())).then_some(*n),
        Act::Whisper { user, n } => is_member(Audience::User((*user).to_owned())).then_some(*n),
        Act::Broadcast { n } => is_member(Audience::Everyone).then_some(*n),
        Act::Send { client: who, n } if who == client => Some(*n),
        _ => None,
    };
    run.hand.done.iter().filter_map(|done| for_client(&done.act)).collect()
}
