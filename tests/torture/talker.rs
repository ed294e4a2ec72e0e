//! One connection of bad manners, and what it expects to hear.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use shardcast::{
    driver::sim::Rng,
    proto::frame::{Opcode, write_masked},
};
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Received, request};

/// The longest message, in bytes.
const LONGEST: usize = 200 << 10;
/// The most bytes that are written or read at once.
const PIECE: usize = 64 << 10;
/// The most passes in which nothing is read.
const PAUSE: usize = 300;
/// The same for a long pause, which lasts until all that may be underway is: more
/// than the socket of the server takes.
const LONG_PAUSE: usize = 20_000;
/// Bytes that may be underway, at the most: a peer that does not read fills its
/// socket, but not what the server keeps for it.
const UNDERWAY: usize = 8 << 20;

/// The smallest receive buffer, in bytes.
const NARROWEST: usize = 16 << 10;

/// What messages are cut out of, one for each kind: a cut is known by its place.
pub(crate) struct Texts([Vec<u8>; 2]);

impl Texts {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let binary = (0..4 * LONGEST).map(|_| rng.next_u64() as u8).collect();
        let text = (0..4 * LONGEST).map(|_| b' ' + rng.below(95) as u8).collect();
        Self([binary, text])
    }

    fn cut(&self, message: Message) -> &[u8] {
        let text = &self.0[usize::from(message.opcode == Opcode::Text)];
        &text[message.start..message.start + message.len]
    }
}

/// A message by the place of its bytes.
#[derive(Clone, Copy, Debug)]
struct Message {
    opcode: Opcode,
    start: usize,
    len: usize,
}

/// A connection, with its own chance.
pub(crate) struct Talker {
    stream: TcpStream,
    rng: Rng,
    /// Bytes to be written, and how many of them have been.
    outgoing: Vec<u8>,
    written: usize,
    incoming: Received,
    /// What one read takes in.
    piece: Vec<u8>,
    is_greeted: bool,
    expected: VecDeque<Message>,
    /// Bytes of those, and how many it lets become.
    underway: usize,
    most_underway: usize,
    /// Passes in which nothing will be read.
    pause: usize,
}

impl Talker {
    pub(crate) fn connect(address: SocketAddr, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        if rng.chance(50) {
            // With less the kernel drops what came and waits for it to come again.
            let size = NARROWEST << rng.below(4);
            socket.set_recv_buffer_size(size).expect("an option");
        }
        socket.connect(&address.into()).expect("a connection");
        socket.set_tcp_nodelay(true).expect("an option");
        socket.set_nonblocking(true).expect("an option");
        Self {
            stream: socket.into(),
            outgoing: request("/ws/raw", "").into_bytes(),
            written: 0,
            incoming: Received::default(),
            piece: vec![0; PIECE],
            is_greeted: false,
            expected: VecDeque::new(),
            underway: 0,
            most_underway: UNDERWAY >> rng.below(4),
            pause: 0,
            rng,
        }
    }

    /// Ends by a reset. How many messages have not come back.
    pub(crate) fn reset(self) -> usize {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option");
        self.expected.len()
    }

    /// Whether nothing is underway.
    pub(crate) fn is_done(&self) -> bool {
        self.expected.is_empty() && self.incoming.len() == 0
    }

    /// Whether as much is underway as it allows.
    pub(crate) fn is_full(&self) -> bool {
        self.underway >= self.most_underway
    }

    /// Writes one piece, of new messages if there are more, whose number it takes
    /// off `left`. Whether any was written.
    pub(crate) fn write(&mut self, texts: &Texts, left: &mut usize) -> bool {
        let piece = 1 + log_uniform(&mut self.rng, PIECE - 1);
        while *left > 0 && self.outgoing.len() - self.written < piece && !self.is_full() {
            *left -= 1;
            self.say(texts);
        }
        let end = self.outgoing.len().min(self.written + piece);
        let written = match self.stream.write(&self.outgoing[self.written..end]) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error} while writing"),
        };
        self.written += written;
        if self.written == self.outgoing.len() {
            self.outgoing.clear();
            self.written = 0;
        }
        written > 0
    }

    /// Puts a message into the line, in one frame or several.
    fn say(&mut self, texts: &Texts) {
        let opcode = if self.rng.chance(30) { Opcode::Text } else { Opcode::Binary };
        // Most are small, few are of any size.
        let most = match self.rng.below(100) {
            0 => LONGEST,
            1..20 => LONGEST / 10,
            _ => LONGEST / 100,
        };
        let len = log_uniform(&mut self.rng, most);
        let start = self.rng.below(4 * LONGEST - len + 1);
        let message = Message { opcode, start, len };
        self.expected.push_back(message);
        self.underway += len;
        let mut rest = texts.cut(message);
        let mut opcode = opcode;
        while self.rng.chance(15) {
            let (fragment, more) = rest.split_at(self.rng.below(rest.len() + 1));
            self.frame(false, opcode, fragment);
            (opcode, rest) = (Opcode::Continuation, more);
        }
        self.frame(true, opcode, rest);
    }

    fn frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        let mask = (self.rng.next_u64() as u32).to_ne_bytes();
        write_masked(&mut self.outgoing, fin, opcode, mask, payload);
    }

    /// Reads one piece, unless it does not want to. How many messages have come
    /// back with it; `None` if there was nothing to read.
    pub(crate) fn read(&mut self, texts: &Texts) -> Option<usize> {
        if self.pause > 0 {
            // A long one has done what it is for once as much is underway as may be.
            self.pause = if self.is_full() { self.pause.min(PAUSE) } else { self.pause };
            self.pause -= 1;
            return None;
        }
        if self.rng.below(100) == 0 {
            let most = if self.rng.chance(5) { LONG_PAUSE } else { PAUSE };
            self.pause = self.rng.below(most);
        }
        let piece = 1 + log_uniform(&mut self.rng, PIECE - 1);
        let read = match self.stream.read(&mut self.piece[..piece]) {
            Ok(0) => panic!("the server has closed"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error} while reading"),
        };
        self.incoming.push(&self.piece[..read]);
        Some(self.check(texts))
    }

    /// Looks at what has arrived whole.
    fn check(&mut self, texts: &Texts) -> usize {
        if !self.is_greeted {
            let Some(response) = self.incoming.take_response() else { return 0 };
            assert_eq!(response.status, 101, "{response:?}");
            self.is_greeted = true;
        }
        let mut echoes = 0;
        while let Some(frame) = self.incoming.take_frame() {
            if frame.opcode == Opcode::Ping {
                self.frame(true, Opcode::Pong, &frame.payload);
                continue;
            }
            let message = self.expected.pop_front().expect("no more than was sent");
            assert!(
                frame.fin && frame.opcode == message.opcode,
                "{:?} for {message:?}",
                frame.opcode
            );
            assert!(frame.payload == texts.cut(message), "other bytes for {message:?}");
            self.underway -= message.len;
            echoes += 1;
        }
        echoes
    }
}

/// A number from 0 to `most`, each order of magnitude as often as the other.
fn log_uniform(rng: &mut Rng, most: usize) -> usize {
    let bits = most.ilog2() as usize + 1;
    let limit = 2 << rng.below(bits);
    rng.below(limit).min(most)
}
