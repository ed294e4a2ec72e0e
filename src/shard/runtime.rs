//! Threads: one for each shard, bound to its core, and the way in which they
//! start and end together.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tracing::{error, info};

use super::{
    builder::{Builder, DriverKind, HttpHandOff, Parts},
    clock::SystemClock,
    handle::Handle,
    mailbox::{Address, Mailbox, Post},
    query::mark_as_shard,
    turn::{Clock, HandOff, Shard, TurnLimits},
};
use crate::{
    driver::{
        Driver,
        epoll::{EpollDriver, EpollSettings},
    },
    engine::{App, Process, ShardEngine},
};

/// Why an engine ended otherwise than by [`Handle::shutdown`].
#[derive(Debug)]
pub enum RunError {
    /// A shard's thread or driver could not be set up.
    Start(io::Error),
    /// A shard's driver failed, or its thread panicked; the others were drained.
    Shard {
        /// Which.
        shard: usize,
        /// What happened.
        message: String,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "a shard could not be started: {error}"),
            Self::Shard { shard, message } => write!(f, "shard {shard} failed: {message}"),
        }
    }
}

impl std::error::Error for RunError {}

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
    driver: DriverKind,
    pin: bool,
    http: Option<HttpHandOff>,
    listeners: Vec<TcpListener>,
    mailboxes: Vec<(Mailbox, Address)>,
}

impl Engine {
    /// An engine with default settings and no handlers.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(
        parts: Parts,
        driver: DriverKind,
        pin: bool,
        http: Option<HttpHandOff>,
        local: SocketAddr,
        listeners: Vec<TcpListener>,
    ) -> Self {
        let Parts { process, app, mailboxes } = parts;
        let addresses = mailboxes.iter().map(|(_, address)| address.clone()).collect();
        let handle = Handle::new(Arc::clone(&process), addresses);
        Self { handle, local, process, app, driver, pin, http, listeners, mailboxes }
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

    /// Which driver its shards use.
    pub fn driver(&self) -> DriverKind {
        match self.driver {
            DriverKind::Auto | DriverKind::Epoll => DriverKind::Epoll,
        }
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
        let handle = self.handle.clone();
        let cores = if self.pin { core_affinity::get_core_ids() } else { None };
        let cores = cores.unwrap_or_default();
        let addresses: Vec<_> = self.mailboxes.iter().map(|(_, to)| to.clone()).collect();
        let clock = SystemClock::start();
        let (ready, started) = crossbeam_channel::bounded(self.process.shards);
        let mut threads = Vec::new();
        for (number, (listener, (mailbox, _))) in
            self.listeners.into_iter().zip(self.mailboxes).enumerate()
        {
            let start = ShardStart {
                number,
                core: (!cores.is_empty()).then(|| cores[number % cores.len()]),
                process: Arc::clone(&self.process),
                app: Arc::clone(&self.app),
                http: self.http.clone(),
                listener,
                mailbox,
                addresses: addresses.clone(),
                clock,
                ready: ready.clone(),
            };
            let thread = thread::Builder::new().name(format!("shard-{number}"));
            let all = handle.clone();
            match thread.spawn(move || start.run_or_end_all(&all)) {
                Ok(thread) => threads.push(thread),
                Err(error) => return Err(abandon(&handle, threads, error)),
            }
        }
        drop(ready);
        for _ in 0..threads.len() {
            if let Ok(Err(error)) = started.recv() {
                return Err(abandon(&handle, threads, error));
            }
        }
        Ok(Running { handle, threads })
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
    error: io::Error,
) -> RunError {
    handle.shutdown();
    for thread in threads {
        let _ = thread.join();
    }
    RunError::Start(error)
}

/// A running engine. Dropping this does not stop it: see [`Handle::shutdown`].
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
}

impl Running {
    /// The engine for other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
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
        result
    }
}

/// What a shard's thread needs to begin.
struct ShardStart {
    number: usize,
    core: Option<core_affinity::CoreId>,
    process: Arc<Process>,
    app: Arc<App>,
    http: Option<HttpHandOff>,
    listener: TcpListener,
    mailbox: Mailbox,
    addresses: Vec<Address>,
    clock: SystemClock,
    ready: crossbeam_channel::Sender<io::Result<()>>,
}

impl ShardStart {
    /// A shard that fails must not leave half a server behind: the others are
    /// drained.
    fn run_or_end_all(self, all: &Handle) -> Result<(), RunError> {
        let (shard, process) = (self.number, Arc::clone(&self.process));
        let ended = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
            Err(RunError::Shard { shard, message: "its thread panicked".to_owned() })
        });
        if ended.is_err() {
            process.admission.quiesce(shard as u8);
            all.shutdown();
        }
        ended
    }

    fn run(self) -> Result<(), RunError> {
        mark_as_shard();
        if let Some(core) = self.core
            && !core_affinity::set_for_current(core)
        {
            info!(shard = self.number, core = core.id, "the thread could not be bound to its core");
        }
        let driver = match EpollDriver::new(Some(self.listener), &EpollSettings::default()) {
            Ok(driver) => driver,
            Err(error) => {
                let _ = self.ready.send(Err(io::Error::new(error.kind(), error.to_string())));
                return Err(RunError::Start(error));
            }
        };
        let limits = &self.process.limits;
        let post = Post::new(self.addresses, limits.overflow_messages);
        let turn = TurnLimits { mails: limits.mails_per_turn, events: limits.events_per_turn };
        let drain_timeout = limits.drain_timeout;
        let engine = ShardEngine::new(self.number as u8, self.process, self.app, self.clock.now());
        let hand_off = self.http.map(|take| -> HandOff<mio::net::TcpStream> {
            Box::new(move |socket, bytes| {
                let take = || take(TcpStream::from(OwnedFd::from(socket)), bytes);
                // Foreign code: its panic costs this connection, not the shard.
                if catch_unwind(AssertUnwindSafe(take)).is_err() {
                    error!("the HTTP hand-off panicked; the connection is closed");
                }
            })
        });
        let mut shard = Shard::new(engine, driver, self.mailbox, post, hand_off, turn);
        let _ = self.ready.send(Ok(()));
        let ended = drive(&mut shard, &self.clock, drain_timeout);
        ended.map_err(|error| {
            error!(shard = self.number, %error, "the shard's driver failed");
            RunError::Shard { shard: self.number, message: error.to_string() }
        })
    }
}

/// Turns until the shard is drained or has had the time for it.
fn drive<D: Driver>(
    shard: &mut Shard<D>,
    clock: &impl Clock,
    drain_timeout: std::time::Duration,
) -> io::Result<()> {
    let mut drain_until = None;
    loop {
        shard.turn(clock)?;
        if !shard.is_ending() {
            continue;
        }
        let now = clock.now().since_start_ms;
        let timeout = drain_timeout.as_millis() as u64;
        let until = *drain_until.get_or_insert(now.saturating_add(timeout));
        if shard.engine.is_drained() && !shard.has_waiting_mail() {
            return Ok(());
        }
        if now >= until {
            let left = shard.engine.connection_count();
            info!(left, "the drain's time is over; connections were cut off");
            return Ok(());
        }
        shard.wake_by(std::time::Duration::from_millis(until - now));
    }
}
