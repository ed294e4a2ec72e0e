//! A client that keeps the rules, by an implementation that is not ours.

use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use tungstenite::{
    Error, Message, WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::GUARD;

/// A connected client.
pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    /// How the server calls it; empty in dialects that do not greet.
    pub(crate) id: String,
}

impl Client {
    /// Connects on `path` and waits for no greeting.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(GUARD)).expect("a time-out");
        stream.set_write_timeout(Some(GUARD)).expect("a time-out");
        stream.set_nodelay(true).expect("an option");
        let url = format!("ws://{address}{path}");
        let (socket, _) = tungstenite::client(url, stream).expect("a handshake");
        Self { socket, id: String::new() }
    }

    /// Connects to `/ws/pubsub` and hears the greeting.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address, "/ws/pubsub");
        let greeting = client.hear();
        assert_eq!(greeting["type"], "connected", "{greeting}");
        let id = greeting["data"]["client_id"].as_str().expect("an id").to_owned();
        Self { id, ..client }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: Message) {
        self.socket.send(message).expect("a server that listens");
    }

    /// Sends a JSON message.
    pub(crate) fn say(&mut self, message: &Value) {
        self.send(Message::text(message.to_string()));
    }

    /// Receives the next data message or Close frame. Pings are answered.
    pub(crate) fn receive(&mut self) -> Message {
        loop {
            match self.socket.read().expect("a message") {
                Message::Ping(_) => self.socket.flush().expect("a server that listens"),
                message => return message,
            }
        }
    }

    /// Receives a JSON message.
    pub(crate) fn hear(&mut self) -> Value {
        let message = self.receive();
        assert!(message.is_text(), "{message:?}");
        serde_json::from_str(message.to_text().expect("text")).expect("JSON")
    }

    /// Becomes a member of the room. Returns how many it has.
    pub(crate) fn subscribe(&mut self, room: &str) -> u64 {
        self.say(&json!({"type": "subscribe", "room": room}));
        let answer = self.hear();
        assert_eq!(answer["type"], "subscribed", "{answer}");
        answer["data"]["client_count"].as_u64().expect("a count")
    }

    /// Leaves the room.
    pub(crate) fn unsubscribe(&mut self, room: &str) {
        self.say(&json!({"type": "unsubscribe", "room": room}));
        let answer = self.hear();
        assert_eq!(answer["type"], "unsubscribed", "{answer}");
    }

    /// Publishes `data` to the room and waits for no answer.
    pub(crate) fn publish(&mut self, room: &str, data: &Value) {
        self.say(&json!({"type": "publish", "room": room, "data": data}));
    }

    /// Requires that the JSON `ping` is answered next: nothing else was sent.
    pub(crate) fn expect_nothing_more(&mut self) {
        self.say(&json!({"type": "ping"}));
        let answer = self.hear();
        assert_eq!(answer["type"], "pong", "{answer}");
    }

    /// Begins to close with this code.
    pub(crate) fn begin_close(&mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        self.socket.close(Some(frame)).expect("an open connection");
    }

    /// Requires a Close frame with this code next, and then the end of the
    /// stream. Returns the reason.
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let message = self.receive();
        let Message::Close(Some(frame)) = message else {
            panic!("no Close frame but {message:?}");
        };
        assert_eq!(u16::from(frame.code), code, "{frame:?}");
        match self.socket.read() {
            Err(Error::ConnectionClosed) => frame.reason.to_string(),
            other => panic!("{other:?} after the Close frame"),
        }
    }

    /// Closes with code 1000 and waits for the end.
    pub(crate) fn close(mut self) {
        self.begin_close(1000);
        self.expect_close(1000);
    }
}
