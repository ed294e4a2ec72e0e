//! What a mail brings about, whether it comes from another thread or from a handler
//! that used a handle on its own shard's thread. Knows connections and rooms; not
//! how mail travels.

use super::{queries, relayed};
use crate::{
    dialect::Event,
    engine::{
        backpressure::holds,
        fanout::publish::{self, to_payload},
        lifecycle::{closing, membership},
        process::mail::{DirectMessage, JoinRequest, LeaveRequest, Mail, Origin, Parcel},
        state::{
            connection::{Connection, State},
            core::Core,
        },
        types::audience::Target,
    },
};

/// Mail from another thread has arrived.
pub(crate) fn on_arrival(core: &mut Core, parcel: Parcel) {
    core.stats.mails_received += 1;
    if let Origin::Connection(id) = parcel.origin {
        core.outbound.windows.on_received(id, parcel.bytes);
    }
    on_mail(core, parcel);
}

/// Does what `parcel` asks for, and credits who was charged for it when it has been
/// taken.
fn on_mail(core: &mut Core, parcel: Parcel) {
    let Parcel { mail, origin, bytes } = parcel;
    match mail {
        Mail::Publish(publication) => {
            publish::deliver(core, &publication, (origin, bytes));
            return;
        }
        Mail::Send(message) => on_direct_message(core, &message),
        Mail::Close(id, reason) => closing::disconnect(core, id, reason),
        Mail::Join(join) => on_join_request(core, *join),
        Mail::Leave(leave) => {
            let LeaveRequest { id, room, answer } = *leave;
            let known = core.find(id).is_some();
            answer(known && membership::leave(core, id, Target::Room(&room)));
        }
        Mail::Relayed(what) => relayed::on_relayed(core, &what),
        Mail::Ask(query) => queries::answer(core, query),
        Mail::Credit(shard, credits) => holds::on_credit(core, shard, &credits),
        Mail::RequestCredit(shard) => core.outbound.windows.on_credit_request(shard),
        // The shard has taken the socket out: dropped, it is closed.
        Mail::Adopt(_) => {}
    }
    core.outbound.credit(origin, bytes);
}

fn on_direct_message(core: &mut Core, message: &DirectMessage) {
    let open = |found: &Connection| found.state == State::Open;
    if core.find(message.to).is_some_and(open) {
        let (event, data) = (&message.event, to_payload(&message.data));
        let event =
            Event::Message { event, room: None, data, from: None, user: None, offset: None };
        core.send_event(message.to.slot(), &event);
    }
}

fn on_join_request(core: &mut Core, request: JoinRequest) {
    let JoinRequest { id, room, answer } = request;
    let open = core.find(id).is_some_and(|found| found.state == State::Open);
    let joined = open.then(|| membership::join(core, id, Target::Room(room.name())).map(drop));
    if let Some(Err(refusal)) = joined {
        core.send_event(id.slot(), &Event::Refused { refusal, id: None });
    }
    // Whoever is answered finds the directory as the join left it.
    drop(room);
    answer(joined);
}

/// Does what a handler of this shard has sent through handles. Comes before whatever
/// it does through its connection, so that both keep the order of its calls.
#[inline]
pub(crate) fn apply_handle_mail(core: &mut Core) {
    if core.outbound.handles_have_sent() {
        apply_handle_mail_now(core);
    }
}

#[cold]
fn apply_handle_mail_now(core: &mut Core) {
    let mine = 1 << core.shard;
    for (shards, parcel) in core.outbound.take_from_handles() {
        // A query is answered between events, not within one.
        let is_query = matches!(parcel.mail, Mail::Ask(_));
        if shards & mine == 0 || is_query {
            core.outbound.forward(shards, parcel);
        } else if shards == mine {
            on_mail(core, parcel);
        } else if let Some(mail) = parcel.mail.for_another() {
            let Parcel { origin, bytes, .. } = parcel;
            on_mail(core, Parcel { mail, origin, bytes });
            core.outbound.forward(shards & !mine, parcel);
        }
    }
}
