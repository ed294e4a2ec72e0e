//! What each peer was sent against what was accepted: nothing twice, nothing out of
//! order, and nothing lost but what somebody was told of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    app::{Accepted, Entry},
    hand::{Act, CLOSED_BY_HANDLE},
    members::{Audience, Memberships},
    model::Model,
    peer::Peer,
    run::Run,
};

/// Who sent what has this number: a client, or the handle.
pub(crate) type Senders<'l> = BTreeMap<u64, &'l str>;

/// What the log says of its clients.
pub(crate) struct Fates<'l> {
    /// Closed because they were too slow.
    too_slow: BTreeSet<&'l str>,
    /// Under a policy that drops, at some time.
    lossy: BTreeSet<&'l str>,
    pub(crate) senders: Senders<'l>,
}

impl<'l> Fates<'l> {
    pub(crate) fn of(run: &Run, log: &'l [Entry]) -> Self {
        let mut fates =
            Self { too_slow: BTreeSet::new(), lossy: BTreeSet::new(), senders: Senders::new() };
        for n in run.hand.numbers() {
            fates.senders.insert(n, "handle");
        }
        for entry in log {
            match &entry.what {
                Accepted::Gone { slow: true } => {
                    fates.too_slow.insert(&entry.client);
                }
                Accepted::Message(said) if said.event == "policy" && said.to() != "close" => {
                    fates.lossy.insert(&entry.client);
                }
                Accepted::Message(said) => {
                    for n in said.numbers() {
                        let before = fates.senders.insert(n, &entry.client);
                        assert_eq!(before, None, "{n} was accepted twice");
                    }
                }
                _ => {}
            }
        }
        fates
    }

    pub(crate) fn is_lossy(&self, peer: &Peer) -> bool {
        peer.client_id.as_deref().is_some_and(|client| self.lossy.contains(client))
    }

    pub(crate) fn is_too_slow(&self, peer: &Peer) -> bool {
        peer.client_id.as_deref().is_some_and(|client| self.too_slow.contains(client))
    }

    /// Whether what it was sent ends somewhere.
    pub(crate) fn ends_early(&self, peer: &Peer) -> bool {
        peer.broken || self.is_too_slow(peer)
    }
}

/// What holds in every run.
pub(crate) fn check_always(run: &Run, fates: &Fates<'_>) {
    for (number, peer) in run.peers.iter().enumerate() {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for n in peer.numbers() {
            assert!(!run.hand.refused.contains(&n), "peer {number} got {n}, which was refused");
            let from = fates.senders.get(&n).expect("what was not accepted is not sent");
            let before = last.insert(from, n).unwrap_or(0);
            assert!(before < n, "peer {number}: {n} of {from} behind {before}");
        }
        check_end(run, fates, number, peer);
        check_by_hand(run, fates, number, peer);
    }
    check_one_order(run);
}

/// A peer is closed for a reason that is its own, and is told.
fn check_end(run: &Run, fates: &Fates<'_>, number: usize, peer: &Peer) {
    if peer.broken {
        return;
    }
    assert!(peer.is_between_frames(), "peer {number}: half a frame");
    if fates.is_too_slow(peer) {
        assert!(peer.stalled || !run.is_prompt, "peer {number} reads, and was too slow");
        let code = peer.close_code();
        assert!(peer.left || code == Some(1013), "peer {number} was not told: {code:?}");
        return;
    }
    match peer.close_code() {
        None => assert!(!peer.is_closed() && !peer.left, "peer {number} is not answered"),
        Some(1000) => assert!(peer.left, "peer {number} is closed"),
        Some(CLOSED_BY_HANDLE) => {
            let client = peer.client_id.as_deref().unwrap_or_default();
            assert!(run.hand.certain_for(client).1, "peer {number} is closed by nobody");
        }
        Some(code) => panic!("peer {number} is closed with {code}"),
    }
}

/// What one thread does through a handle happens in its order on each shard.
fn check_by_hand(run: &Run, fates: &Fates<'_>, number: usize, peer: &Peer) {
    let Some(client) = peer.client_id.as_deref() else { return };
    let known = run.hand.certain_numbers();
    let seen: Vec<u64> = peer.numbers().filter(|n| known.contains(n)).collect();
    let (certain, is_closed) = run.hand.certain_for(client);
    if fates.is_lossy(peer) {
        assert!(is_part(&seen, &certain), "peer {number}: {seen:?} of {certain:?} by hand");
    } else if peer.left || fates.ends_early(peer) {
        assert!(certain.starts_with(&seen), "peer {number}: {seen:?} != {certain:?} by hand");
    } else {
        assert_eq!(seen, certain, "peer {number}, by hand");
        assert!(!is_closed || peer.is_closed(), "peer {number} is to be closed");
    }
}

/// Connections of one shard see what they both see in one order.
fn check_one_order(run: &Run) {
    for (number, one) in run.peers.iter().enumerate() {
        let places: BTreeMap<u64, usize> = one.numbers().zip(0..).collect();
        for other in run.peers[..number].iter().filter(|other| other.shard == one.shard) {
            let shared = other.numbers().filter_map(|n| places.get(&n).copied());
            assert!(shared.is_sorted(), "peer {number} and another of its shard disagree");
        }
    }
}

/// Whether `part` is `all` with some left out.
pub(crate) fn is_part<T: PartialEq>(part: &[T], all: &[T]) -> bool {
    let mut all = all.iter();
    part.iter().all(|one| all.any(|other| other == one))
}

/// With one shard there is one order: the model's.
pub(crate) fn check_exactly(run: &Run, log: &[Entry], fates: &Fates<'_>) {
    let model = Model::of(log);
    let by_hand = run.hand.numbers();
    for (number, peer) in run.peers.iter().enumerate() {
        let Some(client) = &peer.client_id else {
            assert!(peer.left, "peer {number} was never greeted");
            continue;
        };
        let expected = &model.sent[client];
        let is_by_hand = |event: &Value| {
            event["type"] == "message"
                && event["data"]["n"].as_u64().is_some_and(|n| by_hand.contains(&n))
        };
        let seen: Vec<Value> = peer.events().filter(|event| !is_by_hand(event)).cloned().collect();
        if fates.is_lossy(peer) {
            assert!(is_part(&seen, expected), "peer {number}: {seen:#?}\n!= {expected:#?}");
        } else if fates.ends_early(peer) {
            assert!(expected.starts_with(&seen), "peer {number}: {seen:#?}\n!= {expected:#?}");
        } else {
            assert_eq!(seen, *expected, "peer {number}");
        }
    }
}

/// A publication, and between which entries of the log its receivers must have been
/// members of its audience.
#[derive(Debug)]
struct Sent<'l> {
    numbers: std::ops::Range<u64>,
    audience: Audience,
    except: Option<&'l str>,
    from: usize,
    to: usize,
}

fn end_of_phase(run: &Run, index: usize) -> usize {
    run.phases.iter().copied().find(|end| *end > index).unwrap_or(usize::MAX)
}

fn all_sent<'l>(run: &Run, log: &'l [Entry], memberships: &Memberships) -> Vec<Sent<'l>> {
    let mut all = Vec::new();
    for (index, entry) in log.iter().enumerate() {
        let Accepted::Message(said) = &entry.what else { continue };
        let room = Audience::Room(said.room().to_owned());
        let audience = match said.event.as_str() {
            "publish" if !memberships.during(&entry.client, &room, index, index).0 => continue,
            "publish" | "others" | "keyed" | "many" => room,
            "broadcast" => Audience::Everyone,
            "whisper" => Audience::User(said.to().to_owned()),
            _ => continue,
        };
        let except = (said.event == "others").then_some(entry.client.as_str());
        let to = end_of_phase(run, index);
        all.push(Sent { numbers: said.numbers(), audience, except, from: index + 1, to });
    }
    for done in &run.hand.done {
        let (audience, n) = match &done.act {
            Act::Publish { room, n } => (Audience::Room((*room).to_owned()), *n),
            Act::Whisper { user, n } => (Audience::User((*user).to_owned()), *n),
            Act::Broadcast { n } => (Audience::Everyone, *n),
            _ => continue,
        };
        let (from, to) = (done.at, run.phases[done.phase]);
        all.push(Sent { numbers: n..n + 1, audience, except: None, from, to });
    }
    all
}

/// With several shards, publications of different shards may meet in any order: who
/// was a member all the time gets them, who never was does not.
pub(crate) fn check_loosely(run: &Run, log: &[Entry], fates: &Fates<'_>) {
    let memberships = Memberships::of(log);
    let all = all_sent(run, log, &memberships);
    for (number, peer) in run.peers.iter().enumerate() {
        let Some(client) = peer.client_id.as_deref() else { continue };
        let seen: BTreeSet<u64> = peer.numbers().collect();
        for sent in &all {
            let (mut always, mut ever) =
                memberships.during(client, &sent.audience, sent.from, sent.to);
            if sent.except == Some(client) {
                (always, ever) = (false, false);
            }
            for n in sent.numbers.clone() {
                let came = seen.contains(&n);
                let may_miss = fates.is_lossy(peer) || fates.ends_early(peer);
                assert!(came || !always || may_miss, "peer {number} lacks {n}: {sent:?}");
                assert!(!came || ever, "peer {number} got {n} without being a member: {sent:?}");
            }
        }
    }
}
