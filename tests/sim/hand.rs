//! What a thread of the embedding program does through a handle, and what each
//! connection must see of it: all of it in its order, on whatever shard.

use std::collections::{BTreeMap, BTreeSet};

use shardcast::{Data, Handle, SendError};

use crate::app::Tap;

/// Rooms of which only the handle makes members.
pub(crate) const HANDLE_ROOMS: [&str; 2] = ["gold", "silver"];

/// Something done through a handle; `n` is the number of what is sent.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Join { client: String, room: &'static str },
    Leave { client: String, room: &'static str },
    Publish { room: &'static str, n: u64 },
    Whisper { user: &'static str, n: u64 },
    Broadcast { n: u64 },
    Send { client: String, n: u64 },
    Close { client: String },
}

impl Act {
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Publish { n, .. }
            | Self::Whisper { n, .. }
            | Self::Broadcast { n }
            | Self::Send { n, .. } => Some(*n),
            Self::Join { .. } | Self::Leave { .. } | Self::Close { .. } => None,
        }
    }
}

/// The code with which a handle closes.
pub(crate) const CLOSED_BY_HANDLE: u16 = 4000;

/// An act that was accepted.
pub(crate) struct Done {
    pub(crate) act: Act,
    /// The log's length before.
    pub(crate) at: usize,
    /// The phase in which it was done.
    pub(crate) phase: usize,
}

/// One thread with a handle.
pub(crate) struct Hand {
    handle: Handle,
    tap: Tap,
    /// What was accepted.
    pub(crate) done: Vec<Done>,
    /// The numbers of what was not accepted.
    pub(crate) refused: BTreeSet<u64>,
}

impl Hand {
    pub(crate) fn new(handle: Handle, tap: Tap) -> Self {
        Self { handle, tap, done: Vec::new(), refused: BTreeSet::new() }
    }

    /// Does it in that phase, if the way is free.
    pub(crate) fn act(&mut self, act: Act, phase: usize) {
        let at = self.tap.len();
        match self.attempt(&act) {
            Ok(()) => self.done.push(Done { act, at, phase }),
            Err(SendError::Busy) => self.refused.extend(act.number()),
            Err(error) => panic!("{act:?}: {error}"),
        }
    }

    fn attempt(&self, act: &Act) -> Result<(), SendError> {
        let data = |n| Data::raw_json(format!("{{\"n\":{n}}}")).unwrap();
        let id = |client: &str| self.tap.id_of(client).expect("its greeting came");
        match act {
            Act::Join { client, room } => self.handle.join(id(client), room).map(drop),
            Act::Leave { client, room } => self.handle.leave(id(client), room).map(drop),
            Act::Publish { room, n } if n % 2 == 0 => {
                self.handle.publish_keyed(room, "message", "by hand", data(n))
            }
            Act::Publish { room, n } => self.handle.publish(room, "message", data(n)),
            Act::Whisper { user, n } => self.handle.send_to_user(user, "message", data(n)),
            Act::Broadcast { n } => self.handle.broadcast("message", data(n)),
            Act::Send { client, n } => self.handle.send(id(client), "message", data(n)),
            Act::Close { client } => self.handle.close(id(client), CLOSED_BY_HANDLE, ""),
        }
    }

    /// The numbers of everything that was accepted.
    pub(crate) fn numbers(&self) -> BTreeSet<u64> {
        self.done.iter().filter_map(|done| done.act.number()).collect()
    }

    /// What reaches `client` for certain while it is open: what was sent to it, and
    /// published in the handle's rooms while it was a member. And whether it was closed
    /// behind that.
    pub(crate) fn certain_for(&self, client: &str) -> (Vec<u64>, bool) {
        let mut rooms: BTreeMap<&str, bool> = BTreeMap::new();
        let mut numbers = Vec::new();
        for done in &self.done {
            match &done.act {
                Act::Join { client: who, room } if who == client => {
                    rooms.insert(room, true);
                }
                Act::Leave { client: who, room } if who == client => {
                    rooms.insert(room, false);
                }
                Act::Publish { room, n } if rooms.get(room).is_some_and(|member| *member) => {
                    numbers.push(*n);
                }
                Act::Send { client: who, n } if who == client => numbers.push(*n),
                Act::Close { client: who } if who == client => return (numbers, true),
                _ => {}
            }
        }
        (numbers, false)
    }

    /// The numbers of what [`Hand::certain_for`] says something about, whoever it was
    /// for.
    pub(crate) fn certain_numbers(&self) -> BTreeSet<u64> {
        let certain = |act: &Act| match act {
            Act::Publish { room, n } if HANDLE_ROOMS.contains(room) => Some(*n),
            Act::Send { n, .. } => Some(*n),
            _ => None,
        };
        self.done.iter().filter_map(|done| certain(&done.act)).collect()
    }
}
