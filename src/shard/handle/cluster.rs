//! What a handle does to connections of all nodes: by client id or by user. Without a
//! relay the connections of this process are all there are.

use std::sync::Arc;

use super::Handle;
use crate::{
    cluster::{ClusterAnswer, Command, FromRelay, Presence, Question, ToRelay, Who},
    engine::{Mail, Space},
    id::ClientId,
    publication::Data,
    shard::{
        error::SendError,
        query::{QueryError, may_wait},
    },
};

impl Handle {
    /// Sends `event` with `data` to the connection that clients know by `to`, on
    /// whichever node it is.
    ///
    /// # Errors
    /// [`SendError::Busy`], [`SendError::Ended`], or [`SendError::Unknown`] if it is of
    /// another process and there is no relay.
    pub fn send_to_client(&self, to: ClientId, event: &str, data: Data) -> Result<(), SendError> {
        self.command(Command::Send { to, event: event.into(), data })
    }

    /// Closes a connection on whichever node it is, with a code and a reason (RFC 6455
    /// section 7.4).
    ///
    /// # Errors
    /// See [`Handle::send_to_client`].
    pub fn close_client(&self, to: ClientId, code: u16, reason: &str) -> Result<(), SendError> {
        self.command(Command::Close { who: Who::Client(to), code, reason: reason.into() })
    }

    /// Closes all connections of `user`, on all nodes.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn close_user(&self, user: &str, code: u16, reason: &str) -> Result<(), SendError> {
        self.command(Command::Close { who: Who::User(user.into()), code, reason: reason.into() })
    }

    /// Makes a connection on whichever node a member of `room`.
    ///
    /// # Errors
    /// See [`Handle::send_to_client`].
    pub fn join_client(&self, to: ClientId, room: &str) -> Result<(), SendError> {
        self.command(Command::Join { who: Who::Client(to), room: room.into() })
    }

    /// Makes all connections that `user` has now, on all nodes, members of `room`.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn join_user(&self, user: &str, room: &str) -> Result<(), SendError> {
        self.command(Command::Join { who: Who::User(user.into()), room: room.into() })
    }

    /// Ends a connection's membership in `room`, on whichever node it is.
    ///
    /// # Errors
    /// See [`Handle::send_to_client`].
    pub fn leave_client(&self, to: ClientId, room: &str) -> Result<(), SendError> {
        self.command(Command::Leave { who: Who::Client(to), room: room.into() })
    }

    /// Ends the memberships in `room` of all connections of `user`, on all nodes.
    ///
    /// # Errors
    /// [`SendError::Busy`] or [`SendError::Ended`].
    pub fn leave_user(&self, user: &str, room: &str) -> Result<(), SendError> {
        self.command(Command::Leave { who: Who::User(user.into()), room: room.into() })
    }

    /// How many members `room` has on all nodes that answer within a second.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn cluster_member_count(&self, room: &str) -> Result<ClusterAnswer, QueryError> {
        self.ask_all(Question::MemberCount(room.into())).await
    }

    /// The members of `room` on all nodes that answer within a second, at most `max` of
    /// each.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn cluster_members(&self, room: &str, max: u32) -> Result<ClusterAnswer, QueryError> {
        self.ask_all(Question::Members(room.into(), max)).await
    }

    /// Here if there is somebody, and by the relay everywhere else.
    fn command(&self, command: Command) -> Result<(), SendError> {
        let relay = self.process().relay.as_deref();
        let (Command::Send { to: client, .. }
        | Command::Close { who: Who::Client(client), .. }
        | Command::Join { who: Who::Client(client), .. }
        | Command::Leave { who: Who::Client(client), .. }) = &command
        else {
            return self.command_user(command);
        };
        if let Some(id) = self.conn_id(*client) {
            let what = Arc::new(FromRelay::Command(command));
            return self.send_to_shards(1 << id.shard(), &Mail::Relayed(what));
        }
        let relay = relay.ok_or(SendError::Unknown)?;
        relay.put(ToRelay::Command(command));
        relay.ring();
        Ok(())
    }

    fn command_user(&self, command: Command) -> Result<(), SendError> {
        let (Command::Close { who: Who::User(user), .. }
        | Command::Join { who: Who::User(user), .. }
        | Command::Leave { who: Who::User(user), .. }) = &command
        else {
            return Ok(());
        };
        if let Some(shared) = self.process().directory.find(Space::User, user) {
            let what = Arc::new(FromRelay::Command(command.clone()));
            self.send_to_shards(shared.shards(), &Mail::Relayed(what))?;
        }
        if let Some(relay) = &self.process().relay {
            relay.put(ToRelay::Command(command));
            relay.ring();
        }
        Ok(())
    }

    async fn ask_all(&self, question: Question) -> Result<ClusterAnswer, QueryError> {
        let Some(relay) = &self.process().relay else {
            return Ok(self.answer_here(question).await);
        };
        may_wait()?;
        let (sender, receiver) = async_channel::bounded(1);
        let reply = move |answer| {
            // Nobody waits any more: no matter.
            let _ = sender.try_send(answer);
        };
        relay.put(ToRelay::Ask(question, Box::new(reply)));
        relay.ring();
        receiver.recv().await.map_err(|_| QueryError::Unanswered)
    }

    /// What this node has to say.
    pub(in crate::shard) async fn answer_here(&self, question: Question) -> ClusterAnswer {
        let mut answer = ClusterAnswer { nodes: 1, ..ClusterAnswer::default() };
        match question {
            Question::MemberCount(room) => answer.count = self.member_count(&room) as u64,
            Question::Members(room, max) => {
                let members = self.members(&room).await.unwrap_or_default();
                answer.count = members.len() as u64;
                let members = members
                    .into_iter()
                    .take(max as usize)
                    .map(|info| Presence { client: info.client_id, user: info.user });
                answer.members = members.collect();
            }
        }
        answer
    }
}
