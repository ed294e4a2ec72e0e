//! One connection's state: its socket, the phase it is in, a frame that has
//! arrived in part, bytes that could not yet be sent. Nothing else is kept per
//! connection, so that ten thousand cost little beside their sockets.

use super::Loss;
use crate::limits::UNSENT_BYTES;
use mio::Registry;
use mio::net::TcpStream;
use std::io::{self, Read, Write};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// TCP is being connected.
    Dialling,
    /// The request is sent, the answer not yet read.
    Upgrading,
    /// Messages flow.
    Open,
    /// A close frame was sent; the server's has not come.
    Leaving,
    /// A close frame has come; the server's end of stream has not.
    Closing,
    /// Of no more use; the socket is closed.
    Lost,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: Option<TcpStream>,
    pub(super) phase: Phase,
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

/// What a read brought.
pub(super) enum Arrival {
    /// So many bytes are in the buffer, those held back before included.
    Bytes(usize),
    /// As [`Arrival::Bytes`], and the socket may hold more.
    Full(usize),
    /// Nothing for now.
    Empty,
}

impl Link {
    /// A connection on its way.
    pub(super) fn dialling(stream: TcpStream) -> Self {
        Self {
            stream: Some(stream),
            phase: Phase::Dialling,
            partial: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// A connection that never came to be.
    pub(super) fn lost() -> Self {
        Self { stream: None, phase: Phase::Lost, partial: Vec::new(), unsent: Vec::new() }
    }

    /// Whether TCP is connected by now.
    pub(super) fn connected(&self) -> io::Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads once into `buffer`, behind what was held back.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Arrival, Loss> {
        let Some(stream) = &mut self.stream else {
            return Ok(Arrival::Empty);
        };
        let held = self.partial.len();
        match stream.read(&mut buffer[held..]) {
            Ok(0) => Err(Loss::Ended),
            Ok(count) => {
                buffer[..held].copy_from_slice(&self.partial);
                self.partial = Vec::new();
                let filled = held + count;
                if filled == buffer.len() {
                    Ok(Arrival::Full(filled))
                } else {
                    Ok(Arrival::Bytes(filled))
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Arrival::Empty),
            Err(error) => Err(error.into()),
        }
    }

    /// Holds back what is not yet a whole frame.
    pub(super) fn hold(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
    }

    /// Sends what it can of `bytes` and keeps the rest.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Loss> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let sent = if self.unsent.is_empty() { write_some(stream, bytes)? } else { 0 };
        let rest = &bytes[sent..];
        if self.unsent.len() + rest.len() > UNSENT_BYTES {
            return Err(Loss::Broken("the server does not read".to_owned()));
        }
        self.unsent.extend_from_slice(rest);
        Ok(())
    }

    /// Goes on with what was kept by [`Link::send`].
    pub(super) fn flush(&mut self) -> Result<(), Loss> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if self.unsent.is_empty() {
            return Ok(());
        }
        let sent = write_some(stream, &self.unsent)?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(())
    }

    /// Bytes that are kept until the socket takes them.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Wants no more events of the socket.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.as_mut().map_or(Ok(()), |stream| registry.deregister(stream))
    }

    /// Closes the socket and frees the buffers.
    pub(super) fn end(&mut self) {
        *self = Self::lost();
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Loss> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}
