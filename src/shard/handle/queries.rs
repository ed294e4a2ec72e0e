//! What a handle asks the shards: one part of the answer from each, or page by page
//! where there may be much to tell.

use std::sync::Arc;

use super::Handle;
use crate::{
    engine::{Answer, ConnInfo, Mail, Page, Query as ShardQuery, Space, Stats},
    id::ConnId,
    shard::query::{Paged, Part, Query},
};

impl Handle {
    /// The members of `room`. Those who come or go meanwhile may be among them or
    /// not, as with [`Handle::connections`].
    pub fn members(&self, room: &str) -> Query<Vec<ConnInfo>> {
        let found = self.0.process.directory.find(Space::Room, room);
        let shards = found.map_or(0, |shared| shared.shards());
        let room: Arc<str> = room.into();
        self.page_by_page(shards, move |from, answer| {
            let room = Arc::clone(&room);
            ShardQuery::Members { room, from, answer }
        })
    }

    /// One connection, `None` if it is not open.
    pub fn connection(&self, id: ConnId) -> Query<Option<ConnInfo>> {
        let shards = if self.0.process.has_shard(id.shard()) { 1 << id.shard() } else { 0 };
        self.ask(shards, None, Option::or, move |answer| ShardQuery::Connection(id, answer))
    }

    /// Every open connection.
    ///
    /// A shard describes at most
    /// [`Limits::INFOS_PER_TURN`](crate::engine::Limits::INFOS_PER_TURN) in one turn
    /// and goes on in its next. A connection that is open all the time is in the
    /// answer exactly once; one that comes or goes meanwhile is in it once or not at
    /// all.
    pub fn connections(&self) -> Query<Vec<ConnInfo>> {
        self.page_by_page(self.0.process.all_shards(), |from, answer| ShardQuery::Connections {
            from,
            answer,
        })
    }

    /// What all shards together counted since the start.
    pub fn stats(&self) -> Query<Stats> {
        let nothing = Stats { rooms: self.room_count() as u64, ..Stats::default() };
        let sum = |mut a: Stats, b: Stats| {
            a += b;
            a
        };
        self.ask(self.0.process.all_shards(), nothing, sum, ShardQuery::Stats)
    }

    fn ask<T: Send + 'static>(
        &self,
        shards: u64,
        nothing: T,
        merge: fn(T, T) -> T,
        query: impl Fn(Answer<T>) -> ShardQuery,
    ) -> Query<T> {
        let (answers, receiver) = async_channel::bounded(self.0.senders.len());
        for (shard, sender) in self.0.senders.iter().enumerate() {
            if shards >> shard & 1 == 0 {
                continue;
            }
            let answers = answers.clone();
            let answer = move |value| {
                // Nobody waits any more: no matter.
                let _ = answers.try_send(Part::whole(value));
            };
            // An undelivered query drops its sender: whoever waits learns of it.
            let mail = Mail::Ask(query(Box::new(answer)));
            let _ = self.send_to_shard(shard as u8, sender, mail);
        }
        Query::new(receiver, shards.count_ones() as usize, nothing, merge)
    }

    fn page_by_page(
        &self,
        shards: u64,
        page: impl Fn(u32, Answer<Page>) -> ShardQuery + Clone + Send + 'static,
    ) -> Query<Vec<ConnInfo>> {
        let (answers, receiver) = async_channel::unbounded();
        for (number, shard) in self.0.senders.iter().enumerate() {
            if shards >> number & 1 == 1 {
                let (shard, answers, page) = (shard.clone(), answers.clone(), page.clone());
                Paged { shard, answers, page }.ask(0);
            }
        }
        Query::new(receiver, shards.count_ones() as usize, Vec::new(), joined)
    }
}

fn joined(mut a: Vec<ConnInfo>, mut b: Vec<ConnInfo>) -> Vec<ConnInfo> {
    a.append(&mut b);
    a
}
