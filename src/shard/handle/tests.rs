//! What a thread does through a handle, in a world in which shards turn only when
//! a test turns them.

use super::*;
use crate::{
    driver::sim::{Faults, PeerId},
    engine::{Limits, Parcel},
    shard::{Engine, QueryError, sim::World},
};

/// A world of so many shards with one connection on each.
fn world(shards: usize, limits: Limits) -> (World, Vec<(PeerId, ConnId)>) {
    let engine = Engine::builder().limits(limits);
    let mut world = World::new(1, shards, Faults::none(), engine).unwrap();
    let peers: Vec<_> = (0..shards).map(|shard| world.upgrade(shard, "/ws")).collect();
    world.settle();
    let mut ids = vec![None; shards];
    let all = world.handle().connections();
    world.settle();
    for info in all.wait().unwrap() {
        ids[usize::from(info.id.shard())] = Some(info.id);
    }
    for peer in &peers {
        world.net().take(*peer);
    }
    let ids = ids.into_iter().map(|id| id.expect("a connection on each shard"));
    (world, peers.into_iter().zip(ids).collect())
}

fn heard(world: &World, peer: PeerId, text: &str) -> usize {
    let bytes = world.net().take(peer);
    String::from_utf8_lossy(&bytes).matches(text).count()
}

#[test]
fn who_was_made_a_member_hears_what_is_published_next() {
    let (mut world, clients) = world(2, Limits::default());
    let handle = world.handle();
    for round in 0..1000 {
        let room = format!("room {round}");
        let (_, id) = clients[round % 2];
        handle.join(id, &room).unwrap();
        handle.publish(&room, "news", Data::absent()).unwrap();
        handle.leave(id, &room).unwrap();
        handle.publish(&room, "late", Data::absent()).unwrap();
        if round % 3 == 0 {
            world.settle();
            assert_eq!(handle.room_count(), 0);
        }
        if round % 10 == 9 {
            world.settle();
            for (peer, _) in &clients {
                let bytes = world.net().take(*peer);
                let text = String::from_utf8_lossy(&bytes);
                assert_eq!(text.matches("news").count(), 5, "{text}");
                assert_eq!(text.matches("late").count(), 0, "{text}");
            }
        }
    }
    assert!(handle.knows_nobody());
}

#[test]
fn a_member_of_another_shard_does_not_hide_a_join_that_is_on_its_way() {
    let (mut world, clients) = world(2, Limits::default());
    let handle = world.handle();
    let [(first, first_id), (second, second_id)] = clients[..] else { panic!() };
    handle.join(first_id, "r").unwrap();
    world.settle();
    handle.join(second_id, "r").unwrap();
    assert_eq!(handle.member_count("r"), 1, "a join that is on its way makes no member");
    handle.publish("r", "news", Data::absent()).unwrap();
    world.settle();
    assert_eq!([heard(&world, first, "news"), heard(&world, second, "news")], [1, 1]);
}

#[test]
fn the_last_member_that_leaves_does_not_hide_a_join_that_is_on_its_way() {
    let (mut world, clients) = world(1, Limits::default());
    let (handle, (peer, id)) = (world.handle(), clients[0]);
    handle.join(id, "r").unwrap();
    world.settle();
    handle.leave(id, "r").unwrap();
    handle.join(id, "r").unwrap();
    handle.publish("r", "news", Data::absent()).unwrap();
    world.settle();
    assert_eq!(heard(&world, peer, "news"), 1);
}

#[test]
fn joins_that_come_to_nothing_leave_no_room_behind() {
    let limits = Limits { rooms_per_connection: 1, name_bytes: 8, ..Limits::default() };
    let (mut world, clients) = world(2, limits);
    let handle = world.handle();
    let (peer, id) = clients[0];
    handle.join(id, "kept").unwrap();
    let full = handle.join(id, "more").unwrap();
    let long = handle.join(id, "much too long").unwrap();
    let nameless = handle.join(id, "").unwrap();
    world.settle();
    assert_eq!(full.wait(), Err(JoinError::Refused(crate::dialect::Refusal::TooManyRooms)));
    assert!(matches!(long.wait(), Err(JoinError::Refused(_))));
    assert!(matches!(nameless.wait(), Err(JoinError::Refused(_))));
    assert_eq!(handle.rooms().len(), 1);
    world.net().reset(peer);
    world.settle();
    assert!(handle.knows_nobody());
    for room in 0..1000 {
        let gone = handle.join(id, &room.to_string()).unwrap();
        let stale = ConnId::new(1, clients[1].1.slot(), clients[1].1.generation() + 1);
        handle.join(stale, &room.to_string()).unwrap();
        assert_eq!(handle.room_count(), 0);
        world.settle();
        assert_eq!(gone.wait(), Err(JoinError::Gone));
    }
    assert!(handle.knows_nobody());
}

#[test]
fn joins_that_a_mailbox_or_an_ended_shard_gives_back_leave_no_room_behind() {
    // Room for one join and a byte of the next, which may go beyond.
    let handle_window_bytes = size_of::<Parcel>() + size_of::<JoinRequest>() + 2;
    let limits = Limits { handle_window_bytes, ..Limits::default() };
    let (world, clients) = world(1, limits);
    let (handle, (_, id)) = (world.handle(), clients[0]);
    let waiting = [handle.join(id, "a").unwrap(), handle.join(id, "b").unwrap()];
    assert_eq!(handle.join(id, "c").map(drop), Err(SendError::Busy));
    assert!(handle.0.process.directory.find(Space::Room, "c").is_none());
    // The shard ends before it comes to its mail. Its connection stays a member
    // of nothing.
    drop(world);
    for reply in waiting {
        assert_eq!(reply.wait(), Err(JoinError::Unknown(QueryError::Unanswered)));
    }
    assert_eq!(handle.join(id, "d").map(drop), Err(SendError::Ended));
    assert!(handle.knows_nobody());
}

#[test]
fn who_waits_for_a_join_or_leave_learns_what_became_of_it() {
    let (mut world, clients) = world(2, Limits::default());
    let (handle, (_, id)) = (world.handle(), clients[1]);
    let (join, leave, again) = (
        handle.join(id, "r").unwrap(),
        handle.leave(id, "r").unwrap(),
        handle.leave(id, "r").unwrap(),
    );
    world.settle();
    assert_eq!((join.wait(), leave.wait(), again.wait()), (Ok(()), Ok(true), Ok(false)));
    let reply = handle.join(id, "r").unwrap();
    world.settle();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(reply.into_future()), Ok(()));
    assert_eq!(handle.member_count("r"), 1);
}
