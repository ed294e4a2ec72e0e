//! The naive engine: a list of members for each room, and a list of frames for
//! each peer to which every publish appends at once. It is told what the real
//! engine accepted, in the order in which it did, by the engine's own hooks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Something that a shard accepted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Accepted {
    Opened,
    Message { event: String, room: Option<String>, data: Option<Value> },
    Gone,
}

/// An accepted thing and whose it was, by client id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) client: String,
    pub(crate) what: Accepted,
}

/// What the naive engine knows.
#[derive(Default)]
pub(crate) struct Model {
    rooms: BTreeMap<String, BTreeSet<String>>,
    open: BTreeSet<String>,
    /// What each client is sent, in order.
    pub(crate) sent: BTreeMap<String, Vec<Value>>,
}

impl Model {
    /// Replays what was accepted.
    pub(crate) fn of(log: &[Entry]) -> Self {
        let mut model = Self::default();
        for entry in log {
            model.accept(entry);
        }
        model
    }

    fn accept(&mut self, entry: &Entry) {
        let client = &entry.client;
        match &entry.what {
            Accepted::Opened => {
                self.open.insert(client.clone());
                let message = "Connected to WebSocket server";
                let data = json!({ "client_id": client, "message": message });
                self.tell(client, json!({ "type": "connected", "data": data }));
            }
            Accepted::Gone => {
                self.open.remove(client);
                for members in self.rooms.values_mut() {
                    members.remove(client);
                }
            }
            Accepted::Message { event, room, data } => {
                self.on_message(client, event, room.as_deref(), data.as_ref());
            }
        }
    }

    fn on_message(&mut self, client: &str, event: &str, room: Option<&str>, data: Option<&Value>) {
        let room = room.unwrap_or_default();
        match event {
            "subscribe" => {
                let members = self.rooms.entry(room.to_owned()).or_default();
                members.insert(client.to_owned());
                let data = json!({ "room": room, "client_count": members.len() });
                self.tell(client, json!({ "type": "subscribed", "room": room, "data": data }));
            }
            "unsubscribe" if self.is_member(client, room) => {
                if let Some(members) = self.rooms.get_mut(room) {
                    members.remove(client);
                }
                let data = json!({ "room": room });
                self.tell(client, json!({ "type": "unsubscribed", "room": room, "data": data }));
            }
            "publish" if self.is_member(client, room) => {
                let event = message(client, Some(room), data);
                for member in self.rooms[room].clone() {
                    self.tell(&member, event.clone());
                }
            }
            "others" => {
                let event = message(client, Some(room), data);
                let members = self.rooms.get(room).cloned().unwrap_or_default();
                for member in members.iter().filter(|member| *member != client) {
                    self.tell(member, event.clone());
                }
            }
            "unsubscribe" | "publish" => self.refuse(client, "not subscribed to this room"),
            "broadcast" => {
                let event = message(client, None, data);
                for member in self.open.clone() {
                    self.tell(&member, event.clone());
                }
            }
            "ping" => self.tell(client, json!({ "type": "pong" })),
            _ => self.refuse(client, "unknown message type"),
        }
    }

    fn is_member(&self, client: &str, room: &str) -> bool {
        self.rooms.get(room).is_some_and(|members| members.contains(client))
    }

    fn tell(&mut self, client: &str, event: Value) {
        self.sent.entry(client.to_owned()).or_default().push(event);
    }

    fn refuse(&mut self, client: &str, words: &str) {
        self.tell(client, json!({ "type": "error", "error": words }));
    }
}

fn message(client: &str, room: Option<&str>, data: Option<&Value>) -> Value {
    let mut event = json!({ "type": "message", "client_id": client });
    if let Some(room) = room {
        event["room"] = json!(room);
    }
    if let Some(data) = data {
        event["data"] = data.clone();
    }
    event
}
