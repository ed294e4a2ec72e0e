//! One shard's thread, from its start to its end. The kind of driver is matched
//! once, here; everything behind it is generic.

use std::{
    cell::RefCell,
    io,
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use tracing::{error, info, warn};

use super::{
    adopt::{blocking, nonblocking},
    clock::{Clock, SystemClock},
    driver_kind::DriverKind,
    error::RunError,
    handle::Handle,
    housekeeping::{Chore, Housekeeping},
    mailbox::{Mailbox, MailboxSender, MailboxSenders},
    parts::{HttpHandOff, PlainRequest},
    query::mark_as_shard,
    turn::{HandOff, Shard, ToDriverSocket, TurnLimits},
};
use crate::{
    driver::{
        Driver,
        epoll::{EpollDriver, EpollSettings},
        uring::{UringDriver, UringSettings},
    },
    engine::{App, Process, ShardEngine},
};

/// What a shard's thread needs to begin.
pub(super) struct ShardStart {
    pub(super) number: usize,
    pub(super) core: Option<core_affinity::CoreId>,
    pub(super) driver: DriverKind,
    pub(super) uring: UringSettings,
    pub(super) process: Arc<Process>,
    pub(super) app: Arc<App>,
    pub(super) http: Option<HttpHandOff>,
    pub(super) chore: Option<Chore>,
    pub(super) listener: TcpListener,
    pub(super) mailbox: Mailbox,
    pub(super) senders: Vec<MailboxSender>,
    pub(super) clock: SystemClock,
    pub(super) ready: crossbeam_channel::Sender<io::Result<()>>,
}

impl ShardStart {
    /// A shard that fails must not leave half a server behind: the others are
    /// drained.
    pub(super) fn run_or_end_all(self, all: &Handle) -> Result<(), RunError> {
        let (shard, process) = (self.number, Arc::clone(&self.process));
        let ended = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
            Err(RunError::Shard { shard, message: "its thread panicked".to_owned() })
        });
        if ended.is_err() {
            process.drain.quiesce(shard as u8);
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
        if self.driver != DriverKind::Uring {
            return self.run_on_epoll();
        }
        // A refused ring takes its listener along.
        let driver = self
            .listener
            .try_clone()
            .and_then(|listener| UringDriver::new(Some(listener), &self.uring));
        match driver {
            Ok(driver) => self.run_on(driver, Box::new(blocking), true),
            Err(error) => {
                warn!(shard = self.number, %error, "no io_uring for this shard: it runs on epoll");
                self.run_on_epoll()
            }
        }
    }

    fn run_on_epoll(self) -> Result<(), RunError> {
        let listener = self.listener.try_clone();
        let settings = EpollSettings::default();
        match listener.and_then(|listener| EpollDriver::new(Some(listener), &settings)) {
            Ok(driver) => self.run_on(driver, Box::new(nonblocking), false),
            Err(error) => {
                let _ = self.ready.send(Err(io::Error::new(error.kind(), error.to_string())));
                Err(RunError::Start(error))
            }
        }
    }

    fn run_on<D: Driver>(
        self,
        driver: D,
        to_driver_socket: ToDriverSocket<D::Socket>,
        sockets_block: bool,
    ) -> Result<(), RunError>
    where
        OwnedFd: From<D::Socket>,
    {
        // The driver has its own; it stops accepting when that is closed.
        drop(self.listener);
        let senders = MailboxSenders::new(self.senders);
        let turn = TurnLimits::of(&self.process.limits);
        let engine = ShardEngine::new(self.number as u8, self.process, self.app, self.clock.now());
        let plain = PlainRequests::default();
        let hand_off = self.http.is_some().then(|| collect(Rc::clone(&plain), sockets_block));
        let mut shard = Shard::new(engine, driver, self.mailbox, senders, hand_off, turn);
        shard.to_driver_socket = Some(to_driver_socket);
        let _ = self.ready.send(Ok(()));
        let mut end_turn = || {
            let requests = plain.take();
            if let Some(http) = &self.http
                && !requests.is_empty()
            {
                http(requests);
            }
        };
        let housekeeping = Housekeeping::new(self.chore);
        let ended = drive(&mut shard, &self.clock, housekeeping, &mut end_turn);
        ended.map_err(|error| {
            error!(shard = self.number, %error, "the shard's driver failed");
            RunError::Shard { shard: self.number, message: error.to_string() }
        })
    }
}

/// The plain requests of the present turn.
type PlainRequests = Rc<RefCell<Vec<PlainRequest>>>;

/// Collects sockets as std's, which do not block.
fn collect<S>(requests: PlainRequests, sockets_block: bool) -> HandOff<S>
where
    OwnedFd: From<S>,
{
    Box::new(move |socket, read| {
        let socket = TcpStream::from(OwnedFd::from(socket));
        if sockets_block {
            // It fails only for descriptors that are none.
            let _ = socket.set_nonblocking(true);
        }
        requests.borrow_mut().push(PlainRequest { socket, read });
    })
}

/// Turns until the shard is drained or has had the time for it.
fn drive<D: Driver>(
    shard: &mut Shard<D>,
    clock: &impl Clock,
    mut housekeeping: Housekeeping,
    end_turn: &mut impl FnMut(),
) -> io::Result<()> {
    loop {
        shard.turn(clock)?;
        end_turn();
        if let Some(wait) = housekeeping.on_turn(shard.began_ms()) {
            shard.wake_by(wait);
        }
        if !shard.is_ending() {
            continue;
        }
        let time_left = shard.engine.drain().time_left(clock.now().since_start_ms);
        if shard.engine.is_drained() && shard.driver.has_sent_all() {
            return Ok(());
        }
        if time_left.is_zero() {
            match shard.engine.connection_count() {
                0 => {}
                left => info!(left, "the drain's time is over; connections were cut off"),
            }
            return Ok(());
        }
        shard.wake_by(time_left);
    }
}
