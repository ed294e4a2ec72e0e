//! A connection in the hands of a handler: everything that a handler can do,
//! each effect visible at once and sent at the end of the turn.

use std::{net::SocketAddr, sync::Arc};

use serde_json::Value;

use super::{incoming_mail, queries};
use crate::{
    dialect::{Dialect, Event, Payload},
    engine::{
        backpressure::{backlog, holds},
        fanout::{
            publish::{self, Outgoing, to_data},
            send,
        },
        lifecycle::{closing, membership},
        process::mail::{DirectMessage, Mail},
        state::{
            connection::{Connection, State},
            core::Core,
        },
        types::{
            audience::{Space, Target},
            disconnect::Disconnect,
            errors::{HandlerError, HandlerResult},
            info::ConnInfo,
            slow_policy::SlowPolicy,
        },
    },
    id::{ClientId, ConnId},
    proto::frame::Opcode,
    publication::Data,
};

/// The connection that a hook or handler is called for, and through it the
/// whole engine: rooms, users, everyone, and any other connection.
///
/// Nothing here blocks. What is sent leaves at the end of the shard's turn, in
/// the order of the calls, those among them that are made through a
/// [`Handle`](crate::shard::Handle) in the same handler.
pub struct Conn<'a> {
    core: &'a mut Core,
    id: ConnId,
}

impl<'a> Conn<'a> {
    /// The connection must be in the arena.
    pub(crate) fn new(core: &'a mut Core, id: ConnId) -> Self {
        debug_assert!(core.find(id).is_some());
        Self { core, id }
    }

    fn slot(&self) -> u32 {
        self.id.slot()
    }

    fn state(&self) -> &Connection {
        &self.core.connections[self.slot()]
    }

    /// Its identity within this process.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The identity by which clients know it.
    pub fn client_id(&self) -> ClientId {
        self.core.client_id(self.id)
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.state().peer.address()
    }

    /// The wire format that it speaks.
    pub fn dialect(&self) -> Dialect {
        self.state().dialect
    }

    /// What there is to know about it, as a value to keep.
    pub fn info(&self) -> ConnInfo {
        queries::describe(self.core, self.id)
    }

    /// The user on whose behalf it acts.
    pub fn user(&self) -> Option<&str> {
        self.state().user()
    }

    /// Makes it act on behalf of `user`, instead of whom it did before: what is
    /// sent to that user reaches it from now on.
    ///
    /// # Errors
    /// If the name is empty or longer than [`Limits::name_bytes`](crate::Limits::name_bytes).
    pub fn set_user(&mut self, user: &str) -> HandlerResult {
        incoming_mail::apply_handle_mail(self.core);
        membership::set_user(self.core, self.id, user).map_err(HandlerError::Refused)
    }

    /// What was remembered under `key`.
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.state().extra.as_ref()?.metadata.get(key)
    }

    /// Remembers `value` under `key` for as long as the connection lives.
    pub fn set_metadata(&mut self, key: &str, value: impl Into<Value>) {
        let extra = self.core.connections[self.id.slot()].extra();
        extra.metadata.insert(key.into(), value.into());
    }

    /// Chooses what happens when it takes its messages too slowly.
    pub fn set_slow_policy(&mut self, policy: SlowPolicy) {
        let slot = self.slot();
        self.core.connections[slot].policy = policy;
        // What counts against its budget depends on it.
        backlog::recount(self.core, slot);
    }

    /// Makes it a member of `room`; joining twice is the same as once.
    ///
    /// # Errors
    /// If the name is empty or too long, the room is full, or the connection is
    /// in as many rooms as it may be in.
    pub fn join(&mut self, room: &str) -> HandlerResult {
        incoming_mail::apply_handle_mail(self.core);
        let joined = membership::join(self.core, self.id, Target::Room(room));
        joined.map(drop).map_err(HandlerError::Refused)
    }

    /// Ends its membership in `room`. Returns whether there was one.
    pub fn leave(&mut self, room: &str) -> bool {
        incoming_mail::apply_handle_mail(self.core);
        membership::leave(self.core, self.id, Target::Room(room))
    }

    /// Ends its membership in every room.
    pub fn leave_all(&mut self) {
        incoming_mail::apply_handle_mail(self.core);
        for room in self.rooms() {
            membership::leave(self.core, self.id, Target::Room(&room));
        }
    }

    /// Whether it is a member of `room`.
    pub fn is_in(&self, room: &str) -> bool {
        membership::find(self.core, self.slot(), Target::Room(room)).is_some()
    }

    /// The rooms that it is in, in the order in which it joined them.
    pub fn rooms(&self) -> Vec<Arc<str>> {
        membership::rooms_of(self.core, self.slot()).cloned().collect()
    }

    /// How many members `room` has, on all shards.
    pub fn members(&self, room: &str) -> usize {
        let found = self.core.process.directory.find(Space::Room, room);
        found.map_or(0, |shared| shared.members())
    }

    /// Sends it an event.
    pub fn emit<'d>(&mut self, event: &str, data: impl Into<Option<Payload<'d>>>) {
        incoming_mail::apply_handle_mail(self.core);
        let data = data.into();
        let message =
            Event::Message { event, room: None, data, from: None, user: None, offset: None };
        self.core.send_event(self.slot(), &message);
    }

    /// Sends it a text message as it is, without its dialect's envelope.
    pub fn send_text(&mut self, text: &str) {
        self.send_whole(Opcode::Text, text.as_bytes());
    }

    /// Sends it a binary message as it is, without its dialect's envelope.
    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.send_whole(Opcode::Binary, bytes);
    }

    #[inline]
    fn send_whole(&mut self, opcode: Opcode, payload: &[u8]) {
        incoming_mail::apply_handle_mail(self.core);
        self.core.send_whole(self.slot(), opcode, payload);
    }

    /// Tells it that a request was refused, in its dialect's form of an error.
    pub fn refuse(&mut self, error: &HandlerError) {
        incoming_mail::apply_handle_mail(self.core);
        self.core.send_event(self.slot(), &Event::Refused { refusal: error.refusal(), id: None });
    }

    /// To the members of `room`, the connection itself included if it is one.
    pub fn to<'c>(&'c mut self, room: &'c str) -> To<'c> {
        To::new(self.core, self.id, Target::Room(room))
    }

    /// To every connection of `user`, on all shards.
    pub fn to_user<'c>(&'c mut self, user: &'c str) -> To<'c> {
        To::new(self.core, self.id, Target::User(user))
    }

    /// To every connection, the connection itself included.
    pub fn to_everyone(&mut self) -> To<'_> {
        To::new(self.core, self.id, Target::Everyone)
    }

    /// Sends an event to one other connection, if it still exists.
    pub fn send_to<'d>(&mut self, to: ConnId, event: &str, data: impl Into<Option<Payload<'d>>>) {
        incoming_mail::apply_handle_mail(self.core);
        let data = data.into();
        if to.shard() == self.core.shard {
            if self.core.find(to).is_some_and(|connection| connection.state == State::Open) {
                let message = Event::Message {
                    event,
                    room: None,
                    data,
                    from: None,
                    user: None,
                    offset: None,
                };
                self.core.send_event(to.slot(), &message);
            }
        } else if self.core.process.has_shard(to.shard()) {
            let message = DirectMessage { to, event: event.into(), data: to_data(data) };
            self.core.outbound.post(1 << to.shard(), Mail::Send(Box::new(message)), self.id);
            holds::hold_for_windows(self.core, self.id, 1 << to.shard());
        }
    }

    /// Closes it, after all that is sent to it by the present handler, with a code
    /// and a reason (RFC 6455 section 7.4). No further message of its peer is
    /// handled.
    pub fn close(&mut self, code: u16, reason: &str) {
        incoming_mail::apply_handle_mail(self.core);
        let reason = reason.to_owned().into();
        closing::disconnect(self.core, self.id, Disconnect::Requested { code, reason });
    }
}

/// A message on its way to several connections; [`To::emit`] sends it.
#[must_use = "nothing is sent before `emit`"]
pub struct To<'c> {
    core: &'c mut Core,
    from: ConnId,
    target: Target<'c>,
    except: Option<ConnId>,
    key: Option<&'c str>,
}

impl<'c> To<'c> {
    fn new(core: &'c mut Core, from: ConnId, target: Target<'c>) -> Self {
        Self { core, from, target, except: None, key: None }
    }

    /// To all but the connection that sends it.
    pub fn except_self(mut self) -> Self {
        self.except = Some(self.from);
        self
    }

    /// Lets it replace an older message of the same key and room in the queue of
    /// a slow connection with the policy
    /// [`Conflate`](crate::SlowPolicy::Conflate).
    pub fn key(mut self, key: &'c str) -> Self {
        self.key = Some(key);
        self
    }

    /// Sends `event` with `data`. The receivers are told who sent it.
    pub fn emit<'d>(self, event: &str, data: impl Into<Option<Payload<'d>>>) {
        let Self { core, from, target, except, key } = self;
        incoming_mail::apply_handle_mail(core);
        let user = core.lend_user(from);
        let message = Outgoing {
            event,
            data: data.into(),
            from: Some(core.client_id(from)),
            user: user.as_deref(),
            except,
            key,
        };
        send::publish(core, from, target, &message);
        core.return_user(from, user);
    }
}

impl<'a> From<&'a Data> for Option<Payload<'a>> {
    fn from(data: &'a Data) -> Self {
        publish::to_payload(data)
    }
}
