//! A broker on a thread of its own: the test gives it operations and waits for arrivals.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use shardcast::{
    Position,
    cluster::Presence,
    relay::{
        RelayStatus,
        broker::{Arrival, BrokerError, Channel, History, HistoryLimits, Operation},
        clock::now_ms,
        redis::{RedisBroker, RedisSettings},
    },
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::server::DEADLINE;

/// What everything is kept for where a test does not say otherwise.
pub(crate) const LIMITS: HistoryLimits = HistoryLimits { count: 1000, age_ms: 600_000 };

type Shared = Arc<(Mutex<VecDeque<Arrival>>, Condvar)>;

pub(crate) struct Peer {
    operations: Option<UnboundedSender<Vec<Operation>>>,
    arrivals: Shared,
    pub(crate) status: Arc<RelayStatus>,
    thread: Option<JoinHandle<()>>,
    token: u64,
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.operations.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn room(name: &str) -> Channel {
    Channel::Room(name.into())
}

impl Peer {
    pub(crate) fn new(url: &str) -> Self {
        Self::with_prefix(url, "test:")
    }

    pub(crate) fn with_prefix(url: &str, prefix: &str) -> Self {
        let settings = RedisSettings::new(url, prefix).unwrap();
        let status = Arc::new(RelayStatus::default());
        let arrivals = Shared::default();
        let (operations, mut incoming) = unbounded_channel();
        let (shared, known) = (arrivals.clone(), status.clone());
        let serve = async move {
            let mut broker = RedisBroker::new(settings, known);
            loop {
                broker.on_tick(now_ms());
                let arrived = broker.take_arrivals();
                if !arrived.is_empty() {
                    shared.0.lock().unwrap().extend(arrived);
                    shared.1.notify_all();
                }
                let wait = Duration::from_millis(broker.next_tick().saturating_sub(now_ms()));
                tokio::select! {
                    operations = incoming.recv() => match operations {
                        Some(operations) => broker.submit(operations, now_ms()),
                        None => return,
                    },
                    () = broker.serve(256, now_ms) => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        };
        let thread = thread::spawn(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(serve);
        });
        let (operations, thread) = (Some(operations), Some(thread));
        Self { operations, arrivals, status, thread, token: 0 }
    }

    /// One that is connected.
    pub(crate) fn up(url: &str) -> Self {
        let peer = Self::new(url);
        peer.wait_up();
        peer
    }

    pub(crate) fn submit(&self, operations: Vec<Operation>) {
        self.operations.as_ref().unwrap().send(operations).unwrap();
    }

    /// Takes the first arrival for which `pick` gives something; those before it are
    /// dropped.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, mut pick: impl FnMut(Arrival) -> Option<T>) -> T {
        let (arrivals, changed) = &*self.arrivals;
        let mut arrivals = arrivals.lock().unwrap();
        loop {
            while let Some(arrival) = arrivals.pop_front() {
                if let Some(found) = pick(arrival) {
                    return found;
                }
            }
            let (again, late) = changed.wait_timeout(arrivals, DEADLINE).unwrap();
            arrivals = again;
            assert!(!late.timed_out(), "never came: {what}");
        }
    }

    #[track_caller]
    pub(crate) fn wait_up(&self) -> u16 {
        self.wait("up", |arrival| match arrival {
            Arrival::Up { partitions } => Some(partitions),
            _ => None,
        })
    }

    #[track_caller]
    pub(crate) fn wait_down(&self) -> String {
        self.wait("down", |arrival| match arrival {
            Arrival::Down(why) => Some(why),
            _ => None,
        })
    }

    /// Waits until it is down for a reason with this text.
    #[track_caller]
    pub(crate) fn wait_down_by(&self, text: &str) {
        self.wait(text, |arrival| match arrival {
            Arrival::Down(why) => why.contains(text).then_some(()),
            _ => None,
        });
    }

    /// Subscribes, and waits until that is confirmed.
    #[track_caller]
    pub(crate) fn subscribe(&self, channel: &Channel) {
        self.submit(vec![Operation::Subscribe(channel.clone())]);
        self.wait_subscribed(channel);
    }

    #[track_caller]
    pub(crate) fn wait_subscribed(&self, channel: &Channel) {
        self.wait("subscribed", |arrival| {
            (arrival == Arrival::Subscribed(channel.clone())).then_some(())
        });
    }

    /// The next message, with its channel and position.
    #[track_caller]
    pub(crate) fn message(&self) -> (Channel, Bytes, Option<Position>) {
        self.wait("a message", |arrival| match arrival {
            Arrival::Message { channel, message, position } => Some((channel, message, position)),
            _ => None,
        })
    }

    pub(crate) fn token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// Publishes, and waits for the answer.
    #[track_caller]
    pub(crate) fn publish(&mut self, channel: &Channel, message: &str) -> Result<(), BrokerError> {
        let (token, message) = (self.token(), Bytes::from(message.to_owned()));
        self.submit(vec![Operation::Publish { channel: channel.clone(), message, token }]);
        self.published(token).map(|_| ())
    }

    #[track_caller]
    pub(crate) fn published(&self, wanted: u64) -> Result<Option<(Position, bool)>, BrokerError> {
        self.wait("the answer to a publication", |arrival| match arrival {
            Arrival::Published { token, result } if token == wanted => Some(result),
            _ => None,
        })
    }

    /// Appends, and waits for the answer.
    #[track_caller]
    pub(crate) fn append(
        &mut self,
        room: &str,
        message: &str,
        once: Option<(&str, u64)>,
    ) -> Result<(Position, bool), BrokerError> {
        let (token, message) = (self.token(), Bytes::from(message.to_owned()));
        let once = once.map(|(key, window)| (key.into(), window));
        let room = room.into();
        self.submit(vec![Operation::Append { room, message, limits: LIMITS, once, token }]);
        self.published(token).map(|placed| placed.expect("a position"))
    }

    /// Reads, and waits for the answer.
    #[track_caller]
    pub(crate) fn read(
        &mut self,
        room: &str,
        after: u64,
        count: u64,
        limits: HistoryLimits,
    ) -> Option<History> {
        let wanted = self.token();
        let room = room.into();
        self.submit(vec![Operation::Read { room, after, count, limits, token: wanted }]);
        self.wait("history", |arrival| match arrival {
            Arrival::History { token, history } if token == wanted => Some(history),
            _ => None,
        })
    }

    #[track_caller]
    pub(crate) fn present(&mut self, room: &str) -> Option<Vec<Presence>> {
        let wanted = self.token();
        self.submit(vec![Operation::List { room: room.into(), token: wanted }]);
        self.wait("who is present", |arrival| match arrival {
            Arrival::Present { token, present } if token == wanted => Some(present),
            _ => None,
        })
    }

    #[track_caller]
    pub(crate) fn presence_change(&self) -> (Presence, bool) {
        self.wait("a change of presence", |arrival| match arrival {
            Arrival::PresenceChanged { who, joined, .. } => Some((who, joined)),
            _ => None,
        })
    }

    /// Waits until its status has this cause's text among its reasons, or none has it.
    #[track_caller]
    pub(crate) fn wait_reason(&self, text: &str, there: bool) {
        crate::server::until(text, || {
            let reasons = self.status.reasons();
            (reasons.iter().any(|reason| reason.contains(text)) == there).then_some(())
        });
    }
}
