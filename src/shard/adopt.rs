//! Sockets that come from outside: accepted by another HTTP server, handed over by
//! another process, or handed out by a shard for a plain request and back for an
//! upgrade. Knows how a driver wants its sockets; not what is said on them.

use std::{io, net::TcpStream, os::fd::OwnedFd};

use super::{error::SendError, handle::Handle, turn::Shard};
use crate::{
    driver::Driver,
    engine::{Adopted, Mail},
};

/// For a driver that is told when a socket is ready.
pub(super) fn nonblocking(socket: OwnedFd) -> io::Result<mio::net::TcpStream> {
    let socket = TcpStream::from(socket);
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    Ok(mio::net::TcpStream::from_std(socket))
}

/// For a driver whose kernel waits in the place of the socket.
pub(super) fn blocking(socket: OwnedFd) -> io::Result<TcpStream> {
    let socket = TcpStream::from(socket);
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

impl Handle {
    /// Serves a WebSocket connection that another listener accepted, of which
    /// `unread` has been read: from the first byte of the upgrade request on, whole
    /// or in part, frames behind it included. To the engine it is as if it had
    /// accepted the socket itself and those bytes had just arrived: it answers the
    /// request, counts the connection for its address, and refuses both as ever. A
    /// request that is no handshake goes where
    /// [`Builder::hand_off_http`](super::Builder::hand_off_http) says.
    ///
    /// Sockets are spread over the shards in turn. One that cannot be served any
    /// more, because the engine shuts down or the peer has left, is closed.
    ///
    /// ```no_run
    /// # let engine = shardcast::Engine::builder().build()?;
    /// let handle = engine.handle();
    /// let listener = std::net::TcpListener::bind("127.0.0.1:8081")?;
    /// for socket in listener.incoming() {
    ///     handle.adopt(socket?, Vec::new())?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SendError::Busy`] if handles may send nothing more to any shard now,
    /// [`SendError::Ended`]; the socket is closed then.
    pub fn adopt(&self, socket: TcpStream, unread: Vec<u8>) -> Result<(), SendError> {
        // It fails only if the peer has left.
        let Ok(peer) = socket.peer_addr() else { return Ok(()) };
        let mail = Mail::Adopt(Box::new(Adopted { socket: socket.into(), peer, unread }));
        let parcel = mail.charged_to_handles();
        let first = self.process().next_adopted();
        let senders = self.senders();
        let mut in_turn =
            (0..senders.len()).map(|number| &senders[first.wrapping_add(number) % senders.len()]);
        let free = in_turn.find(|sender| sender.reserve(parcel.origin, parcel.bytes));
        free.ok_or(SendError::Busy)?.send(parcel).map_err(|_| SendError::Ended)
    }
}

impl<D: Driver> Shard<D> {
    /// Attaches a socket, as one that was just accepted. Dropping it closes it.
    pub(super) fn adopt(&mut self, adopted: Adopted) {
        let Adopted { socket, peer, mut unread } = adopted;
        if self.is_ending() {
            return;
        }
        let Some(Ok(socket)) = self.to_driver_socket.as_mut().map(|convert| convert(socket)) else {
            return;
        };
        let Some(id) = self.engine.on_accepted(peer) else { return };
        if self.driver.attach(id, socket).is_err() {
            self.engine.on_lost(id);
        } else if !unread.is_empty() {
            self.engine.on_data(id, &mut unread);
        }
    }
}
