//! Threads: one for each shard, bound to its core, and the way in which they
//! start and end together.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::{
    clock::SystemClock,
    driver_kind::{DriverChoice, DriverKind},
    error::RunError,
    handle::Handle,
    health::HealthCheck,
    housekeeping::Chore,
    mailbox::{Mailbox, MailboxSender},
    parts::{HttpHandOff, Parts},
    relay::{RelayStart, RelayThread},
    start::ShardStart,
};
use crate::engine::{App, Process};

/// A WebSocket engine that listens and is about to run.
///
/// ```
/// use shardcast::Engine;
///
/// let engine = Engine::builder()
///     .listen("127.0.0.1:0")
///     .shards(1)
///     .on_connect(|conn| conn.join("lobby"))
///     .on("chat", |conn, msg| {
///         conn.to("lobby").emit("chat", msg.data());
///         Ok(())
///     })
///     .build()?;
/// let handle = engine.handle();
/// let running = engine.start()?;
/// handle.shutdown();
/// running.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    handle: Handle,
    local: SocketAddr,
    process: Arc<Process>,
    app: Arc<App>,
    driver: DriverChoice,
    pin: bool,
    http: Option<HttpHandOff>,
    listeners: Vec<TcpListener>,
    mailboxes: Vec<(Mailbox, MailboxSender)>,
    relay: Option<RelayStart>,
    chore: Option<Chore>,
}

impl Engine {
    pub(super) fn new(
        parts: Parts,
        driver: DriverChoice,
        pin: bool,
        http: Option<HttpHandOff>,
        local: SocketAddr,
        listeners: Vec<TcpListener>,
    ) -> Self {
        let Parts { process, app, mailboxes, relay, chore } = parts;
        let senders = mailboxes.iter().map(|(_, sender)| sender.clone()).collect();
        let handle = Handle::new(Arc::clone(&process), senders);
        Self { handle, local, process, app, driver, pin, http, listeners, mailboxes, relay, chore }
    }

    /// The engine for other threads, valid before it runs and after it has ended.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The address that it listens on, with the port that the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How many shards it has.
    pub fn shards(&self) -> usize {
        self.process.shards
    }

    /// The shards' listeners once more, in their order: for someone who accepts when a
    /// shard does not. They must be closed before a drain, or the port stays open.
    #[cfg(feature = "server")]
    pub(crate) fn clone_listeners(&self) -> io::Result<Vec<TcpListener>> {
        self.listeners.iter().map(TcpListener::try_clone).collect()
    }

    /// Which driver its shards use: never [`DriverKind::Auto`].
    pub fn driver(&self) -> DriverKind {
        self.driver.kind()
    }

    /// Runs until [`Handle::shutdown`], blocking the calling thread.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(self) -> Result<(), RunError> {
        self.start()?.join()
    }

    /// Starts the shards' threads and returns.
    ///
    /// # Errors
    /// [`RunError::Start`] if a thread or a driver cannot be had; those that had
    /// started are ended again.
    pub fn start(self) -> Result<Running, RunError> {
        self.driver.log();
        let handle = self.handle.clone();
        let cores = if self.pin { core_affinity::get_core_ids() } else { None };
        let cores = cores.unwrap_or_default();
        let senders: Vec<_> = self.mailboxes.iter().map(|(_, to)| to.clone()).collect();
        let clock = SystemClock::start();
        let relay = self.relay.map(|relay| relay.spawn(&handle, self.chore.clone())).transpose();
        let relay = relay.map_err(RunError::Start)?;
        let (ready, started) = crossbeam_channel::bounded(self.process.shards);
        let mut threads = Vec::new();
        for (number, (listener, (mailbox, _))) in
            self.listeners.into_iter().zip(self.mailboxes).enumerate()
        {
            let start = ShardStart {
                number,
                core: (!cores.is_empty()).then(|| cores[number % cores.len()]),
                driver: self.driver.kind(),
                uring: self.driver.uring_settings(),
                process: Arc::clone(&self.process),
                app: Arc::clone(&self.app),
                http: self.http.clone(),
                chore: self.chore.clone(),
                listener,
                mailbox,
                senders: senders.clone(),
                clock,
                ready: ready.clone(),
            };
            let thread = thread::Builder::new().name(format!("shard-{number}"));
            let all = handle.clone();
            match thread.spawn(move || start.run_or_end_all(&all)) {
                Ok(thread) => threads.push(thread),
                Err(error) => return Err(abandon(&handle, threads, relay, error)),
            }
        }
        drop(ready);
        for _ in 0..threads.len() {
            if let Ok(Err(error)) = started.recv() {
                return Err(abandon(&handle, threads, relay, error));
            }
        }
        Ok(Running { handle, health: HealthCheck::new(self.process, clock), threads, relay })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("local", &self.local)
            .field("shards", &self.process.shards)
            .finish_non_exhaustive()
    }
}

/// Ends the shards that had started.
fn abandon(
    handle: &Handle,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
    relay: Option<RelayThread>,
    error: io::Error,
) -> RunError {
    handle.shutdown();
    for thread in threads {
        let _ = thread.join();
    }
    let _ = relay.map(RelayThread::join);
    RunError::Start(error)
}

/// A running engine. Dropping this does not stop it: see [`Handle::shutdown`].
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    health: HealthCheck,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
    relay: Option<RelayThread>,
}

impl Running {
    /// The engine for other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Whether its shards turn, for any thread.
    pub fn health_check(&self) -> HealthCheck {
        self.health.clone()
    }

    /// Waits until all shards have ended. If one fails, the others are drained.
    ///
    /// # Errors
    /// [`RunError::Shard`] for the first that failed.
    pub fn join(self) -> Result<(), RunError> {
        let mut result = Ok(());
        for (shard, thread) in self.threads.into_iter().enumerate() {
            let ended = thread.join().unwrap_or_else(|_| {
                Err(RunError::Shard { shard, message: "its thread panicked".to_owned() })
            });
            result = result.and(ended);
        }
        if let Some(relay) = self.relay {
            result = result.and(relay.join().map_err(|message| RunError::Relay { message }));
        }
        result
    }
}
