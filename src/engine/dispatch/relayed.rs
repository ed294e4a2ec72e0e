//! What the relay has for connections and members of this shard, one thing at a time.
//! Knows who does it; not how other nodes are reached.

use super::{publishing, subscribing};
use crate::{
    cluster::{Command, FromRelay, Who},
    dialect::Event,
    engine::{
        fanout::publish::{announce, to_payload},
        lifecycle::{closing, membership},
        state::{connection::State, core::Core},
        types::{
            audience::{Space, Target},
            disconnect::Disconnect,
        },
    },
    id::ConnId,
    publication::Audience,
};

/// Does what `what` says, as far as this shard is concerned.
pub(crate) fn on_relayed(core: &mut Core, what: &FromRelay) {
    match what {
        // Publications come as such.
        FromRelay::Publish(_) => {}
        FromRelay::Linked(audience) => {
            if let Audience::Room(room) = audience {
                subscribing::on_linked(core, room);
            }
        }
        FromRelay::Gap(room, missed) => {
            announce(core, room, &Event::Gap { room, missed: *missed });
        }
        FromRelay::PresenceChange { room, who, joined } => {
            announce(core, room, &Event::PresenceChange { room, who, joined: *joined });
        }
        FromRelay::Recovered { conn, room, position, missed } => {
            subscribing::on_recovered(core, *conn, room, *position, missed.as_deref());
        }
        FromRelay::Receipt(receipt, outcome) => publishing::on_receipt(core, receipt, *outcome),
        FromRelay::PresenceList { conn, room, present } => {
            subscribing::on_present(core, *conn, room, present.as_deref());
        }
        FromRelay::Command(command) => on_command(core, command),
    }
}

fn on_command(core: &mut Core, command: &Command) {
    match command {
        Command::Send { to, event, data } => {
            for id in ids_of(core, &Who::Client(*to)) {
                let message = Event::Message {
                    event,
                    room: None,
                    data: to_payload(data),
                    from: None,
                    user: None,
                    offset: None,
                };
                core.send_event(id.slot(), &message);
            }
        }
        Command::Close { who, code, reason } => {
            for id in ids_of(core, who) {
                let reason = reason.to_string().into();
                closing::disconnect(core, id, Disconnect::Requested { code: *code, reason });
            }
        }
        Command::Join { who, room } => {
            for id in ids_of(core, who) {
                if let Err(refusal) = membership::join(core, id, Target::Room(room)) {
                    core.send_event(id.slot(), &Event::Refused { refusal, id: None });
                }
            }
        }
        Command::Leave { who, room } => {
            for id in ids_of(core, who) {
                membership::leave(core, id, Target::Room(room));
            }
        }
    }
}

/// The open connections of this shard that are meant.
fn ids_of(core: &Core, who: &Who) -> Vec<ConnId> {
    let all = match who {
        Who::Client(client) => client.conn(core.process.node).into_iter().collect(),
        Who::User(user) => members(core, user),
    };
    let is_open =
        |id: &ConnId| core.find(*id).is_some_and(|connection| connection.state == State::Open);
    all.into_iter().filter(|id| id.shard() == core.shard && is_open(id)).collect()
}

fn members(core: &Core, user: &str) -> Vec<ConnId> {
    let Some(room) = core.rooms.find(Space::User, user) else { return Vec::new() };
    let groups = core.rooms.room(room).groups.iter();
    let slots = groups.flat_map(|group| core.rooms.group(*group).members.iter());
    slots.map(|member| core.connections.id_of(member.slot)).collect()
}
