//! What must be true after a run, from what was published and stored and what each node's
//! shards were given.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shardcast::{
    Audience, ConnId, Position,
    cluster::{FromRelay, Outcome, Presence, ToRelay},
    relay::{
        broker::Channel,
        wire::{Body, decode},
    },
};

use crate::{
    member::Member,
    world::{COUNTS, KEPT, Outcome as Sum, PLAIN, PRESENT, World, presence as of_client},
};

/// A message that is published so soon after the subscription stands may be missing
/// without a word.
const SETTLE_MS: u64 = 1_000;

fn is_room(audience: &Audience, room: &str) -> bool {
    matches!(audience, Audience::Room(name) if **name == *room)
}

fn split(event: &str) -> (u64, u64) {
    let (node, number) = event.split_once('.').unwrap();
    (node.parse().unwrap(), number.parse().unwrap())
}

/// Each publisher's messages arrive in order and once, and what is missing is told.
pub(crate) fn plain_rooms(world: &World, sum: &mut Sum) {
    let accepted = accepted_later(world);
    for member in &world.members {
        for room in PLAIN {
            plain_room(world, member, room, &accepted, sum);
        }
    }
}

/// What was published while its publisher's broker was away, and accepted when it was back.
fn accepted_later(world: &World) -> BTreeSet<&str> {
    let mut accepted = BTreeSet::new();
    for member in &world.members {
        for (_, given) in &member.log {
            if let FromRelay::Receipt(receipt, Outcome::Accepted(None)) = given
                && let Some(event) = member.away.get(&*receipt.id)
            {
                accepted.insert(event.as_str());
            }
        }
    }
    accepted
}

fn plain_room(
    world: &World,
    member: &Member,
    room: &str,
    accepted: &BTreeSet<&str>,
    sum: &mut Sum,
) {
    let mut last = BTreeMap::new();
    let mut received = BTreeSet::new();
    let mut told = 0;
    for (_, given) in &member.log {
        match given {
            FromRelay::Publish(publication) if is_room(&publication.audience, room) => {
                let (node, number) = split(&publication.event);
                assert_ne!(node, member.number, "an echo");
                let before = last.insert(node, number);
                assert!(before < Some(number), "{room}: {node}.{number} after {before:?}");
                received.insert((node, number));
            }
            FromRelay::Gap(found, lost) if **found == *room => told += lost.unwrap_or(0),
            _ => {}
        }
    }
    let others = world.members.iter().chain(&world.dead).filter(|it| it.number != member.number);
    let mut missing = 0;
    let mut certain = 0;
    let linked_at = linked_since(member, room);
    let gone = |node: u64| world.dead.iter().any(|dead| dead.number == node);
    for other in others {
        for (at, publication) in &other.published {
            let (node, number) = split(&publication.event);
            let is_there = received.contains(&(node, number));
            if !is_room(&publication.audience, room) {
                continue;
            }
            // A repeat is published only if the first was dropped.
            let is_repeat = other.is_repeat(&publication.event);
            let is_due = !is_repeat && linked_at.is_some_and(|linked| linked + SETTLE_MS < *at);
            // The last words of a node that was killed are nobody's.
            let is_known = !gone(node) || last.get(&node).is_some_and(|last| *last > number);
            let is_later = accepted.contains(&*publication.event);
            sum.count(is_known && is_due, is_later, is_there);
            if is_there {
                continue;
            }
            missing += 1;
            certain += u64::from(is_known && is_due);
        }
    }
    assert!(told <= missing, "node {}, {room}: {told} told, {missing} missing", member.number);
    let Some(linked_at) = linked_at else { return };
    let since = member.log.iter().filter(|(at, _)| *at >= linked_at);
    let mut lost = 0;
    for (_, given) in since {
        match given {
            FromRelay::Gap(found, Some(more)) if **found == *room => lost += more,
            // So many, or more.
            FromRelay::Gap(found, None) if **found == *room => return,
            _ => {}
        }
    }
    assert!(
        certain <= lost,
        "node {}, {room}: {certain} missing since {linked_at}, {lost} told",
        member.number
    );
}

/// Since when the room is wanted and stands, if it is wanted at the end.
fn linked_since(member: &Member, room: &str) -> Option<u64> {
    let wanted = *member.wanted.get(room)?;
    let linked =
        |given: &FromRelay| matches!(given, FromRelay::Linked(audience) if is_room(audience, room));
    member.log.iter().find(|(at, given)| *at >= wanted && linked(given)).map(|(at, _)| *at)
}

/// The events that were stored, by room, epoch and offset.
fn truth(world: &World) -> BTreeMap<(Arc<str>, u64, u64), String> {
    let events = world.broker.truth.iter().map(|(place, message)| {
        let message = decode(message, &Channel::Room(place.0.clone())).unwrap();
        let Body::Publication(publication, _) = message.body else { panic!("no publication") };
        (place.clone(), publication.event.into_owned())
    });
    events.collect()
}

/// One order for all, in which each is stored once, and no hole that is not told.
pub(crate) fn rooms_with_history(world: &World) {
    let truth = truth(world);
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<(Arc<str>, u64, u64), u64> = BTreeMap::new();
    for ((room, epoch, _), event) in &truth {
        let (node, number) = split(event);
        let is_first = seen.insert((room.clone(), event.clone()));
        assert!(is_first || world.broker.losses > 0, "{event} is stored twice");
        let before = last.insert((room.clone(), *epoch, node), number);
        assert!(before < Some(number), "{room}: {event} is stored behind {before:?}");
    }
    for member in &world.members {
        for room in KEPT {
            member_of_room_with_history(member, room, &truth);
        }
    }
}

fn member_of_room_with_history(
    member: &Member,
    room: &str,
    truth: &BTreeMap<(Arc<str>, u64, u64), String>,
) {
    let name: Arc<str> = room.into();
    let stored = |event: &str, offset: u64| {
        truth.iter().any(|(place, found)| place.0 == name && place.2 == offset && found == event)
    };
    // The offset that comes next; `None` if that is open.
    let mut expected = None;
    for (index, (at, given)) in member.log.iter().enumerate() {
        let wants = member.wants.iter().filter(|want| want.1 == room && want.0 <= index);
        if !wants.map(|want| want.2).fold(false, |_, is_wanted| is_wanted) {
            // Nobody is told anything.
            expected = None;
            continue;
        }
        match given {
            FromRelay::Publish(publication) if is_room(&publication.audience, room) => {
                let offset = publication.offset;
                assert!(
                    stored(&publication.event, offset),
                    "{} is not at {offset}",
                    publication.event
                );
                let is_next = expected.is_none_or(|expected| expected == offset);
                assert!(
                    is_next,
                    "node {} at {at}, {room}: {offset}, not {expected:?}",
                    member.number
                );
                expected = Some(offset + 1);
            }
            FromRelay::Gap(found, lost) if **found == *room => {
                expected = expected.and_then(|expected| Some(expected + (*lost)?));
            }
            FromRelay::Linked(audience) if is_room(audience, room) => expected = None,
            FromRelay::Recovered { room: found, position: Some(position), .. }
                if **found == *room =>
            {
                let joins = expected.is_none_or(|expected| expected == position.offset + 1);
                assert!(joins, "node {} at {at}: {position:?}, not {expected:?}", member.number);
                expected = Some(position.offset + 1);
            }
            _ => {}
        }
    }
}

/// What is recovered is exact.
pub(crate) fn recoveries(world: &World) {
    let truth = truth(world);
    for member in &world.members {
        let mut answered = BTreeSet::new();
        for (_, given) in &member.log {
            let FromRelay::Recovered { conn, room, position, missed } = given else { continue };
            assert!(answered.insert(*conn), "{conn:?} is answered twice");
            let (_, since) = member.recoveries[conn.generation() as usize];
            let (Some(missed), Some(since), Some(position)) = (missed, since, position) else {
                assert!(missed.as_ref().is_none_or(Vec::is_empty));
                continue;
            };
            assert_eq!(since.epoch, position.epoch);
            let expected = (since.offset + 1..=position.offset)
                .map(|offset| truth[&(room.clone(), position.epoch, offset)].as_str());
            assert!(expected.eq(missed.iter().map(|it| &*it.event)), "{missed:?}");
        }
        assert_eq!(answered.len(), member.recoveries.len(), "not all are answered");
    }
}

/// Each receipt is answered once, and the answer is true.
pub(crate) fn receipts(world: &World) {
    let truth = truth(world);
    for member in &world.members {
        let mut answered = BTreeSet::new();
        for (_, given) in &member.log {
            let FromRelay::Receipt(receipt, outcome) = given else { continue };
            assert!(answered.insert(receipt.id.clone()), "{} is answered twice", receipt.id);
            let publication = member.published.iter().find(|it| it.1.event == *receipt.id).unwrap();
            let Audience::Room(room) = &publication.1.audience else { panic!("no room") };
            let at =
                |position: &Position| &*truth[&(room.clone(), position.epoch, position.offset)];
            match outcome {
                Outcome::Accepted(Some(position)) | Outcome::Repeated(Some(position)) => {
                    let is_same = *at(position) == *receipt.id
                        || world
                            .key_of(at(position))
                            .is_some_and(|key| member.keys.get(&*receipt.id) == Some(key));
                    assert!(is_same, "{} is not at {position:?}", receipt.id);
                }
                Outcome::Accepted(None) => assert!(!room.contains(':'), "{}", receipt.id),
                Outcome::Repeated(None) => assert!(member.is_repeat(&receipt.id)),
                Outcome::Dropped => {}
                _ => panic!("{outcome:?}"),
            }
        }
        assert_eq!(answered.len(), member.receipts as usize, "not all are answered");
        assert_eq!(member.credits(), member.charged, "credit is not given back");
    }
}

/// Everybody sees who is present.
pub(crate) fn presence(world: &mut World) {
    let of = |member: &Member| {
        let node = member.number;
        member.present.iter().map(move |client| of_client(node, *client).key()).collect::<Vec<_>>()
    };
    let expected: BTreeSet<String> = world.members.iter().flat_map(of).collect();
    for index in 0..world.members.len() {
        let conn = ConnId::new(0, 2, 0);
        let now = world.now;
        world.members[index].does(ToRelay::ListPresent { conn, room: PRESENT.into() }, now);
    }
    world.advance_by(300);
    for member in &world.members {
        let list = member.log.iter().rev().find_map(|(_, given)| match given {
            FromRelay::PresenceList { conn, present, .. } if conn.slot() == 2 => {
                Some(present.clone())
            }
            _ => None,
        });
        let found = list.flatten().expect("no list");
        let found: BTreeSet<String> = found.iter().map(Presence::key).collect();
        assert_eq!(found, expected, "node {}", member.number);
    }
}

/// All nodes are ready, know each other and have everything; who comes back now is
/// recovered exactly.
pub(crate) fn settled(world: &mut World) {
    let nodes = world.members.len();
    let mut expected = Vec::new();
    for index in 0..nodes {
        world.ask(index);
        for (room, count) in KEPT.into_iter().zip(COUNTS) {
            let last = world.last_truth(room);
            let back = world.rng.below(count as usize + 1) as u64;
            let since = Position { offset: last.offset.saturating_sub(back), ..last };
            world.recover_since(index, room, Some(since));
            let missed = last.offset - since.offset;
            expected.push((index, world.members[index].recoveries.len() - 1, last, missed));
        }
    }
    world.advance_by(1_500);
    for (index, recovery, last, missed) in expected {
        let found = world.members[index].log.iter().find_map(|(_, given)| match given {
            FromRelay::Recovered { conn, position, missed, .. }
                if conn.generation() as usize == recovery =>
            {
                Some((*position, missed.as_ref().map(Vec::len)))
            }
            _ => None,
        });
        assert_eq!(found, Some((Some(last), Some(missed as usize))), "node {index}");
    }
    recoveries(world);
    rooms_with_history(world);
    for member in &world.members {
        let status = &member.status;
        assert!(status.is_ready(), "node {}: {:?}", member.number, status.reasons());
        let answers = member.answers.lock().unwrap();
        assert_eq!(answers.len(), member.asked, "not all questions are answered");
        let last = answers.last().unwrap();
        assert_eq!((last.nodes, last.missing, last.count), (nodes, 0, nodes as u64));
    }
}
