//! A bare loop that accepts, reads, writes and closes: what connections that come
//! and go cost before anything is done about them. The first answer upgrades, the
//! last closes; in between nothing is parsed, checked or kept.

use super::frames::{self, CLOSE, TEXT};
use super::speech;
use super::upgrade;
use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net;

/// The token of the listener; connections have those below.
const LISTENER: Token = Token(usize::MAX);

/// A request, whole: what a client says at once.
const RECEIVE_BYTES: usize = 16 * 1024;

/// The status that a client leaves with, 1000.
const NORMAL: [u8; 2] = [0x03, 0xE8];

struct Connection {
    stream: TcpStream,
    /// How many answers it has got.
    answered: usize,
}

struct Bare {
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// One for each thing that a client says, in this order. The first is made of
    /// the first request; those of one run are alike.
    answers: Vec<Vec<u8>>,
    greeting: Vec<u8>,
    buffer: Vec<u8>,
}

/// Serves for ever. With `subscribe` each client is greeted and says one thing
/// more than an upgrade and a close.
pub(super) fn serve(listener: net::TcpListener, subscribe: bool) -> Result<()> {
    let mut poll = Poll::new()?;
    super::listener::announce(&listener)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut bare = Bare::new(subscribe);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => bare.accept(&listener, &poll)?,
                Token(index) => bare.answer(index)?,
            }
        }
    }
}

impl Bare {
    fn new(subscribe: bool) -> Self {
        let frame = |first, payload: &[u8]| {
            let mut frame = Vec::new();
            frames::append(first, payload, &mut frame);
            frame
        };
        let close = frame(CLOSE, &NORMAL);
        let subscribed = frame(TEXT, speech::subscribed("load-0").as_bytes());
        let greeting = frame(TEXT, speech::GREETING.as_bytes());
        Self {
            connections: Vec::new(),
            free: Vec::new(),
            answers: if subscribe {
                vec![Vec::new(), subscribed, close]
            } else {
                vec![Vec::new(), close]
            },
            greeting: if subscribe { greeting } else { Vec::new() },
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
            let index = self.free.pop().unwrap_or(self.connections.len());
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            let connection = Some(Connection { stream, answered: 0 });
            if index == self.connections.len() {
                self.connections.push(connection);
            } else {
                self.connections[index] = connection;
            }
        }
    }

    /// Reads what a client said and gives the answer that is due.
    fn answer(&mut self, index: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        let count = match connection.stream.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => 0,
        };
        if count > 0 && self.answers[0].is_empty() {
            let Some(upgrade) = upgrade::accept(&self.buffer[..count])? else {
                return Ok(());
            };
            self.answers[0] = [upgrade.response, std::mem::take(&mut self.greeting)].concat();
        }
        let answer = self.answers.get(connection.answered).filter(|_| count > 0);
        let is_written = answer.is_some_and(|answer| connection.stream.write(answer).is_ok());
        connection.answered += 1;
        if !is_written || connection.answered == self.answers.len() {
            self.connections[index] = None;
            self.free.push(index);
        }
        Ok(())
    }
}
