//! The naive engine: a list of members for each room, and a list of frames for
//! each peer to which every publish appends at once. It is told what the real
//! engine accepted, in the order in which it did, by the engine's own hooks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::app::{Accepted, Entry, Said};

/// What the naive engine knows.
#[derive(Default)]
pub(crate) struct Model {
    rooms: BTreeMap<String, BTreeSet<String>>,
    users: BTreeMap<String, String>,
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
            Accepted::Joined(room) => {
                self.rooms.entry(room.clone()).or_default().insert(client.clone());
            }
            Accepted::Left(room) => {
                if let Some(members) = self.rooms.get_mut(room) {
                    members.remove(client);
                }
            }
            Accepted::Gone { .. } => {
                self.open.remove(client);
                self.users.remove(client);
                for members in self.rooms.values_mut() {
                    members.remove(client);
                }
            }
            Accepted::Message(said) => self.on_message(client, said),
        }
    }

    fn on_message(&mut self, client: &str, said: &Said) {
        let room = said.room();
        match said.event.as_str() {
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
            "publish" if self.is_member(client, room) => self.publish(client, said),
            "unsubscribe" | "publish" => self.refuse(client, "not subscribed to this room"),
            "others" | "keyed" | "many" | "broadcast" | "whisper" => self.publish(client, said),
            "name" => {
                self.users.insert(client.to_owned(), said.to().to_owned());
            }
            "direct" if self.open.contains(said.to()) => {
                self.tell(said.to(), json!({ "type": "message", "data": said.data }));
            }
            "direct" | "policy" => {}
            "ping" => self.tell(client, json!({ "type": "pong" })),
            _ => self.refuse(client, "unknown message type"),
        }
    }

    /// To everyone whom the message is for.
    fn publish(&mut self, client: &str, said: &Said) {
        let is_named = |(_, user): &(&String, &String)| *user == said.to();
        let receivers: Vec<String> = match said.event.as_str() {
            "broadcast" => self.open.iter().cloned().collect(),
            "whisper" => {
                self.users.iter().filter(is_named).map(|(client, _)| client.clone()).collect()
            }
            _ => self.rooms.get(said.room()).into_iter().flatten().cloned().collect(),
        };
        let excepted = (said.event == "others").then_some(client);
        for receiver in receivers.iter().filter(|receiver| Some(receiver.as_str()) != excepted) {
            if said.event == "many" {
                for n in said.numbers() {
                    self.tell(receiver, message(client, said, &json!({ "n": n })));
                }
            } else {
                let data = said.data.clone().unwrap_or_default();
                self.tell(receiver, message(client, said, &data));
            }
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

fn message(client: &str, said: &Said, data: &Value) -> Value {
    let mut event = json!({ "type": "message", "client_id": client, "data": data });
    if let Some(room) = &said.room {
        event["room"] = json!(room);
    }
    event
}
