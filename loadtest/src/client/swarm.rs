//! The event loop of one client thread: many links, one epoll, one receive
//! buffer. Knows WebSocket, but no dialect and no scenario.

use super::deframe::{Opcode, next_frame};
use super::handshake::Handshake;
use super::link::{Arrival, Link, Phase};
use super::{Loss, Message, Target, Traffic, frame};
use crate::clock::{Alarm, now_ns};
use crate::limits::{READS_PER_TURN, RECEIVE_BYTES};
use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::time::Duration;

/// The token of the alarm; links have those below.
const ALARM: Token = Token(usize::MAX);

/// The code that stands for a close frame without one (RFC 6455 section 7.1.5).
const NO_STATUS: u16 = 1005;

/// The connections of one thread.
///
/// Start them with [`Swarm::dial`], then call [`Swarm::turn`] again and again:
/// each turn waits for events or a deadline and hands what has arrived to the
/// [`Traffic`]. Between turns [`Swarm::send`] writes to any connection. A lost
/// connection keeps its index; sends to it do nothing.
#[derive(Debug)]
pub(crate) struct Swarm {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    /// Servers to connect to, the one of later connections last.
    targets: Vec<(Target, Handshake)>,
    links: Vec<Link>,
    /// The target of each link.
    aims: Vec<usize>,
    /// Connections ever started: each thousand comes from another address.
    dialled: usize,
    unfinished: Vec<usize>,
    buffer: Box<[u8]>,
    reply: Vec<u8>,
    /// The receive buffer of each socket, if not the system's choice.
    socket_bytes: Option<usize>,
}

impl Swarm {
    /// A swarm without connections, aimed at `target`.
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let poll = Poll::new().context("cannot create an epoll")?;
        let alarm = Alarm::new().context("cannot create a timer")?;
        let descriptor = alarm.descriptor();
        poll.registry().register(&mut SourceFd(&descriptor), ALARM, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            alarm,
            targets: vec![(target.clone(), target.handshake())],
            links: Vec::new(),
            aims: Vec::new(),
            dialled: 0,
            unfinished: Vec::new(),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            reply: Vec::new(),
            socket_bytes: None,
        })
    }

    /// Later connections go to `target`.
    pub(crate) fn aim(&mut self, target: &Target) {
        self.targets.push((target.clone(), target.handshake()));
    }

    /// The port of the server that later connections go to.
    pub(crate) fn port(&self) -> u16 {
        self.targets[self.targets.len() - 1].0.address().port()
    }

    /// Connections started so far, lost ones included.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Gives the sockets of later connections receive buffers of `bytes`.
    pub(crate) fn limit_socket(&mut self, bytes: usize) {
        self.socket_bytes = Some(bytes);
    }

    /// Whether connection `index` is upgraded and neither closing nor lost.
    pub(crate) fn is_open(&self, index: usize) -> bool {
        self.links[index].phase == Phase::Open
    }

    /// Bytes that connection `index` could not yet send.
    pub(crate) fn unsent(&self, index: usize) -> usize {
        self.links[index].unsent()
    }

    /// Starts one more connection and gives its index. A failure reaches
    /// `traffic` like that of any other connection.
    pub(crate) fn dial<T: Traffic>(&mut self, traffic: &mut T) -> usize {
        let index = self.links.len();
        self.links.push(Link::lost());
        self.aims.push(0);
        self.redial(index, traffic);
        index
    }

    /// Ends connection `index`, if it has not ended, and starts a new one in
    /// its place.
    pub(crate) fn redial<T: Traffic>(&mut self, index: usize, traffic: &mut T) {
        let number = self.dialled;
        self.dialled += 1;
        let aim = self.targets.len() - 1;
        self.aims[index] = aim;
        let target = &self.targets[aim].0;
        let dialled = target.dial(number, self.socket_bytes).and_then(|mut stream| {
            let both = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            registry.register(&mut stream, Token(index), both)?;
            Ok(stream)
        });
        match dialled {
            Ok(stream) => self.links[index] = Link::dialling(stream),
            Err(error) => {
                self.links[index].end();
                traffic.on_loss(index, error.into());
            }
        }
    }

    /// Writes `frames` to connection `index`, if it is open.
    pub(crate) fn send<T: Traffic>(&mut self, index: usize, frames: &[u8], traffic: &mut T) {
        let link = &mut self.links[index];
        if link.phase == Phase::Open {
            let sent = link.send(frames);
            self.judge_write(index, sent, traffic);
        }
    }

    /// Begins the closing handshake of connection `index` with `code`. Its
    /// answer reaches `traffic` as a [`Loss::Closed`].
    pub(crate) fn leave<T: Traffic>(&mut self, index: usize, code: u16, traffic: &mut T) {
        let mut close = Vec::new();
        frame::append(frame::CLOSE, &code.to_be_bytes(), &mut close);
        self.send(index, &close, traffic);
        let link = &mut self.links[index];
        if link.phase == Phase::Open {
            link.phase = Phase::Leaving;
        }
    }

    /// Closes the socket of connection `index` without a word.
    pub(crate) fn abandon(&mut self, index: usize) {
        self.links[index].end();
    }

    /// Never again looks at connection `index`, which stays open: what the
    /// server sends piles up, and whatever it does then is not seen.
    pub(crate) fn ignore(&mut self, index: usize) -> Result<()> {
        let ignored = self.links[index].deregister(self.poll.registry());
        ignored.context("cannot stop reading a connection")
    }

    /// Waits until something happens or `deadline_ns` is reached, and handles
    /// it. Says whether anything arrived.
    pub(crate) fn turn<T: Traffic>(&mut self, deadline_ns: u64, traffic: &mut T) -> Result<bool> {
        let timeout = self.timeout(deadline_ns)?;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(error).context("cannot wait for events");
            }
            _ => {}
        }
        let mut busy = !self.unfinished.is_empty();
        for index in std::mem::take(&mut self.unfinished) {
            self.read(index, false, traffic);
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in events.iter().filter(|event| event.token() != ALARM) {
            busy = true;
            let index = event.token().0;
            if event.is_writable() || event.is_error() {
                let ready = self.write(index);
                self.judge_write(index, ready, traffic);
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(index, event.is_read_closed(), traffic);
            }
        }
        self.events = events;
        Ok(busy)
    }

    /// Sets the alarm and gives the time to wait, which is longer than the
    /// alarm's: it is there in case the alarm fails.
    fn timeout(&mut self, deadline_ns: u64) -> Result<Duration> {
        let left_ns = deadline_ns.saturating_sub(now_ns());
        if left_ns == 0 || !self.unfinished.is_empty() {
            return Ok(Duration::ZERO);
        }
        self.alarm.set(deadline_ns).context("cannot set the timer")?;
        Ok(Duration::from_nanos(left_ns) + Duration::from_millis(1))
    }

    fn write(&mut self, index: usize) -> Result<(), Loss> {
        let link = &mut self.links[index];
        if link.phase != Phase::Dialling {
            return link.flush();
        }
        if link.connected()? {
            link.phase = Phase::Upgrading;
            link.send(self.targets[self.aims[index]].1.request())?;
        }
        Ok(())
    }

    /// Reads until the socket is empty, but not for ever. A short read has
    /// emptied it, unless its end is to be seen too (`to_end`).
    fn read<T: Traffic>(&mut self, index: usize, to_end: bool, traffic: &mut T) {
        for _ in 0..READS_PER_TURN {
            let (filled, more) = match self.links[index].read(&mut self.buffer) {
                Ok(Arrival::Bytes(filled)) => (filled, to_end),
                Ok(Arrival::Full(filled)) => (filled, true),
                Ok(Arrival::Empty) => return,
                Err(loss) => return self.lose(index, loss, traffic),
            };
            let taken = self.take_in(index, filled, traffic);
            let replied = taken.and_then(|()| self.links[index].send(&self.reply));
            self.reply.clear();
            self.judge(index, replied, traffic);
            if !more {
                return;
            }
        }
        self.unfinished.push(index);
    }

    /// Hands over every whole frame in the buffer and holds back the rest.
    fn take_in<T: Traffic>(
        &mut self,
        index: usize,
        filled: usize,
        traffic: &mut T,
    ) -> Result<(), Loss> {
        let arrived_ns = now_ns();
        let bytes = &self.buffer[..filled];
        let link = &mut self.links[index];
        let mut at = 0;
        if link.phase == Phase::Upgrading {
            let accepted = self.targets[self.aims[index]].1.accepted(bytes);
            let accepted = accepted.map_err(|refusal| Loss::Refused(refusal.to_string()))?;
            let Some(length) = accepted else {
                link.hold(bytes);
                return Ok(());
            };
            at = length;
            link.phase = Phase::Open;
            traffic.on_open(index, &mut self.reply);
        }
        while matches!(link.phase, Phase::Open | Phase::Leaving) {
            let next = next_frame(&bytes[at..]);
            let Some((frame, used)) = next.map_err(|fault| Loss::Broken(fault.to_string()))? else {
                link.hold(&bytes[at..]);
                break;
            };
            at += used;
            let payload = frame.payload;
            match frame.opcode {
                Opcode::Text | Opcode::Binary => {
                    let message = Message { payload, arrived_ns };
                    traffic.on_message(index, message, &mut self.reply);
                }
                Opcode::Ping => frame::append(frame::PONG, payload, &mut self.reply),
                Opcode::Pong => traffic.on_pong(index, Message { payload, arrived_ns }),
                Opcode::Close => {
                    let is_answer = link.phase == Phase::Leaving;
                    link.phase = Phase::Closing;
                    let code = payload.first_chunk().copied();
                    let code = code.map_or(NO_STATUS, u16::from_be_bytes);
                    let echoed = payload.get(..2).unwrap_or_default();
                    if !is_answer {
                        frame::append(frame::CLOSE, echoed, &mut self.reply);
                    }
                    traffic.on_loss(index, Loss::Closed(code));
                }
            }
        }
        Ok(())
    }

    /// A failed write may be the consequence of a close that has arrived but
    /// was not yet read: what the server said last counts.
    fn judge_write<T: Traffic>(&mut self, index: usize, result: Result<(), Loss>, traffic: &mut T) {
        if let Err(loss) = result {
            // Nothing was said where no connection came to be.
            if self.links[index].phase != Phase::Dialling {
                self.read(index, true, traffic);
            }
            self.lose(index, loss, traffic);
        }
    }

    fn judge<T: Traffic>(&mut self, index: usize, result: Result<(), Loss>, traffic: &mut T) {
        if let Err(loss) = result {
            self.lose(index, loss, traffic);
        }
    }

    fn lose<T: Traffic>(&mut self, index: usize, loss: Loss, traffic: &mut T) {
        let phase = self.links[index].phase;
        self.links[index].end();
        if !matches!(phase, Phase::Closing | Phase::Lost) {
            traffic.on_loss(index, loss);
        }
    }
}
