//! Each example, as the program that a reader would start: it listens, does what
//! its head says, and ends in order when it is told to.

#[path = "support/ws.rs"]
mod ws;

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tungstenite::Message;

use ws::{Client, GUARD};

/// A running example.
struct Program {
    child: Child,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Program {
    fn start(name: &str) -> Self {
        let mut child = Command::new(built(name))
            .args(["--listen", "127.0.0.1:0", "--shards", "2", "--driver", "auto"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; is it built?"));
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let line = lines.recv_timeout(GUARD).expect("the example says that it listens");
        let address = line.strip_prefix("listening on ").expect("where");
        let address = address.parse().expect("an address");
        Self { child, lines, address }
    }

    /// Tells it to end, and waits until it has.
    fn end(mut self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a program that runs");
        // Its output ends when it does.
        match self.lines.recv_timeout(GUARD) {
            Err(RecvTimeoutError::Disconnected) => {}
            other => panic!("the example should end and say nothing more: {other:?}"),
        }
        let status = self.child.wait().expect("a program that has ended");
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After a test that failed it still runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `target/<profile>/examples/<name>`, where cargo puts it before it runs this
/// test, whose own program is in `target/<profile>/deps`.
fn built(name: &str) -> PathBuf {
    let program = env::current_exe().expect("a path");
    let profile = program.ancestors().nth(2).expect("target/<profile>");
    profile.join("examples").join(name)
}

#[test]
fn echo_sends_text_and_bytes_back() {
    let program = Program::start("echo");
    let mut client = Client::open(program.address, "/ws");
    client.send("hello");
    assert_eq!(client.receive(), Message::text("hello"));
    client.send(vec![0_u8, 0xFF]);
    assert_eq!(client.receive(), Message::binary(vec![0_u8, 0xFF]));
    kill_and_hear(program, Signal::TERM, client);
}

#[test]
fn broadcast_reaches_everyone_in_their_own_form() {
    let program = Program::start("broadcast");
    let mut envelope = Client::pubsub(program.address);
    let mut raw: Vec<_> = (0..8).map(|_| Client::open(program.address, "/ws")).collect();
    raw[0].send("hello");
    for client in &mut raw {
        assert_eq!(client.text(), "hello");
    }
    assert_eq!(envelope.hear("message")["data"], "hello");
    raw[1].send(vec![7_u8]);
    for client in &mut raw {
        assert_eq!(client.receive(), Message::binary(vec![7_u8]));
    }
    assert_eq!(envelope.hear("message")["data"], "Bw==");
    envelope.say(&json!({"type": "broadcast", "data": {"n": 1}}));
    for client in &mut raw {
        assert_eq!(client.text(), r#"{"n":1}"#);
    }
    drop(raw);
    envelope.hear("message");
    kill_and_hear(program, Signal::INT, envelope);
}

#[test]
fn chat_has_rooms_users_and_direct_messages() {
    let program = Program::start("chat");
    let mut alice = Client::pubsub(program.address);
    alice.say(&json!({"type": "join", "data": {"room": "general"}}));
    assert_eq!(alice.hear_error(), "log in first");
    log_in(&mut alice, "alice", Some("red"));
    alice.say(&json!({"type": "login", "data": {"user": "mallory"}}));
    assert_eq!(alice.hear_error(), "you are logged in already");
    alice.say(&json!({"type": "message", "data": {"room": "general", "content": "?"}}));
    assert_eq!(alice.hear_error(), "you are not in this room");
    alice.say(&json!({"type": "join", "data": {"room": "general"}}));
    assert_eq!(alice.hear("joined")["data"], json!({"room": "general", "users": 1}));

    let mut bob = Client::pubsub(program.address);
    log_in(&mut bob, "bob", None);
    bob.say(&json!({"type": "join", "data": {"room": "general"}}));
    assert_eq!(bob.hear("joined")["data"], json!({"room": "general", "users": 2}));
    assert_eq!(alice.hear("user_joined")["data"], json!({"user": "bob"}));

    alice.say(&json!({"type": "message", "data": {"room": "general", "content": "Hello!"}}));
    for client in [&mut alice, &mut bob] {
        let heard = client.hear("message");
        assert_eq!(heard["room"], "general");
        assert_eq!(heard["data"], json!({"user": "alice", "color": "red", "content": "Hello!"}));
    }
    bob.say(&json!({"type": "dm", "data": {"to": "alice", "content": "psst"}}));
    assert_eq!(alice.hear("dm")["data"], json!({"from": "bob", "content": "psst"}));
    bob.hears_nothing();

    alice.say(&json!({"type": "leave", "data": {"room": "general"}}));
    assert_eq!(alice.hear("left")["data"], json!({"room": "general"}));
    assert_eq!(bob.hear("user_left")["data"], json!({"user": "alice"}));
    alice.subscribe("general");
    assert_eq!(bob.hear("user_joined")["data"], json!({"user": "alice"}));
    drop(bob);
    assert_eq!(alice.hear("user_left")["data"], json!({"user": "bob"}));
    kill_and_hear(program, Signal::TERM, alice);
}

fn log_in(client: &mut Client, user: &str, color: Option<&str>) {
    client.say(&json!({"type": "login", "data": {"user": user, "color": color}}));
    assert_eq!(client.hear("welcome")["data"]["user"], user);
}

/// Ends the program while a client is connected, which must be told.
fn kill_and_hear(program: Program, signal: Signal, mut client: Client) {
    let listener = thread::spawn(move || client.closed());
    program.end(signal);
    let (code, reason) = listener.join().expect("a Close frame");
    assert_eq!((code, &*reason), (1001, "server is shutting down"));
}
