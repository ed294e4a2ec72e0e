//! How an answer is divided over the turns of a shard.

use std::collections::BTreeSet;

use super::*;
use crate::{
    driver::sim::Faults,
    engine::{Limits, Stats},
    id::ConnId,
    shard::{Engine, sim::World},
};

/// A world of one shard, and so many connections that joined `room` when they came.
fn crowded(connections: usize) -> (World, Vec<crate::driver::sim::PeerId>) {
    let engine = Engine::builder().on_connect(|conn| {
        if conn.id().slot() % 2 == 0 { conn.join("even") } else { conn.join("odd") }
    });
    let mut world = World::new(1, 1, Faults::none(), engine).unwrap();
    let peers = (0..connections).map(|_| world.upgrade(0, "/ws")).collect();
    world.settle();
    (world, peers)
}

/// What each turn adds to the answer, until it is whole.
fn pages(world: &mut World, query: &Query<Vec<ConnInfo>>) -> Vec<Vec<ConnId>> {
    let mut pages = Vec::new();
    loop {
        world.turn(0);
        let mut is_last = false;
        let mut ids = Vec::new();
        while let Ok(part) = query.receiver.try_recv() {
            ids.extend(part.value.iter().map(|info| info.id));
            is_last |= part.is_last;
        }
        pages.push(ids);
        if is_last {
            return pages;
        }
        assert!(pages.len() < 1000, "the answer has no end");
    }
}

fn whole(pages: &[Vec<ConnId>]) -> BTreeSet<u64> {
    let longest = pages.iter().map(Vec::len).max();
    assert!(longest <= Some(Limits::INFOS_PER_TURN), "a turn describes {longest:?}");
    let ids: BTreeSet<_> = pages.iter().flatten().map(|id| id.to_u64()).collect();
    assert_eq!(ids.len(), pages.iter().map(Vec::len).sum::<usize>(), "somebody comes twice");
    ids
}

#[test]
fn a_turn_describes_a_bounded_number_of_connections_and_the_answer_is_complete() {
    let (mut world, _peers) = crowded(5000);
    let query = world.handle().connections();
    assert_eq!(whole(&pages(&mut world, &query)).len(), 5000);
    for room in ["even", "odd"] {
        let query = world.handle().members(room);
        assert_eq!(whole(&pages(&mut world, &query)).len(), 2500);
    }
    let [all, odd] = [world.handle().connections(), world.handle().members("odd")];
    world.settle();
    assert_eq!(all.wait().unwrap().len(), 5000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(odd.into_future()).unwrap().len(), 2500);
}

#[test]
fn the_members_of_a_small_room_among_many_connections_are_one_page() {
    let (mut world, peers) = crowded(5000);
    let few = world.handle().connections();
    world.settle();
    for info in few.wait().unwrap().iter().take(1000) {
        world.handle().join(info.id, "few").unwrap();
    }
    world.settle();
    let query = world.handle().members("few");
    assert_eq!(pages(&mut world, &query).iter().map(Vec::len).collect::<Vec<_>>(), [1000]);
    drop(peers);
}

#[test]
fn who_stays_is_in_the_answer_once_while_others_come_and_go() {
    let (mut world, peers) = crowded(4000);
    let before = world.handle().connections();
    world.settle();
    let before = before.wait().unwrap();
    let query = world.handle().connections();
    let mut answered: Vec<Vec<ConnId>> = Vec::new();
    let mut gone = 0;
    loop {
        world.turn(0);
        let mut is_last = false;
        while let Ok(part) = query.receiver.try_recv() {
            answered.push(part.value.iter().map(|info| info.id).collect());
            is_last |= part.is_last;
        }
        if is_last {
            break;
        }
        // A quarter of those goes that come first, and others take their places.
        for peer in peers.iter().skip(gone).step_by(4).take(100) {
            world.net().reset(*peer);
            world.upgrade(0, "/ws");
        }
        gone += 400;
    }
    let answered = whole(&answered);
    let after = world.handle().connections();
    world.settle();
    let after: BTreeSet<_> = after.wait().unwrap().iter().map(|info| info.id.to_u64()).collect();
    let stayed = before.iter().map(|info| info.id.to_u64()).filter(|id| after.contains(id));
    let missing: Vec<_> = stayed.filter(|id| !answered.contains(id)).collect();
    assert!(gone > 0 && missing.is_empty(), "{missing:?} are missing");
}

#[test]
fn a_question_that_nobody_waits_for_ends_with_its_first_page() {
    let (mut world, _peers) = crowded(3000);
    let before = world.stats();
    drop(world.handle().connections());
    world.settle();
    let taken = |stats: Stats| stats.mails_received;
    assert_eq!(taken(world.stats()) - taken(before), 1);
}

#[test]
fn an_answer_goes_on_behind_a_long_part_of_the_arena_that_is_empty() {
    let (mut world, peers) = crowded(Limits::SLOTS_PER_TURN + 300);
    let (gone, stayed) = peers.split_at(Limits::SLOTS_PER_TURN);
    for peer in gone {
        world.net().reset(*peer);
    }
    world.settle();
    let query = world.handle().connections();
    let pages = pages(&mut world, &query);
    assert!(pages.len() > 1, "one turn looked at all slots");
    assert_eq!(whole(&pages).len(), stayed.len());
}
