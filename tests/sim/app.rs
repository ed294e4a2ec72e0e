//! The engine under test: hooks that write down what it accepts, in its order, and
//! handlers for everything that clients do beside the built-in commands.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use shardcast::{Builder, Conn, ConnId, Disconnect, Engine, Limits, Message, Payload, SlowPolicy};

/// How many publications one message of the event `many` makes.
pub(crate) const MANY: u64 = 3;

/// Something that a shard accepted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Accepted {
    Opened,
    Message(Said),
    /// By whatever means.
    Joined(String),
    Left(String),
    /// It is open no more; because it was too slow, or for another reason.
    Gone {
        slow: bool,
    },
}

/// A client's message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) event: String,
    pub(crate) room: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) data: Option<Value>,
}

impl Said {
    /// The numbers of what it has sent to others.
    pub(crate) fn numbers(&self) -> std::ops::Range<u64> {
        let first = self.data.as_ref().and_then(|data| data["n"].as_u64());
        let count = if self.event == "many" { MANY } else { 1 };
        first.map_or(0..0, |first| first..first + count)
    }

    pub(crate) fn room(&self) -> &str {
        self.room.as_deref().unwrap_or_default()
    }

    pub(crate) fn to(&self) -> &str {
        self.to.as_deref().unwrap_or_default()
    }
}

/// An accepted thing and whose it was, by client id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) client: String,
    pub(crate) what: Accepted,
}

/// What the hooks have written down.
#[derive(Clone, Default)]
pub(crate) struct Tap {
    log: Arc<Mutex<Vec<Entry>>>,
    ids: Arc<Mutex<BTreeMap<String, ConnId>>>,
}

impl Tap {
    fn note(&self, conn: &Conn<'_>, what: Accepted) {
        let client = conn.client_id().to_string();
        self.log.lock().unwrap().push(Entry { client, what });
    }

    pub(crate) fn len(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    pub(crate) fn log(&self) -> Vec<Entry> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn id_of(&self, client: &str) -> Option<ConnId> {
        self.ids.lock().unwrap().get(client).copied()
    }
}

/// An engine whose hooks write to `tap`.
pub(crate) fn tapped(tap: &Tap) -> Builder {
    let taps = [(); 6].map(|()| tap.clone());
    let [opened, gone, messages, joined, left, direct] = taps;
    let engine = Engine::builder()
        .on_connect(move |conn| {
            opened.ids.lock().unwrap().insert(conn.client_id().to_string(), conn.id());
            opened.note(conn, Accepted::Opened);
            Ok(())
        })
        .on_disconnect(move |conn, why| {
            gone.note(conn, Accepted::Gone { slow: *why == Disconnect::Slow });
        })
        .on_join(move |conn, room| joined.note(conn, Accepted::Joined(room.to_owned())))
        .on_leave(move |conn, room| left.note(conn, Accepted::Left(room.to_owned())))
        .on_message(move |conn, message| {
            messages.note(conn, Accepted::Message(said(message)));
            Ok(())
        })
        .on("direct", move |conn, message| {
            if let Some(id) = direct.id_of(message.to().unwrap_or_default()) {
                conn.send_to(id, "message", message.data());
            }
            Ok(())
        });
    with_handlers(engine)
}

fn said(message: &Message<'_>) -> Said {
    Said {
        event: message.event().to_owned(),
        room: message.room().map(str::to_owned),
        to: message.to().map(str::to_owned),
        data: message.data().map(|data| serde_json::from_slice(data.as_bytes()).unwrap()),
    }
}

fn with_handlers(engine: Builder) -> Builder {
    engine
        .on("others", |conn, message| {
            let room = message.room().unwrap_or_default();
            conn.to(room).except_self().emit("message", message.data());
            Ok(())
        })
        .on("keyed", |conn, message| {
            let room = message.room().unwrap_or_default();
            let key = message.to().unwrap_or_default();
            conn.to(room).key(key).emit("message", message.data());
            Ok(())
        })
        .on("many", |conn, message| {
            let room = message.room().unwrap_or_default();
            for n in said(message).numbers() {
                let data = format!("{{\"n\":{n}}}");
                conn.to(room).emit("message", Payload::Json(&data));
            }
            Ok(())
        })
        .on("both", |conn, message| {
            for _ in 0..2 {
                conn.to(message.room().unwrap_or_default()).emit("message", message.data());
            }
            for _ in 0..2 {
                conn.to(message.to().unwrap_or_default()).emit("message", message.data());
            }
            Ok(())
        })
        .on("name", |conn, message| conn.set_user(message.to().unwrap_or_default()))
        .on("whisper", |conn, message| {
            conn.to_user(message.to().unwrap_or_default()).emit("message", message.data());
            Ok(())
        })
        .on("policy", |conn, message| {
            let policy = message.to().and_then(SlowPolicy::by_name);
            conn.set_slow_policy(policy.unwrap_or_default());
            Ok(())
        })
}

/// Bounds at which every turn leaves something over, publishers are held, ways are
/// full and readers are slow.
pub(crate) fn cramped() -> Limits {
    Limits {
        batch_bytes: 300,
        queue_bytes: 3000,
        room_share_bytes: 500,
        shard_share_bytes: 2000,
        window_bytes: 1500,
        handle_window_bytes: 1500,
        received_bytes_per_turn: 300,
        mails_per_turn: 2,
        events_per_turn: 2,
        sends_per_turn: 1,
        timers_per_turn: 1,
        ..patient()
    }
}

/// The defaults, with a heartbeat that a short run comes to.
pub(crate) fn patient() -> Limits {
    Limits {
        ping_interval: Duration::from_millis(1000),
        pong_timeout: Duration::from_millis(1800),
        write_timeout: Duration::from_secs(60),
        ..Limits::default()
    }
}
