//! Rooms of the references on tokio: a `tokio::sync::broadcast` channel each,
//! as its documentation and every chat example have it. A connection listens
//! to one channel: that of its room, or the lobby's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// The name of the channel of those who are in no room.
const LOBBY: &str = "";

/// Messages that a slow member may be behind: all of a round of the broadcast
/// scenario in the lobby, seconds of a publisher in a room.
const LOBBY_MESSAGES: usize = 1 << 16;
const ROOM_MESSAGES: usize = 1 << 10;

/// All rooms, by name. `T` is a message, cheap to clone.
#[derive(Debug)]
pub(super) struct Hub<T> {
    channels: Mutex<HashMap<String, Sender<T>>>,
}

impl<T: Clone> Hub<T> {
    /// A hub without rooms.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { channels: Mutex::default() })
    }

    /// Listens to those in no room.
    pub(super) fn lobby(&self) -> Receiver<T> {
        self.room(LOBBY)
    }

    /// Listens to `room`.
    pub(super) fn room(&self, room: &str) -> Receiver<T> {
        self.with(|channels| {
            if let Some(sender) = channels.get(room) {
                return sender.subscribe();
            }
            let messages = if room == LOBBY { LOBBY_MESSAGES } else { ROOM_MESSAGES };
            let (sender, receiver) = channel(messages);
            channels.insert(room.to_owned(), sender);
            receiver
        })
    }

    /// Sends to the members of `room`.
    pub(super) fn publish(&self, room: &str, message: T) {
        self.with(|channels| {
            if let Some(sender) = channels.get(room) {
                // A room that all have left hears nothing.
                let _ = sender.send(message);
            }
        });
    }

    /// Sends to everyone.
    pub(super) fn broadcast(&self, message: &T) {
        self.with(|channels| {
            for sender in channels.values() {
                // As above.
                let _ = sender.send(message.clone());
            }
        });
    }

    fn with<R>(&self, work: impl FnOnce(&mut HashMap<String, Sender<T>>) -> R) -> R {
        // There is one thread: nobody waits, and nobody panicked with the lock.
        work(&mut self.channels.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
