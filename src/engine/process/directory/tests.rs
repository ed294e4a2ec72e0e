//! The directory as shards use it that join and leave, one after the other.

use std::{future::Future, pin::Pin, sync::Mutex};

use super::*;

#[test]
fn a_room_lives_as_long_as_some_shard_has_a_member() {
    let directory = Directory::new(None);
    let room = directory.enter(Space::Room, "r", 0, 10).unwrap();
    directory.enter(Space::Room, "r", 5, 10).unwrap();
    assert_eq!((room.shards(), room.members()), (0b10_0001, 2));
    directory.exit(&room, 0);
    assert_eq!((room.shards(), directory.room_count()), (0b10_0000, 1));
    directory.exit(&room, 5);
    assert!(directory.find(Space::Room, "r").is_none());
    assert_eq!(directory.room_count(), 0);
}

#[test]
fn capacity_counts_the_members_of_all_shards() {
    let directory = Directory::new(None);
    directory.enter(Space::Room, "r", 0, 2).unwrap();
    let room = directory.enter(Space::Room, "r", 1, 2).unwrap();
    assert!(directory.enter(Space::Room, "r", 2, 2).is_none());
    assert!(!room.add_member(2));
    assert_eq!(room.members(), 2);
}

#[test]
fn a_user_and_a_room_of_the_same_name_are_different() {
    let directory = Directory::new(None);
    directory.enter(Space::User, "alice", 0, 2).unwrap();
    assert!(directory.find(Space::Room, "alice").is_none());
    assert_eq!(directory.room_count(), 0);
}

#[test]
fn an_announced_join_marks_its_shard_and_is_no_member() {
    let directory = Arc::new(Directory::new(None));
    let first = directory.announce(Space::Room, "r", 3);
    let second = directory.announce(Space::Room, "r", 3);
    let room = directory.find(Space::Room, "r").unwrap();
    assert_eq!((room.shards(), room.members()), (0b1000, 0));
    assert_eq!((directory.room_count(), directory.rooms().len()), (0, 0));
    drop(first);
    assert_eq!(room.shards(), 0b1000);
    drop(second);
    assert!(directory.is_empty());
}

#[test]
fn the_last_member_leaves_the_mark_to_joins_that_are_announced() {
    let directory = Arc::new(Directory::new(None));
    let room = directory.enter(Space::Room, "r", 0, 1).unwrap();
    let announced = directory.announce(Space::Room, "r", 0);
    directory.exit(&room, 0);
    assert_eq!((room.shards(), room.members(), directory.room_count()), (1, 0, 0));
    // Who enters while others are announced finds the same room, and keeps it.
    let again = directory.enter(Space::Room, "r", 0, 1).unwrap();
    assert!(Arc::ptr_eq(&room, &again));
    drop(announced);
    assert_eq!((again.shards(), again.members(), directory.room_count()), (1, 1, 1));
    directory.exit(&again, 0);
    assert!(directory.is_empty());
}

#[test]
fn a_join_that_was_announced_beside_members_leaves_their_mark_alone() {
    let directory = Arc::new(Directory::new(None));
    let room = directory.enter(Space::Room, "r", 1, 9).unwrap();
    drop(directory.announce(Space::Room, "r", 1));
    drop(directory.announce(Space::Room, "r", 2));
    assert_eq!(room.shards(), 0b10);
    directory.exit(&room, 1);
    assert!(directory.is_empty());
}

/// A relay that notes what it is told.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl RelayPort for Noted {
    fn put(&self, what: ToRelay) {
        self.0.lock().unwrap().push(format!("{what:?}"));
    }

    fn request_credit(&self, _: u8) {}

    fn ring(&self) {}

    fn reserve(&self, _bytes: u32) -> bool {
        true
    }

    fn unreserve(&self, _bytes: u32) {}

    fn wait_for_credit(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        None
    }

    fn traits_of(&self, room: &str) -> RoomTraits {
        RoomTraits { history: room.starts_with('h'), presence: false }
    }
}

#[test]
fn the_relay_is_told_of_a_room_from_its_first_member_or_announcement_to_its_last() {
    let relay = Arc::new(Noted::default());
    let directory = Arc::new(Directory::new(Some(Arc::clone(&relay) as Arc<dyn RelayPort>)));
    let told = || std::mem::take(&mut *relay.0.lock().unwrap());
    let (wanted, unwanted) = ("Wanted(Room(\"hall\"))", "Unwanted(Room(\"hall\"))");

    let shared = directory.enter(Space::Room, "hall", 0, 10).unwrap();
    directory.enter(Space::Room, "hall", 1, 10).unwrap();
    assert_eq!(told(), [wanted]);
    assert!(shared.traits.history);
    directory.exit(&shared, 0);
    let announced = directory.announce(Space::Room, "hall", 1);
    directory.exit(&shared, 1);
    assert!(told().is_empty(), "a join is on its way");
    drop(announced);
    assert_eq!(told(), [unwanted]);

    drop(directory.announce(Space::Room, "hall", 1));
    assert_eq!(told(), [wanted, unwanted]);
    let announced = directory.announce(Space::Room, "hall", 1);
    let shared = directory.enter(Space::Room, "hall", 1, 10).unwrap();
    drop(announced);
    assert_eq!(told(), [wanted]);
    directory.exit(&shared, 1);
    assert_eq!(told(), [unwanted]);
    let user = directory.enter(Space::User, "hall", 0, 10).unwrap();
    directory.exit(&user, 0);
    assert_eq!(told(), ["Wanted(User(\"hall\"))", "Unwanted(User(\"hall\"))"]);
}
