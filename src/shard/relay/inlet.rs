//! What the relay gives the shards: each thing as one mail to the shards that it concerns,
//! charged like what handles send. Knows the directory and mailboxes; no broker.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::outgoing::RelaySender;
use crate::{
    cluster::{Charge, ClusterAnswer, Command, FromRelay, Question, Who},
    engine::{Mail, Origin, RelayPort, Space},
    id::{ClientId, ConnId},
    publication::Audience,
    relay::Inlet,
    shard::{error::SendError, handle::Handle},
};

/// Credit for one shard that has not been told yet.
#[derive(Default)]
struct Owed {
    credits: Vec<(ConnId, u32)>,
    bytes: usize,
}

impl Owed {
    fn add(&mut self, id: ConnId, bytes: u32) {
        self.bytes += bytes as usize;
        match self.credits.last_mut() {
            Some((last, sum)) if *last == id && sum.checked_add(bytes).is_some() => *sum += bytes,
            _ => self.credits.push((id, bytes)),
        }
    }
}

/// The relay's way to the shards.
pub(in crate::shard) struct ShardInlet {
    handle: Handle,
    sender: Arc<RelaySender>,
    owed: Mutex<Vec<Owed>>,
    /// What is told although nobody waits for it: a sixteenth of a window.
    enough: usize,
    /// The shards that have mail and were not woken, one bit each.
    unrung: AtomicU64,
}

impl ShardInlet {
    pub(super) fn new(handle: Handle, sender: Arc<RelaySender>) -> Self {
        let owed = handle.senders().iter().map(|_| Owed::default()).collect();
        let enough = handle.process().limits.window_of(handle.senders().len()) / 16;
        Self { handle, sender, owed: Mutex::new(owed), enough, unrung: AtomicU64::new(0) }
    }

    /// Tells the shards what the relay has taken of theirs: when somebody waits for it, or
    /// enough has gathered, so that no shard is woken for each publication.
    pub(super) fn send_credits(&self) {
        let wanted = self.sender.credit_wanted();
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, owed) in owed.iter_mut().enumerate() {
            let is_wanted = wanted >> shard & 1 == 1;
            if owed.credits.is_empty() || !is_wanted && owed.bytes < self.enough {
                continue;
            }
            if is_wanted {
                self.sender.is_told(shard);
            }
            let credits = std::mem::take(owed).credits;
            let credit = Mail::Credit(self.handle.process().relay_window(), credits);
            // A shard that has ended waits for nothing.
            let _ = self.handle.senders()[shard].send(credit.charged_to(Origin::Shard));
        }
    }

    /// The shards that `what` concerns, one bit each.
    fn shards_of(&self, what: &FromRelay) -> u64 {
        match what {
            FromRelay::Publish(publication) => self.audience(&publication.audience),
            FromRelay::Linked(audience) => {
                self.link(audience);
                self.audience(audience)
            }
            FromRelay::Gap(room, _) | FromRelay::PresenceChange { room, .. } => {
                self.named(Space::Room, room)
            }
            FromRelay::Recovered { conn, .. } | FromRelay::PresenceList { conn, .. } => {
                self.shard(*conn)
            }
            FromRelay::Receipt(receipt, _) => self.shard(receipt.conn),
            FromRelay::Command(command) => match command {
                Command::Send { to, .. } => self.client(*to),
                Command::Close { who, .. }
                | Command::Join { who, .. }
                | Command::Leave { who, .. } => match who {
                    Who::Client(client) => self.client(*client),
                    Who::User(user) => self.named(Space::User, user),
                },
            },
        }
    }

    /// Set before the shards are told, so that who joins meanwhile waits for nothing.
    fn link(&self, audience: &Audience) {
        let directory = &self.handle.process().directory;
        let found = match audience {
            Audience::Everyone => None,
            Audience::Room(name) => directory.find(Space::Room, name),
            Audience::User(name) => directory.find(Space::User, name),
        };
        if let Some(shared) = found {
            shared.set_linked(true);
        }
    }

    fn audience(&self, audience: &Audience) -> u64 {
        match audience {
            Audience::Everyone => self.handle.process().all_shards(),
            Audience::Room(name) => self.named(Space::Room, name),
            Audience::User(name) => self.named(Space::User, name),
        }
    }

    fn named(&self, space: Space, name: &str) -> u64 {
        self.handle.process().directory.find(space, name).map_or(0, |shared| shared.shards())
    }

    fn shard(&self, conn: ConnId) -> u64 {
        if self.handle.process().has_shard(conn.shard()) { 1 << conn.shard() } else { 0 }
    }

    fn client(&self, client: ClientId) -> u64 {
        client.conn(self.handle.process().node).map_or(0, |conn| self.shard(conn))
    }
}

impl Inlet for ShardInlet {
    fn give(&self, what: FromRelay) -> Result<(), FromRelay> {
        let shards = self.shards_of(&what);
        if shards == 0 {
            return Ok(());
        }
        self.unrung.fetch_or(shards, Ordering::Relaxed);
        if let FromRelay::Publish(publication) = what {
            let mail = Mail::Publish(Arc::clone(&publication));
            return match self.handle.put_to_shards(shards, &mail) {
                Err(SendError::Busy) => Err(FromRelay::Publish(publication)),
                _ => Ok(()),
            };
        }
        let what = Arc::new(what);
        match self.handle.put_to_shards(shards, &Mail::Relayed(Arc::clone(&what))) {
            // None of the shards has it: the copy that went with the mail is gone.
            Err(SendError::Busy) => Arc::try_unwrap(what).map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    fn ring(&self) {
        if self.unrung.load(Ordering::Relaxed) > 0 {
            self.handle.ring(self.unrung.swap(0, Ordering::Relaxed));
        }
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.handle.shards_ready())
    }

    fn credit(&self, charge: Charge) {
        match charge.conn {
            None => self.sender.unreserve(charge.bytes),
            Some(id) => {
                let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(owed) = owed.get_mut(usize::from(id.shard())) {
                    owed.add(id, charge.bytes);
                }
            }
        }
    }

    fn answer(&self, question: Question) -> Pin<Box<dyn Future<Output = ClusterAnswer> + Send>> {
        let handle = self.handle.clone();
        Box::pin(async move { handle.answer_here(question).await })
    }
}
