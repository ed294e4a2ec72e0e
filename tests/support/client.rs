//! A client that keeps the rules, by an implementation that is not ours. It speaks to
//! an engine in the test's own process or to a program.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};
use shardcast::ClientId;
use socket2::SockRef;
use tungstenite::{
    Error, Message, WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::GUARD;

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    id: Option<ClientId>,
}

impl Client {
    /// Connects on `path` and waits for no greeting.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(GUARD)).expect("a time-out");
        stream.set_write_timeout(Some(GUARD)).expect("a time-out");
        stream.set_nodelay(true).expect("an option");
        let url = format!("ws://{address}{path}");
        let (socket, _) = tungstenite::client(url, stream).expect("a handshake");
        Self { socket, id: None }
    }

    /// Connects to `/ws/pubsub` and receives the greeting.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address, "/ws/pubsub");
        let greeting = client.hear_type("connected");
        let id = greeting["data"]["client_id"].as_str().expect("an id");
        client.id = Some(id.parse().expect("a UUID"));
        client
    }

    /// How the server calls it.
    #[track_caller]
    pub(crate) fn id(&self) -> ClientId {
        self.id.expect("only a greeted client knows its id")
    }

    /// Sends a message.
    #[track_caller]
    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(message.into()).expect("a server that listens");
    }

    /// Sends a JSON message.
    #[track_caller]
    pub(crate) fn say(&mut self, message: &Value) {
        self.send(message.to_string());
    }

    /// Receives the next data message or Close frame. Pings are answered.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Message {
        loop {
            match self.socket.read().expect("a message") {
                Message::Ping(_) => self.socket.flush().expect("a server that listens"),
                message => return message,
            }
        }
    }

    /// Receives a text message.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        match self.receive() {
            Message::Text(text) => text.to_string(),
            other => panic!("not a text message: {other:?}"),
        }
    }

    /// Receives a JSON message.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    /// Receives a JSON message whose `type` must be `kind`.
    #[track_caller]
    pub(crate) fn hear_type(&mut self, kind: &str) -> Value {
        let message = self.hear();
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Receives an error and returns its text.
    #[track_caller]
    pub(crate) fn hear_error(&mut self) -> String {
        self.hear_type("error")["error"].as_str().expect("a text").to_owned()
    }

    /// Becomes a member of the room. Returns how many it has.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, room: &str) -> u64 {
        self.say(&json!({"type": "subscribe", "room": room}));
        self.hear_type("subscribed")["data"]["client_count"].as_u64().expect("a count")
    }

    /// Leaves the room.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, room: &str) {
        self.say(&json!({"type": "unsubscribe", "room": room}));
        self.hear_type("unsubscribed");
    }

    /// Publishes `data` to the room and waits for no answer.
    #[track_caller]
    pub(crate) fn publish(&mut self, room: &str, data: &Value) {
        self.say(&json!({"type": "publish", "room": room, "data": data}));
    }

    /// Requires that the JSON `ping` is answered next: nothing else was sent before
    /// now.
    #[track_caller]
    pub(crate) fn expect_nothing_more(&mut self) {
        self.say(&json!({"type": "ping"}));
        self.hear_type("pong");
    }

    /// Begins to close with this code.
    #[track_caller]
    pub(crate) fn begin_close(&mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        self.socket.close(Some(frame)).expect("an open connection");
    }

    /// Closes with code 1000, and takes in what still comes until the end.
    #[track_caller]
    pub(crate) fn close(mut self) {
        self.begin_close(1000);
        self.expect_end();
    }

    /// Receives a Close frame next, and then the end. Returns its code and reason.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let message = self.receive();
        let Message::Close(Some(frame)) = message else {
            panic!("no Close frame with a code but {message:?}");
        };
        match self.socket.read() {
            Err(Error::ConnectionClosed) => (frame.code.into(), frame.reason.to_string()),
            other => panic!("{other:?} after the Close frame"),
        }
    }

    /// Requires a Close frame with this code next, and then the end of the stream.
    /// Returns the reason.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let (given, reason) = self.closed();
        assert_eq!(given, code, "{reason}");
        reason
    }

    #[track_caller]
    fn expect_end(&mut self) {
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return,
                Err(error) => panic!("the connection should be closed in order: {error}"),
            }
        }
    }

    /// Breaks the connection with a reset.
    #[track_caller]
    pub(crate) fn reset(self) {
        let socket = SockRef::from(self.socket.get_ref());
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// The bare connection, for what a client that keeps the rules does not do.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.into_inner()
    }
}
