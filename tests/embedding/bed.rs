//! An engine under test, and a journal of what its hooks were called for.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, mpsc::channel},
    thread,
};

use shardcast::{Builder, ConnId, Engine, Fault, Handle, Running, dialect::Dialect};

use crate::support::{Client, GUARD};

/// A running engine. When it goes out of scope, after its clients, it is shut
/// down and must end in order.
pub(crate) struct Bed {
    pub(crate) handle: Handle,
    pub(crate) address: SocketAddr,
    shards: usize,
    running: Option<Running>,
}

impl Bed {
    /// Starts an engine of that many shards.
    pub(crate) fn start(shards: usize, configure: impl FnOnce(Builder) -> Builder) -> Self {
        let builder = Engine::builder().listen("127.0.0.1:0").shards(shards).pin(false);
        let engine = configure(builder).build().expect("an engine");
        let (handle, address) = (engine.handle(), engine.local_addr());
        let running = Some(engine.start().expect("threads"));
        Self { handle, address, shards, running }
    }

    /// A client that was greeted.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A client of the `raw` dialect.
    #[track_caller]
    pub(crate) fn raw(&self) -> Client {
        Client::open(self.address, "/ws/raw")
    }

    /// The connection of a client that was greeted.
    #[track_caller]
    pub(crate) fn id(&self, client: &Client) -> ConnId {
        self.handle.conn_id(client.id()).expect("a connection of this process")
    }

    /// A client on each shard, in the shards' order. The kernel chooses, so this
    /// connects until each shard has one; the others are gone when it returns.
    pub(crate) fn client_on_each_shard(&self) -> Vec<Client> {
        let mut clients: Vec<_> = (0..self.shards).map(|_| None).collect();
        let mut spare = Vec::new();
        // Two shards: all on one has a chance of 2 in 2^100.
        for _ in 0..100 {
            let client = self.client();
            let place = &mut clients[usize::from(self.id(&client).shard())];
            spare.extend(place.replace(client));
            if clients.iter().all(Option::is_some) {
                break;
            }
        }
        for client in spare {
            client.close();
        }
        clients.into_iter().map(|client| client.expect("a client on each shard")).collect()
    }

    /// Clients of the `raw` dialect, until each shard has at least one.
    pub(crate) fn raw_on_each_shard(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(self.raw());
            let known = self.handle.connections().wait().expect("an answer");
            let raw = known.iter().filter(|info| info.dialect == Dialect::Raw);
            let shards: BTreeSet<_> = raw.map(|info| info.id.shard()).collect();
            if shards.len() == self.shards {
                return clients;
            }
        }
        panic!("the kernel gave some shard no connection");
    }

    /// Shuts the engine down and waits for its end: no hook is called after it.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.end();
    }

    #[track_caller]
    fn end(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.handle.shutdown();
        join(running);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if thread::panicking() {
            // The test has failed already; nobody waits for what may not end.
            let handle = self.handle.clone();
            thread::spawn(move || handle.shutdown());
        } else {
            self.end();
        }
    }
}

/// Waits, but not for ever, for the end of an engine, which must be in order.
#[track_caller]
pub(crate) fn join(running: Running) {
    let ended = within_guard(move || running.join());
    ended.expect("the engine should end").expect("it should end in order");
}

/// What `run` returns, `None` if it does not return in time or panics.
pub(crate) fn within_guard<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let _ = sender.send(run());
    });
    receiver.recv_timeout(GUARD).ok()
}

/// What hooks were called for, in the order of the calls. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Journal {
    /// Adds a line.
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.lock().push(line.into());
        self.0.1.notify_all();
    }

    /// An error hook that notes each fault.
    pub(crate) fn faults(&self) -> impl Fn(ConnId, &Fault<'_>) + Send + Sync + 'static {
        let journal = self.clone();
        move |_, fault| {
            journal.note(match fault {
                Fault::Failed { what, error } => format!("{what} failed: {error}"),
                Fault::Panicked { what, message } => format!("{what} panicked: {message}"),
                Fault::RoomHooksStopped => "room hooks stopped".to_owned(),
                Fault::Protocol { code, .. } => format!("protocol {code}"),
                other => format!("{other:?}"),
            });
        }
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Waits until there are `count` lines or more, and returns them all.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<String> {
        let few = |lines: &mut Vec<String>| lines.len() < count;
        let waited = self.0.1.wait_timeout_while(self.lock(), GUARD, few);
        let (lines, timeout) = waited.expect("no panic in between");
        assert!(!timeout.timed_out(), "{count} lines were expected: {lines:?}");
        lines.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.0.lock().expect("no panic in between")
    }
}

/// Runs `body` with one shard and with two.
pub(crate) fn on_shards(body: impl Fn(usize)) {
    for shards in [1, 2] {
        body(shards);
    }
}
