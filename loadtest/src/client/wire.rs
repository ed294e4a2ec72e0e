//! One connection that blocks, for what a swarm does not do: reading at a given
//! rate, connecting with a deadline, plain HTTP, bytes of any kind. Knows frames,
//! but no dialect and no scenario.

use super::deframe::{Opcode, next_frame};
use super::frame::{self, PONG};
use super::{Loss, Target};
use crate::limits::RESPONSE_HEAD_BYTES;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// What a call that waited in vain is told.
pub(crate) const LATE: &str = "nothing came in time";

/// A connection whose calls wait, each for at most the time it was opened with.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    held: Vec<u8>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sip {
    /// How much was read.
    pub(crate) bytes: usize,
    /// Messages that it completed.
    pub(crate) messages: usize,
    /// The code of the server's Close frame (1005: none given), if it has come.
    pub(crate) closed: Option<u16>,
}

impl Wire {
    /// Connects from the loopback address `from`, with a receive buffer of
    /// `socket_bytes` if that is given. No call waits for longer than `patience`.
    pub(crate) fn connect(
        target: &Target,
        from: Ipv4Addr,
        socket_bytes: Option<usize>,
        patience: Duration,
    ) -> io::Result<Self> {
        let address = target.address();
        let kind = Domain::for_address(address);
        let socket = Socket::new(kind, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = socket_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if address.is_ipv4() {
            socket.bind(&SocketAddr::from((IpAddr::from(from), 0)).into())?;
        }
        socket.connect_timeout(&address.into(), patience)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, held: Vec::new() })
    }

    /// Connects and upgrades at the path of `target`.
    pub(crate) fn open(
        target: &Target,
        from: Ipv4Addr,
        socket_bytes: Option<usize>,
        patience: Duration,
    ) -> Result<Self, Loss> {
        let mut wire = Self::connect(target, from, socket_bytes, patience)?;
        let handshake = target.handshake();
        wire.send(handshake.request())?;
        loop {
            wire.fill(RESPONSE_HEAD_BYTES)?;
            let accepted = handshake.accepted(&wire.held);
            if let Some(length) = accepted.map_err(|it| Loss::Refused(it.to_string()))? {
                wire.held.drain(..length);
                return Ok(wire);
            }
        }
    }

    /// The server's port and this one's; 0 for one that is not known any more.
    pub(crate) fn ports(&self) -> (u16, u16) {
        let port = |address: io::Result<SocketAddr>| address.map_or(0, |address| address.port());
        (port(self.stream.peer_addr()), port(self.stream.local_addr()))
    }

    /// From now on reads wait for at most `patience`.
    pub(crate) fn wait_for(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads at most `most` bytes once, unless a whole frame came with the answer
    /// to the upgrade, and takes whole frames out of what has come. Pings are
    /// answered.
    pub(crate) fn sip(&mut self, most: usize) -> Result<Sip, Loss> {
        let has_frame = matches!(next_frame(&self.held), Ok(Some(_)));
        let bytes = if has_frame { 0 } else { self.fill(most)? };
        let mut at = 0;
        let mut messages = 0;
        let mut closed = None;
        let mut pong = Vec::new();
        loop {
            let next = next_frame(&self.held[at..]);
            let Some((frame, used)) = next.map_err(|fault| Loss::Broken(fault.to_string()))? else {
                break;
            };
            match frame.opcode {
                Opcode::Close => {
                    let code = frame.payload.first_chunk().copied();
                    closed = Some(code.map_or(1005, u16::from_be_bytes));
                }
                Opcode::Ping => frame::append(PONG, frame.payload, &mut pong),
                Opcode::Text | Opcode::Binary => messages += 1,
                Opcode::Pong => {}
            }
            at += used;
        }
        self.held.drain(..at);
        if !pong.is_empty() {
            self.send(&pong)?;
        }
        Ok(Sip { bytes, messages, closed })
    }

    /// The bytes of the answer to an HTTP request that ends the connection.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut answer = (&mut self.stream).take(RESPONSE_HEAD_BYTES as u64);
        answer.read_to_end(&mut all).map_err(named)?;
        Ok(all)
    }

    /// The socket, for those who poll it themselves.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn fill(&mut self, most: usize) -> Result<usize, Loss> {
        let held = self.held.len();
        self.held.resize(held + most, 0);
        let read = self.stream.read(&mut self.held[held..]);
        self.held.truncate(held + read.as_ref().copied().unwrap_or(0));
        match read.map_err(named)? {
            0 => Err(Loss::Ended),
            count => Ok(count),
        }
    }
}

/// A timeout by its own name: the system says that a resource is unavailable.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(error.kind(), LATE),
        _ => error,
    }
}
