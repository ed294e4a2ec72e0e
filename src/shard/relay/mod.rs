//! Where shards meet the relay: its mailbox (`outgoing`), what it gives the shards
//! (`inlet`), and its thread. Knows no broker.

mod inlet;
mod outgoing;

use std::{
    cell::RefCell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tracing::error;

use self::inlet::ShardInlet;
pub(super) use self::outgoing::{RelayMailbox, RelaySender, relay_mailbox};
use super::{
    clock::{Clock, SystemClock},
    handle::Handle,
    housekeeping::{Chore, Housekeeping},
};
use crate::relay::{Exchange, Relay};

/// A relay that is about to run, and its mailbox.
pub(super) struct RelayStart {
    pub(super) relay: Box<dyn Relay>,
    pub(super) mailbox: RelayMailbox,
}

/// A relay that runs.
#[derive(Debug)]
pub(super) struct RelayThread {
    sender: Arc<RelaySender>,
    thread: JoinHandle<Result<(), String>>,
}

impl RelayStart {
    /// Starts its thread. If the relay panics, the engine is drained.
    pub(super) fn spawn(self, handle: &Handle, chore: Option<Chore>) -> io::Result<RelayThread> {
        let Self { relay, mailbox } = self;
        let sender = mailbox.sender();
        let node = handle.process().node;
        let inlet = Arc::new(ShardInlet::new(handle.clone(), mailbox.sender()));
        let credits = Arc::clone(&inlet);
        let clock = SystemClock::start();
        let housekeeping = RefCell::new(Housekeeping::new(chore));
        let before_taking = move || {
            credits.send_credits();
            housekeeping.borrow_mut().on_turn(clock.now().since_start_ms);
        };
        let outgoing = Box::new(mailbox.before_taking(before_taking));
        let exchange = Exchange { outgoing, inlet, node };
        let all = handle.clone();
        let run = move || {
            let ran = catch_unwind(AssertUnwindSafe(|| relay.run(exchange)));
            ran.map_err(|_| {
                error!("the relay panicked: the engine is shut down");
                all.shutdown();
                "its thread panicked".to_owned()
            })
        };
        let thread = thread::Builder::new().name("relay".to_owned()).spawn(run)?;
        Ok(RelayThread { sender, thread })
    }
}

impl RelayThread {
    /// Waits until it has sent what the shards, which have ended, had for it.
    pub(super) fn join(self) -> Result<(), String> {
        self.sender.end();
        self.thread.join().unwrap_or_else(|_| Err("its thread panicked".to_owned()))
    }
}
