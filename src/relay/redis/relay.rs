//! A node on Redis: the loop that drives both, on the thread that the engine gives it.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::Notify, task::yield_now, time::sleep};

use super::{broker::RedisBroker, settings::RedisSettings};
use crate::{
    cluster::ClusterAnswer,
    relay::{
        Exchange, Inlet, Outgoing, Relay, RelayStatus,
        clock::now_ms,
        node::{Asker, Node, NodeSettings},
    },
};

/// So much is taken from either side at once.
const BATCH: usize = 1024;
/// How long the end may take, so that what was taken last is still written.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// The relay by Redis.
///
/// ```
/// use shardcast::relay::{
///     Relay,
///     node::NodeSettings,
///     redis::{DEFAULT_PREFIX, RedisRelay, RedisSettings},
/// };
/// let settings = RedisSettings::new("redis://localhost", DEFAULT_PREFIX).unwrap();
/// let relay = RedisRelay::new(settings, NodeSettings::default());
/// assert!(!relay.status().is_ready()); // until it runs and is connected
/// ```
pub struct RedisRelay {
    redis: RedisSettings,
    settings: NodeSettings,
    status: Arc<RelayStatus>,
}

impl RedisRelay {
    /// One that begins to connect when it runs. `settings.node` is set then.
    pub fn new(redis: RedisSettings, settings: NodeSettings) -> Self {
        Self { redis, settings, status: Arc::default() }
    }
}

impl Relay for RedisRelay {
    fn status(&self) -> Arc<RelayStatus> {
        self.status.clone()
    }

    fn run(self: Box<Self>, exchange: Exchange) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.serve(exchange)),
            Err(error) => {
                let why = format!("the relay's thread cannot wait for sockets: {error}");
                tracing::error!("{why}");
                self.status.set("broker", Some(why));
            }
        }
    }
}

type Pending<'e, T> = Pin<Box<dyn Future<Output = T> + Send + 'e>>;

/// The loop's state.
struct Loop<'e> {
    node: Node,
    broker: RedisBroker,
    inlet: &'e Arc<dyn Inlet>,
    woken: Arc<Notify>,
    /// The shards can take no more until this is done.
    ready: Option<Pending<'e, ()>>,
    answers: tokio::task::JoinSet<(Asker, ClusterAnswer)>,
}

impl RedisRelay {
    async fn serve(self, exchange: Exchange) {
        let Exchange { mut outgoing, inlet, node } = exchange;
        let settings = NodeSettings { node, ..self.settings };
        let woken = Arc::new(Notify::new());
        let wake = woken.clone();
        outgoing.set_waker(Box::new(move || wake.notify_one()));
        let mut state = Loop {
            broker: RedisBroker::new(self.redis, self.status.clone()),
            node: Node::new(settings, self.status, now_ms()),
            inlet: &inlet,
            woken,
            ready: None,
            answers: tokio::task::JoinSet::new(),
        };
        while state.turn(&mut *outgoing).await {}
        let _ = tokio::time::timeout(END_TIMEOUT, state.end()).await;
    }
}

impl Loop<'_> {
    /// Takes in, works, gives out, and waits if there was nothing. Returns whether the
    /// engine goes on.
    async fn turn(&mut self, outgoing: &mut dyn Outgoing) -> bool {
        let mut taken = Vec::new();
        let may_take = !self.node.is_backlogged() && self.broker.has_room();
        let has_ended = may_take && outgoing.take(&mut taken, BATCH);
        let now = now_ms();
        let is_busy = !taken.is_empty();
        for what in taken {
            self.node.on_outgoing(what, now);
        }
        if self.node.next_tick() <= now {
            self.node.on_tick(now);
        }
        if self.broker.next_tick() <= now {
            self.broker.on_tick(now);
        }
        self.work(now);
        if has_ended {
            return false;
        }
        if is_busy {
            // What links have read and written counts as much as what shards have.
            yield_now().await;
            self.broker.serve_ready(BATCH, now_ms);
            self.work(now_ms());
            return true;
        }
        if !may_take || outgoing.may_sleep() {
            self.wait(may_take).await;
        }
        outgoing.awake();
        self.work(now_ms());
        true
    }

    /// Waits until there is something to do, and takes in what comes from the broker.
    async fn wait(&mut self, may_take: bool) {
        let next = self.node.next_tick().min(self.broker.next_tick());
        let wait = Duration::from_millis(next.saturating_sub(now_ms()));
        let ready = async {
            match &mut self.ready {
                Some(ready) => ready.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.broker.serve(BATCH, now_ms) => {}
            () = self.woken.notified(), if may_take => {}
            () = ready => self.ready = None,
            Some(Ok((asker, answer))) = self.answers.join_next() => {
                self.node.on_answer(asker, &answer, now_ms());
            }
            () = sleep(wait) => {}
        }
    }

    /// Passes on what there is between the broker, the node and the shards.
    fn work(&mut self, now: u64) {
        for arrival in self.broker.take_arrivals() {
            self.node.on_arrival(arrival, now);
        }
        for (asker, question) in self.node.take_questions() {
            let inlet = self.inlet.clone();
            self.answers.spawn(async move { (asker, inlet.answer(question).await) });
        }
        let operations = self.node.take_operations();
        if !operations.is_empty() {
            self.broker.submit(operations, now);
        }
        if self.ready.is_none() && !self.node.flush(&**self.inlet) {
            self.ready = Some(self.inlet.ready());
        }
        self.broker.pause(self.node.is_backlogged());
    }

    /// Waits until what is on its way has been answered.
    async fn end(&mut self) {
        while !self.broker.is_idle() {
            self.broker.serve(BATCH, now_ms).await;
            self.broker.take_arrivals();
        }
    }
}
