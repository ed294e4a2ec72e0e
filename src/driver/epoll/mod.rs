//! The driver on epoll, by way of `mio`: edge-triggered, each socket registered
//! once, one receive buffer for all. Knows readiness and hides it.
//!
//! An edge is told only once, so whatever it announced must be remembered until
//! it is used up: an id is listed from its edge until a read or a write has shown
//! that nothing is left, and while anything is listed no wait sleeps. A held
//! connection is not listed; its mark remembers the edge until the hold ends.

mod accept;
mod connection;
mod edge;
mod outgoing;
mod ready;
mod serving;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use std::{io, net::Shutdown, os::fd::AsFd, sync::Arc, time::Duration};

use mio::{Interest, Token, net::TcpStream};

use self::{
    connection::{Connection, flag},
    outgoing::Wire,
    serving::Step,
    state::list,
};
use super::{Detached, Driver, Event, Gone, Waker, unsent::bytes_in_socket};
use crate::{
    batch::{Sending, Slice},
    id::ConnId,
};

pub use self::{settings::EpollSettings, state::EpollDriver};

impl Driver for EpollDriver {
    type Socket = TcpStream;

    fn attach(&mut self, id: ConnId, mut socket: TcpStream) -> io::Result<()> {
        debug_assert!(id.shard() != u8::MAX, "shard 255 is reserved");
        let token = Token(id.to_u64() as usize);
        self.poll.registry().register(
            &mut socket,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.table.insert(Connection::new(id, socket));
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = self.allowed_wait(timeout);
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => self.note_events(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.ready.begin_turn();
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.on_turn();
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event<'_, TcpStream>> {
        Some(match self.step()? {
            Step::Accepted(socket, peer) => Event::Accepted { socket, peer },
            Step::Data(id, len) => Event::Data(id, &mut self.received[..len]),
            Step::Sent(id) => Event::Sent(id),
            Step::Gone(id, why) => Event::Gone(id, why),
        })
    }

    fn hold_data(&mut self, hold: bool) {
        self.held = hold;
    }

    fn hold(&mut self, id: ConnId, hold: bool) {
        let Some(connection) = self.table.find(id) else { return };
        let was_held = connection.flags.take(flag::HELD);
        if hold {
            connection.flags.set(flag::HELD);
        }
        self.holds = self.holds + usize::from(hold) - usize::from(was_held);
        list(connection, &mut self.ready, &mut self.urgent);
    }

    fn unsent_bytes(&mut self, id: ConnId) -> usize {
        let Some(connection) = self.table.find(id) else { return 0 };
        let with_driver = connection.tail.as_ref().map_or(0, |tail| tail.len());
        with_driver + bytes_in_socket(connection.stream.as_fd())
    }

    fn send(&mut self, id: ConnId, batch: &[Slice<'_>]) -> Sending {
        let Some(connection) = self.table.find(id) else { return Sending::Done };
        debug_assert!(connection.tail.is_none(), "a batch of {id:?} is still pending");
        if connection.failure.is_some() {
            return Sending::Done;
        }
        if let Some(tail) = &mut connection.tail {
            tail.keep(batch, 0);
            return Sending::Pending;
        }
        match outgoing::send(&mut Wire(&connection.stream), batch, &mut self.gather) {
            Ok(None) => Sending::Done,
            Ok(tail) => {
                connection.tail = tail;
                Sending::Pending
            }
            Err(error) => {
                connection.fail(Gone::from(&error));
                list(connection, &mut self.ready, &mut self.urgent);
                Sending::Done
            }
        }
    }

    fn shutdown(&mut self, id: ConnId) {
        let Some(connection) = self.table.find(id) else { return };
        debug_assert!(connection.tail.is_none(), "a batch of {id:?} is still pending");
        // It fails only if the connection is gone, which is reported by itself.
        let _ = connection.stream.shutdown(Shutdown::Write);
    }

    fn close(&mut self, id: ConnId) {
        // Closing the descriptor also ends its registration: it has no duplicate.
        drop(self.forget(id));
    }

    fn detach(&mut self, id: ConnId) -> Option<Detached<TcpStream>> {
        let mut socket = self.forget(id)?.stream;
        // It fails only if the socket is not registered, which is what is wanted.
        let _ = self.poll.registry().deregister(&mut socket);
        Some(Detached { socket, unread: Vec::new() })
    }

    fn has_unread(&mut self, id: ConnId) -> bool {
        let Some(connection) = self.table.find(id) else { return false };
        rustix::io::ioctl_fionread(&connection.stream).is_ok_and(|bytes| bytes > 0)
    }

    fn has_sent_all(&mut self) -> bool {
        true
    }

    fn stop_accepting(&mut self) {
        self.acceptor = None;
    }

    fn waker(&self) -> Waker {
        let waker = Arc::clone(&self.waker);
        Waker::new(move || {
            // The eventfd cannot fail while the driver or this handle lives.
            let _ = waker.wake();
        })
    }
}
