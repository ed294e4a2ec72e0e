//! A client that can do wrong: it sends any bytes in any pieces, and shows what
//! the server answers frame by frame. Keeps no rule for the test.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use shardcast::proto::frame::{Opcode, write_masked};
use socket2::{Domain, SockRef, Socket, Type};

use super::{Frame, GUARD, Received, Response};

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// One TCP connection and what was received of it but not yet looked at.
pub(crate) struct RawClient {
    stream: TcpStream,
    received: Received,
    /// The stream ended by a reset.
    was_reset: bool,
}

impl RawClient {
    /// Connects and sends nothing.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("a connection"))
    }

    /// Connects from another address of this host and sends nothing.
    pub(crate) fn connect_from(source: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this host");
        socket.connect(&to.into()).expect("a connection");
        Self::over(socket.into())
    }

    /// Speaks over this connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(GUARD)).expect("a time-out");
        stream.set_write_timeout(Some(GUARD)).expect("a time-out");
        stream.set_nodelay(true).expect("an option");
        Self { stream, received: Received::default(), was_reset: false }
    }

    /// Connects with the smallest receive buffer, so that what is not read soon
    /// waits in the server.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        // The kernel rounds it up.
        socket.set_recv_buffer_size(1).expect("an option");
        socket.connect(&address.into()).expect("a connection");
        Self::over(socket.into())
    }

    /// Connects and shakes hands on `path`.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(address);
        client.upgrade(path);
        client
    }

    /// The same, and hears the greeting.
    pub(crate) fn open_pubsub(address: SocketAddr) -> Self {
        Self::connect(address).greeted()
    }

    /// Shakes hands on `/ws/pubsub` and hears the greeting.
    pub(crate) fn greeted(mut self) -> Self {
        self.upgrade("/ws/pubsub");
        assert_eq!(self.hear()["type"], "connected");
        self
    }

    /// Becomes a member of the room.
    pub(crate) fn subscribe(&mut self, room: &str) {
        self.send(&text(&format!(r#"{{"type":"subscribe","room":"{room}"}}"#)));
        assert_eq!(self.hear()["type"], "subscribed");
    }

    /// Shakes hands on `path`.
    pub(crate) fn upgrade(&mut self, path: &str) {
        self.send(request(path, "").as_bytes());
        let response = self.read_response();
        assert_eq!(response.status, 101, "{response:?}");
    }

    /// The connection itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends these bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("a server that takes bytes");
    }

    /// Sends these bytes as far as the server still takes any.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        // Fails if the server has closed: the test looks at its answer instead.
        drop(self.stream.write_all(bytes));
    }

    /// Sends these bytes one by one.
    pub(crate) fn send_byte_by_byte(&mut self, bytes: &[u8]) {
        bytes.chunks(1).for_each(|byte| self.send(byte));
    }

    /// Closes the sending side.
    pub(crate) fn shut_down(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// Ends by a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Receives some more bytes; `None` at the end of the stream or at a reset.
    fn receive(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.received.push(&buffer[..count]);
                Some(())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.was_reset = true;
                None
            }
            Err(error) => panic!("{error} after {} bytes of a frame", self.received.len()),
        }
    }

    /// Reads an HTTP response; one with status 101 has no body.
    pub(crate) fn read_response(&mut self) -> Response {
        loop {
            if let Some(response) = self.received.take_response() {
                return response;
            }
            self.receive().expect("a whole response");
        }
    }

    /// Reads a frame; `None` at the end of the stream.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.received.take_frame() {
                return Some(frame);
            }
            self.receive()?;
        }
    }

    /// Reads a frame.
    pub(crate) fn read_frame(&mut self) -> Frame {
        self.next_frame().expect("a frame before the end of the stream")
    }

    /// Reads a text message of JSON.
    pub(crate) fn hear(&mut self) -> Value {
        let frame = self.read_frame();
        assert_eq!(frame.opcode, Opcode::Text, "{frame:?}");
        serde_json::from_slice(&frame.payload).expect("JSON")
    }

    /// Requires a Close frame with this code next, and then the end of the
    /// stream. Returns the reason.
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let frame = self.read_frame();
        let reason = close_reason(&frame, code);
        self.expect_end();
        reason
    }

    /// Requires the end of the stream next.
    pub(crate) fn expect_end(&mut self) {
        let after = self.next_frame();
        assert_eq!(after, None, "the stream goes on");
    }

    /// Requires the end of the stream next, and that it is no reset: a reset may
    /// overtake what was sent before it.
    pub(crate) fn expect_orderly_end(&mut self) {
        self.expect_end();
        assert!(!self.was_reset, "the stream ends by a reset");
    }

    /// Requires that the JSON `ping` is answered next: the connection is well
    /// and nothing else was sent on it.
    pub(crate) fn expect_alive(&mut self) {
        self.send(&text(r#"{"type":"ping"}"#));
        assert_eq!(self.hear()["type"], "pong");
    }
}

/// Requires a Close frame with this code and returns its reason.
pub(crate) fn close_reason(frame: &Frame, code: u16) -> String {
    assert_eq!(frame.opcode, Opcode::Close, "{frame:?}");
    let (given, reason) = frame.payload.split_first_chunk().expect("a code");
    let reason = String::from_utf8(reason.to_vec()).expect("UTF-8");
    assert_eq!(u16::from_be_bytes(*given), code, "{reason}");
    reason
}

/// A right handshake on `path`, with further header lines (each ended by CRLF).
pub(crate) fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A masked frame.
pub(crate) fn masked(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_masked(&mut frame, fin, opcode, MASK, payload);
    frame
}

/// A masked text message in one frame.
pub(crate) fn text(message: &str) -> Vec<u8> {
    masked(true, Opcode::Text, message.as_bytes())
}

/// A masked Close frame.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    masked(true, Opcode::Close, &payload)
}
