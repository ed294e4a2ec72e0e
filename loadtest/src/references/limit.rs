//! What no server goes below that makes the same system calls: one epoll,
//! edge-triggered and registered once, one receive buffer for all, and only
//! `recv` and `send` in between.
//!
//! * Echo: requests are counted by their length, which is known beforehand,
//!   neither parsed nor unmasked, and answered by as many frames in one send.
//! * Broadcast: messages are counted likewise over a whole round of events, and
//!   every client gets as many frames in one send.
//! * Fan-out: a publication is read (once, not once per member) and its frame
//!   sent in a bare loop over the members' sockets.

use super::frames::{self, BINARY, CLOSE, TEXT};
use super::speech::{self, Wish};
use super::upgrade;
use crate::stamp;
use anyhow::{Result, ensure};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net;

/// The token of the listener; connections have those below.
const LISTENER: Token = Token(usize::MAX);

/// The one receive buffer, as large as that of uSockets.
const RECEIVE_BYTES: usize = 512 * 1024;

/// Answers that lie ready for one send, in bytes at least.
const READY_BYTES: usize = 64 * 1024;

/// Bytes that may wait for a client that does not read.
const UNSENT_BYTES: usize = 64 << 20;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It has not yet asked for an upgrade.
    Unknown,
    /// Raw messages of a known length.
    Echo,
    /// Broadcasts of a known length.
    Broadcast,
    /// The `pubsub` dialect.
    Rooms,
}

struct Connection {
    stream: TcpStream,
    purpose: Use,
    /// Bytes of a request that has not arrived in full, if they are counted.
    counted: usize,
    /// The bytes themselves, if they are read.
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

/// Frames of one kind, as many as one send may need.
struct Repeated {
    frame: Vec<u8>,
    many: Vec<u8>,
    /// The length of the request that asks for one.
    request_bytes: usize,
}

impl Repeated {
    fn new(frame: Vec<u8>, request_bytes: usize) -> Self {
        let many = frame.repeat(READY_BYTES.div_ceil(frame.len()));
        Self { frame, many, request_bytes }
    }

    /// `count` frames in a row.
    fn times(&mut self, count: usize) -> &[u8] {
        let bytes = count * self.frame.len();
        while self.many.len() < bytes {
            self.many.extend_from_slice(&self.frame);
        }
        &self.many[..bytes]
    }
}

struct Limit {
    connections: Vec<Option<Connection>>,
    rooms: HashMap<String, Vec<usize>>,
    echo: Repeated,
    broadcast: Repeated,
    broadcast_only: bool,
    /// Broadcasts that arrived in this round of events.
    broadcasts: usize,
    buffer: Vec<u8>,
}

/// Serves for ever. Raw messages have `size` bytes; with `broadcast_only` all
/// others are broadcasts of `size` bytes.
pub(super) fn serve(listener: net::TcpListener, size: usize, broadcast_only: bool) -> Result<()> {
    let mut poll = Poll::new()?;
    super::listener::announce(&listener)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut limit = Limit::new(size, broadcast_only);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => limit.accept(&listener, &poll)?,
                Token(index) => {
                    if event.is_writable() {
                        limit.send(index, &[]);
                    }
                    if event.is_readable() {
                        limit.read(index);
                    }
                }
            }
        }
        limit.answer_broadcasts();
    }
}

impl Limit {
    fn new(size: usize, broadcast_only: bool) -> Self {
        let mut answer = Vec::new();
        frames::append(BINARY, &stamp::payload(size), &mut answer);
        let echo = Repeated::new(answer, frames::masked_bytes(size));
        let data = format!("\"{}\"", "b".repeat(size));
        let mut answer = Vec::new();
        frames::append(TEXT, speech::message(None, &data).as_bytes(), &mut answer);
        let request = format!(r#"{{"type":"broadcast","data":{data}}}"#);
        let broadcast = Repeated::new(answer, frames::masked_bytes(request.len()));
        Self {
            connections: Vec::new(),
            rooms: HashMap::new(),
            echo,
            broadcast,
            broadcast_only,
            broadcasts: 0,
            buffer: vec![0; RECEIVE_BYTES],
        }
    }

    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            // The place of one that ended is not taken again: this server lives
            // for one run.
            let index = self.connections.len();
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(index), both)?;
            let connection = Connection {
                stream,
                purpose: Use::Unknown,
                counted: 0,
                partial: Vec::new(),
                unsent: Vec::new(),
            };
            self.connections.push(Some(connection));
        }
    }

    /// Reads until the socket is empty, which a short read shows.
    fn read(&mut self, index: usize) {
        loop {
            let Some(connection) = &mut self.connections[index] else {
                return;
            };
            let count = match connection.stream.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => 0,
            };
            let taken = match (count, connection.purpose) {
                (0, _) => return self.end(index),
                (_, Use::Echo) => {
                    let bytes = connection.counted + count;
                    let requests = bytes / self.echo.request_bytes;
                    connection.counted = bytes % self.echo.request_bytes;
                    send(connection, self.echo.times(requests))
                }
                (_, Use::Broadcast) => {
                    let bytes = connection.counted + count;
                    self.broadcasts += bytes / self.broadcast.request_bytes;
                    connection.counted = bytes % self.broadcast.request_bytes;
                    Ok(())
                }
                (_, Use::Unknown) => self.upgrade(index, count),
                (_, Use::Rooms) => self.converse(index, count),
            };
            if taken.is_err() {
                return self.end(index);
            }
            if count < self.buffer.len() {
                return;
            }
        }
    }

    fn upgrade(&mut self, index: usize, count: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        connection.partial.extend_from_slice(&self.buffer[..count]);
        let Some(upgrade) = upgrade::accept(&connection.partial)? else {
            return Ok(());
        };
        connection.partial = Vec::new();
        connection.purpose = match upgrade.is_raw {
            true => Use::Echo,
            false if self.broadcast_only => Use::Broadcast,
            false => Use::Rooms,
        };
        let mut answer = upgrade.response;
        if !upgrade.is_raw {
            frames::append(TEXT, speech::GREETING.as_bytes(), &mut answer);
        }
        send(connection, &answer)
    }

    /// Reads frames; rare beside what is sent for each.
    fn converse(&mut self, index: usize, count: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        let mut bytes = std::mem::take(&mut connection.partial);
        bytes.extend_from_slice(&self.buffer[..count]);
        let mut at = 0;
        while let Some(frame) = frames::next(&mut bytes[at..])? {
            let payload = &bytes[at + frame.payload.start..at + frame.payload.end];
            match frame.first {
                TEXT => self.obey(index, payload),
                CLOSE => {
                    let mut answer = Vec::new();
                    frames::append(CLOSE, payload, &mut answer);
                    self.send(index, &answer);
                }
                _ => {}
            }
            at += frame.payload.end;
        }
        if at < bytes.len()
            && let Some(connection) = &mut self.connections[index]
        {
            connection.partial = bytes.split_off(at);
        }
        Ok(())
    }

    fn obey(&mut self, index: usize, text: &[u8]) {
        let mut frame = Vec::new();
        let mut say = |text: &str| frames::append(TEXT, text.as_bytes(), &mut frame);
        match speech::read(text) {
            Wish::Publish(room, data) => {
                say(&speech::message(Some(&room), data));
                let members = self.rooms.get(&*room).map_or(&[][..], Vec::as_slice);
                for member in members {
                    send_to(&mut self.connections, *member, &frame);
                }
            }
            Wish::Broadcast(data) => {
                say(&speech::message(None, data));
                for member in 0..self.connections.len() {
                    send_to(&mut self.connections, member, &frame);
                }
            }
            Wish::Subscribe(room) => {
                say(&speech::subscribed(&room));
                self.rooms.entry(room.into_owned()).or_default().push(index);
                self.send(index, &frame);
            }
            Wish::Unsubscribe(room) => {
                say(&speech::unsubscribed(&room));
                if let Some(members) = self.rooms.get_mut(&*room) {
                    members.retain(|member| *member != index);
                }
                self.send(index, &frame);
            }
            Wish::Other => {}
        }
    }

    /// Sends every client the broadcasts of this round.
    fn answer_broadcasts(&mut self) {
        let count = std::mem::take(&mut self.broadcasts);
        if count == 0 {
            return;
        }
        let frames = self.broadcast.times(count);
        for index in 0..self.connections.len() {
            let connection = &self.connections[index];
            if connection.as_ref().is_some_and(|it| it.purpose == Use::Broadcast) {
                send_to(&mut self.connections, index, frames);
            }
        }
    }

    fn send(&mut self, index: usize, bytes: &[u8]) {
        send_to(&mut self.connections, index, bytes);
    }

    fn end(&mut self, index: usize) {
        self.connections[index] = None;
        for members in self.rooms.values_mut() {
            members.retain(|member| *member != index);
        }
    }
}

/// Sends to connection `index`, if it is still there. One that fails is found
/// out by its next event.
fn send_to(connections: &mut [Option<Connection>], index: usize, bytes: &[u8]) {
    if let Some(connection) = &mut connections[index]
        && send(connection, bytes).is_err()
    {
        connections[index] = None;
    }
}

/// Sends what it can, first of what waits, and keeps the rest.
fn send(connection: &mut Connection, bytes: &[u8]) -> Result<()> {
    let Connection { stream, unsent, .. } = connection;
    if unsent.is_empty() {
        let sent = write(stream, bytes)?;
        unsent.extend_from_slice(&bytes[sent..]);
    } else {
        unsent.extend_from_slice(bytes);
        let sent = write(stream, unsent)?;
        unsent.drain(..sent);
    }
    ensure!(unsent.len() <= UNSENT_BYTES, "a client does not read");
    Ok(())
}

/// A short write has filled the socket.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match stream.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}
