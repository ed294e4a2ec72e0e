//! The engine from outside: any thread of the embedding program may publish, send and
//! shut down through a handle, and ask (`queries`). Knows mailboxes and the directory;
//! no connection's state.

use std::{fmt, sync::Arc};

use super::{
    clock::unix_ms,
    error::SendError,
    mailbox::{MailboxSender, Undelivered},
    outbox,
    reply::{JoinError, Reply, of_join},
};
use crate::{
    cluster::{Charge, ToRelay},
    engine::{
        DirectMessage, Disconnect, JoinRequest, LeaveRequest, Mail, Parcel, Process, RelayPort,
        Space,
    },
    id::{ClientId, ConnId},
    publication::{Audience, Data, Publication},
};

/// A room and how many members it has, on all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its members.
    pub members: usize,
}

struct Inner {
    process: Arc<Process>,
    senders: Vec<MailboxSender>,
}

/// The engine in the hands of any thread. Cheap to clone.
///
/// What is published through it reaches the shards that have members and no
/// others.
///
/// What one thread does through handles of one engine happens in that order on
/// every shard that it concerns: a connection that was made a member gets what is
/// published next, and one that is removed still gets what was published before.
/// [`SendError::Busy`] takes nothing out of that order but the call that got it.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

impl Handle {
    pub(crate) fn new(process: Arc<Process>, senders: Vec<MailboxSender>) -> Self {
        Self(Arc::new(Inner { process, senders }))
    }

    pub(super) fn process(&self) -> &Process {
        &self.0.process
    }

    pub(super) fn senders(&self) -> &[MailboxSender] {
        &self.0.senders
    }

    /// Sends `event` with `data` to every member of `room`.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn publish(&self, room: &str, event: &str, data: Data) -> Result<(), SendError> {
        self.deliver(Publication::new(Audience::Room(room.into()), event, data, unix_ms()))
    }

    /// The same, with a key by which a slow connection's queue is conflated.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn publish_keyed(
        &self,
        room: &str,
        event: &str,
        key: &str,
        data: Data,
    ) -> Result<(), SendError> {
        let mut publication = Publication::new(Audience::Room(room.into()), event, data, unix_ms());
        publication.key = Some(key.into());
        self.deliver(publication)
    }

    /// Sends `event` with `data` to every connection.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn broadcast(&self, event: &str, data: Data) -> Result<(), SendError> {
        self.deliver(Publication::new(Audience::Everyone, event, data, unix_ms()))
    }

    /// Sends `event` with `data` to every connection of `user`.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn send_to_user(&self, user: &str, event: &str, data: Data) -> Result<(), SendError> {
        self.deliver(Publication::new(Audience::User(user.into()), event, data, unix_ms()))
    }

    /// Sends a publication to the shards that have members of its audience.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn deliver(&self, publication: Publication) -> Result<(), SendError> {
        let publication = Arc::new(publication);
        match &self.0.process.relay {
            Some(relay) => self.deliver_everywhere(relay.as_ref(), publication),
            None => self.deliver_here(publication),
        }
    }

    /// To the members on this node, and to the relay for the others. What is published in
    /// a room with history comes back from there.
    fn deliver_everywhere(
        &self,
        relay: &dyn RelayPort,
        publication: Arc<Publication>,
    ) -> Result<(), SendError> {
        let bytes = publication.kept_bytes().min(u32::MAX as usize) as u32;
        if !relay.reserve(bytes) {
            return Err(SendError::Busy);
        }
        let has_history = match &publication.audience {
            Audience::Room(name) => relay.traits_of(name).history,
            Audience::Everyone | Audience::User(_) => false,
        };
        let charge = Charge { conn: None, bytes };
        if !has_history && let Err(error) = self.deliver_here(Arc::clone(&publication)) {
            relay.unreserve(bytes);
            return Err(error);
        }
        relay.put(ToRelay::Publish { publication, receipt: None, once: None, charge });
        relay.ring();
        Ok(())
    }

    /// To the members on this node.
    fn deliver_here(&self, publication: Arc<Publication>) -> Result<(), SendError> {
        let directory = &self.0.process.directory;
        let found = match &publication.audience {
            Audience::Everyone => None,
            Audience::Room(name) => Some(directory.find(Space::Room, name)),
            Audience::User(name) => Some(directory.find(Space::User, name)),
        };
        let shards = match found {
            None => self.0.process.all_shards(),
            Some(None) if self.0.senders.iter().all(MailboxSender::has_ended) => {
                return Err(SendError::Ended);
            }
            Some(None) => return Ok(()),
            Some(Some(shared)) => shared.shards(),
        };
        self.send_to_shards(shards, &Mail::Publish(publication))
    }

    /// To all of `shards` or to none.
    pub(super) fn send_to_shards(&self, shards: u64, mail: &Mail) -> Result<(), SendError> {
        let result = self.put_to_shards(shards, mail);
        self.ring(shards);
        result
    }

    /// Wakes those of `shards` that sleep.
    pub(super) fn ring(&self, shards: u64) {
        let all = self.0.senders.iter().enumerate();
        all.filter(|(shard, _)| shards >> shard & 1 == 1).for_each(|(_, sender)| sender.ring());
    }

    /// Sends as [`Handle::send_to_shards`] does; the shards are to be woken afterwards.
    pub(super) fn put_to_shards(&self, shards: u64, mail: &Mail) -> Result<(), SendError> {
        let (origin, bytes) = (mail.handle_origin(), mail.bytes());
        let wanted = || {
            let all = self.0.senders.iter().enumerate();
            all.filter(move |(shard, _)| shards >> shard & 1 == 1).map(|(_, sender)| sender)
        };
        for (reserved, sender) in wanted().enumerate() {
            if !sender.reserve(origin, bytes) {
                wanted().take(reserved).for_each(|sender| sender.unreserve(origin, bytes));
                return Err(SendError::Busy);
            }
        }
        let Some(copy) = mail.for_another() else { return Ok(()) };
        let parcel = Parcel { mail: copy, origin, bytes };
        // In a handler: in order with what it does through its connection.
        let Some(_) = outbox::put(&self.0.process, shards, parcel) else { return Ok(()) };
        let mut result = Ok(());
        for sender in wanted() {
            let Some(mail) = mail.for_another() else { continue };
            let sent = sender.put(Parcel { mail, origin, bytes });
            result = result.and(sent.map_err(|_| SendError::Ended));
        }
        result
    }

    /// Sends what one shard alone gets.
    fn send_to_shard(
        &self,
        shard: u8,
        sender: &MailboxSender,
        mail: Mail,
    ) -> Result<(), SendError> {
        let parcel = sender.reserved(mail).map_err(|undelivered| match undelivered {
            Undelivered::Full => SendError::Busy,
            Undelivered::Ended => SendError::Ended,
        })?;
        match outbox::put(&self.0.process, 1 << shard, parcel) {
            None => Ok(()),
            Some(parcel) => sender.send(parcel).map_err(|_| SendError::Ended),
        }
    }

    /// Waits until what was sent to the shards before has been taken so far that
    /// more is accepted, or until the engine has ended. Other threads may use up what
    /// is free before the caller does.
    pub async fn ready(&self) {
        self.shards_ready().await;
        if let Some(relay) = &self.0.process.relay {
            while let Some(credit) = relay.wait_for_credit() {
                credit.await;
            }
        }
    }

    /// The same without the relay.
    pub(super) async fn shards_ready(&self) {
        for sender in &self.0.senders {
            while sender.is_full() && !sender.has_ended() {
                let credit = sender.listen();
                if sender.is_full() && !sender.has_ended() {
                    credit.await;
                }
            }
        }
    }

    /// Sends `event` with `data` to one connection, if it is still open.
    ///
    /// # Errors
    /// [`SendError::Busy`], [`SendError::Ended`] or [`SendError::Unknown`].
    pub fn send(&self, to: ConnId, event: &str, data: Data) -> Result<(), SendError> {
        self.mail_to(to, Mail::Send(Box::new(DirectMessage { to, event: event.into(), data })))
    }

    /// Closes one connection, after what was sent to it before, with a code and
    /// a reason (RFC 6455 section 7.4).
    ///
    /// # Errors
    /// [`SendError::Busy`], [`SendError::Ended`] or [`SendError::Unknown`].
    pub fn close(&self, id: ConnId, code: u16, reason: &str) -> Result<(), SendError> {
        let reason = reason.to_owned().into();
        self.mail_to(id, Mail::Close(id, Disconnect::Requested { code, reason }))
    }

    /// Makes a connection a member of `room`; if that is refused, the connection
    /// is told so. What is published behind this call reaches it, whether or not
    /// anybody waits for the reply.
    ///
    /// # Errors
    /// At once, and then nothing happens: [`SendError::Busy`], [`SendError::Ended`]
    /// or [`SendError::Unknown`]. By the reply: [`JoinError`].
    ///
    /// ```
    /// # fn example(handle: &shardcast::Handle, id: shardcast::ConnId)
    /// #     -> Result<(), Box<dyn std::error::Error>> {
    /// handle.join(id, "lobby")?; // on its way
    /// handle.join(id, "hall")?.wait()?; // done
    /// # Ok(())
    /// # }
    /// ```
    pub fn join(&self, id: ConnId, room: &str) -> Result<Reply<(), JoinError>, SendError> {
        let sender = self.sender_to(id)?;
        let room = self.0.process.directory.announce(Space::Room, room, id.shard());
        let (reply, give) = Reply::pair();
        let answer = Box::new(|joined| give(of_join(joined)));
        let mail = Mail::Join(Box::new(JoinRequest { id, room, answer }));
        self.send_to_shard(id.shard(), sender, mail)?;
        Ok(reply)
    }

    /// Ends a connection's membership in `room`; what was published before still
    /// reaches it. The reply says whether there was a membership.
    ///
    /// # Errors
    /// [`SendError::Busy`], [`SendError::Ended`] or [`SendError::Unknown`].
    pub fn leave(&self, id: ConnId, room: &str) -> Result<Reply<bool>, SendError> {
        let (reply, give) = Reply::pair();
        let answer = Box::new(|was_member| give(Ok(was_member)));
        let request = LeaveRequest { id, room: room.into(), answer };
        self.mail_to(id, Mail::Leave(Box::new(request)))?;
        Ok(reply)
    }

    fn sender_to(&self, id: ConnId) -> Result<&MailboxSender, SendError> {
        self.0.senders.get(usize::from(id.shard())).ok_or(SendError::Unknown)
    }

    fn mail_to(&self, id: ConnId, mail: Mail) -> Result<(), SendError> {
        self.send_to_shard(id.shard(), self.sender_to(id)?, mail)
    }

    /// The connection that clients know by `client`, if it is one of this process.
    pub fn conn_id(&self, client: ClientId) -> Option<ConnId> {
        let id = client.conn(self.0.process.node)?;
        (usize::from(id.shard()) < self.0.senders.len()).then_some(id)
    }

    /// How many members `room` has, on all shards. Answered at once.
    pub fn member_count(&self, room: &str) -> usize {
        let found = self.0.process.directory.find(Space::Room, room);
        found.map_or(0, |shared| shared.members())
    }

    /// How many rooms have members. Answered at once.
    pub fn room_count(&self) -> usize {
        self.0.process.directory.room_count()
    }

    /// Every room that has members, by name. Answered at once.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        let rooms = self.0.process.directory.rooms().into_iter();
        let mut rooms: Vec<_> = rooms.map(|(name, members)| RoomInfo { name, members }).collect();
        rooms.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rooms
    }

    /// Whether no room and no user has members or joins on their way.
    pub(super) fn knows_nobody(&self) -> bool {
        self.0.process.directory.is_empty()
    }

    /// Begins to shut the engine down: no more connections are accepted, every
    /// open one gets what is queued for it and then a Close frame with 1001, and
    /// the shards end when all have gone, or after
    /// [`Limits::drain_timeout`](crate::engine::Limits::drain_timeout).
    pub fn shutdown(&self) {
        self.0.process.drain.request();
        for sender in &self.0.senders {
            sender.ring();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shards", &self.0.senders.len()).finish_non_exhaustive()
    }
}

mod cluster;
mod queries;
#[cfg(test)]
mod tests;
