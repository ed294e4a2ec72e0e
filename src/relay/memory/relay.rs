//! A node on a broker in this process: the loop that drives it, on the thread that the
//! engine gives it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use super::{
    super::{
        Exchange, Inlet, Outgoing, Relay, RelayStatus,
        clock::now_ms,
        node::{Asker, Node, NodeSettings},
    },
    broker::{MemoryBroker, MemoryLink},
    journal::JournalError,
};
use crate::cluster::{ClusterAnswer, RoomRules};

/// So much is taken from either side at once.
const BATCH: usize = 1_024;

/// A relay without a network. Alone it gives a node histories and presence; several with
/// one [`MemoryBroker`] are a cluster in one process.
///
/// ```
/// use shardcast::relay::{
///     Relay,
///     memory::{MemoryBroker, MemoryRelay},
///     node::NodeSettings,
/// };
/// let broker = MemoryBroker::new();
/// let one = MemoryRelay::with_broker(NodeSettings::default(), &broker);
/// let other = MemoryRelay::with_broker(NodeSettings::default(), &broker);
/// assert!(!one.status().is_ready() && !other.status().is_ready()); // until they run
/// ```
pub struct MemoryRelay {
    settings: NodeSettings,
    broker: MemoryBroker,
    status: Arc<RelayStatus>,
}

impl MemoryRelay {
    /// One with a broker of its own. `settings.node` is set when it runs.
    pub fn new(settings: NodeSettings) -> Self {
        Self::with_broker(settings, &MemoryBroker::new())
    }

    /// One whose histories outlive the process in a file.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn with_file(
        settings: NodeSettings,
        path: impl Into<std::path::PathBuf>,
    ) -> Result<Self, JournalError> {
        Ok(Self::with_broker(settings, &MemoryBroker::with_file(path)?))
    }

    /// One that shares its broker with others.
    pub fn with_broker(settings: NodeSettings, broker: &MemoryBroker) -> Self {
        Self { settings, broker: broker.clone(), status: Arc::default() }
    }
}

/// Wakes the relay's thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

type Pending<'e, T> = Pin<Box<dyn Future<Output = T> + Send + 'e>>;

/// The loop's state. Nothing in it waits but [`thread::park_timeout`].
struct Loop<'e> {
    node: Node,
    link: MemoryLink,
    inlet: &'e dyn Inlet,
    waker: Waker,
    /// The shards can take no more until this is done.
    ready: Option<Pending<'e, ()>>,
    answers: Vec<(Asker, Pending<'e, ClusterAnswer>)>,
}

impl Relay for MemoryRelay {
    fn status(&self) -> Arc<RelayStatus> {
        self.status.clone()
    }

    fn rules(&self) -> RoomRules {
        self.settings.rules()
    }

    fn run(self: Box<Self>, exchange: Exchange) {
        let Exchange { mut outgoing, inlet, node } = exchange;
        let settings = NodeSettings { node, ..self.settings };
        let unpark = Arc::new(Unpark(thread::current()));
        let (wake, waker) = (unpark.clone(), Waker::from(unpark.clone()));
        outgoing.set_waker(Box::new(move || unpark.0.unpark()));
        let mut state = Loop {
            node: Node::new(settings, self.status, now_ms()),
            link: self.broker.connect(move || wake.0.unpark()),
            inlet: &*inlet,
            waker,
            ready: None,
            answers: Vec::new(),
        };
        // The broker is there before the first who wants something of it.
        state.take_arrivals(now_ms());
        while state.turn(&mut *outgoing) {}
    }
}

impl Loop<'_> {
    /// Takes in, works, gives out, and waits if there was nothing. Returns whether the
    /// engine goes on.
    fn turn(&mut self, outgoing: &mut dyn Outgoing) -> bool {
        let mut taken = Vec::new();
        let has_ended =
            if self.node.is_backlogged() { false } else { outgoing.take(&mut taken, BATCH) };
        let now = now_ms();
        let mut is_busy = !taken.is_empty();
        for what in taken {
            self.node.on_outgoing(what, now);
        }
        self.work(now);
        is_busy |= !self.node.is_backlogged() && self.take_arrivals(now);
        if self.node.next_tick() <= now {
            self.node.on_tick(now);
            is_busy = true;
        }
        self.work(now);
        if has_ended {
            return false;
        }
        if !is_busy {
            if outgoing.may_sleep() || self.node.is_backlogged() {
                let wait_ms = self.node.next_tick().saturating_sub(now_ms());
                thread::park_timeout(Duration::from_millis(wait_ms));
            }
            outgoing.awake();
        }
        true
    }

    /// Takes in what came from the broker. Returns whether there was anything.
    fn take_arrivals(&mut self, now: u64) -> bool {
        let arrivals = self.link.take(BATCH);
        let has_come = !arrivals.is_empty();
        for arrival in arrivals {
            self.node.on_arrival(arrival, now);
        }
        has_come
    }

    fn work(&mut self, now: u64) {
        self.answer(now);
        self.link.submit(self.node.take_operations(), now);
        self.flush();
    }

    /// Gives the shards what is for them, unless they cannot take more.
    fn flush(&mut self) {
        let mut context = Context::from_waker(&self.waker);
        loop {
            if let Some(ready) = &mut self.ready
                && ready.as_mut().poll(&mut context).is_pending()
            {
                return;
            }
            self.ready = None;
            if self.node.flush(self.inlet) {
                return;
            }
            self.ready = Some(self.inlet.ready());
        }
    }

    /// Has questions answered for this node.
    fn answer(&mut self, now: u64) {
        let inlet = self.inlet;
        let questions = self.node.take_questions().into_iter();
        self.answers.extend(questions.map(|(asker, question)| (asker, inlet.answer(question))));
        let mut context = Context::from_waker(&self.waker);
        let node = &mut self.node;
        self.answers.retain_mut(|(asker, answer)| match answer.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(answer) => {
                node.on_answer(*asker, &answer, now);
                false
            }
        });
    }
}
