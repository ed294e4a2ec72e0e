//! A client of another make, for tests that need a WebSocket peer which keeps
//! the rules: it speaks to an engine in the test's own process, or to a program.
#![allow(dead_code, reason = "no test binary uses all of it")]

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shardcast::ClientId;
use tungstenite::{
    Error, Message, WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// After this long a test gives up on what it waits for. No test takes so long
/// unless it fails.
pub(crate) const GUARD: Duration = Duration::from_secs(15);

/// Waits until `condition` holds. `what` says which, if it never does.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + GUARD;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        // Leaves the processor to the others between two looks.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

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

    /// Connects to `/ws/pubsub` and hears the greeting.
    #[track_caller]
    pub(crate) fn pubsub(address: SocketAddr) -> Self {
        let mut client = Self::open(address, "/ws/pubsub");
        let greeting = client.hear("connected");
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

    /// Receives a JSON message whose `type` must be `kind`.
    #[track_caller]
    pub(crate) fn hear(&mut self, kind: &str) -> Value {
        let message: Value = serde_json::from_str(&self.text()).expect("JSON");
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Receives an error and returns its words.
    #[track_caller]
    pub(crate) fn hear_error(&mut self) -> String {
        self.hear("error")["error"].as_str().expect("words").to_owned()
    }

    /// Asserts that nothing was sent to it before now: the next thing that it
    /// hears is the answer to a ping of its own.
    #[track_caller]
    pub(crate) fn hears_nothing(&mut self) {
        self.say(&json!({"type": "ping"}));
        self.hear("pong");
    }

    /// Becomes a member of `room`. Returns how many it has.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, room: &str) -> u64 {
        self.say(&json!({"type": "subscribe", "room": room}));
        self.hear("subscribed")["data"]["client_count"].as_u64().expect("a count")
    }

    /// Receives a Close frame, and then the end. Returns its code and reason.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let Message::Close(frame) = self.receive() else { panic!("not a Close frame") };
        let frame = frame.expect("a code");
        self.ends();
        (frame.code.into(), frame.reason.to_string())
    }

    /// Closes, and waits for the answer and the end.
    #[track_caller]
    pub(crate) fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        self.socket.close(Some(frame)).expect("a server that listens");
        self.ends();
    }

    /// Takes in what still comes until the connection is closed in order.
    #[track_caller]
    fn ends(&mut self) {
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
        let socket = socket2::SockRef::from(self.socket.get_ref());
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// The bare connection, for what a client that keeps the rules does not do.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.into_inner()
    }
}
