//! Each example, as the program that a reader would start: it listens, does what
//! its head says, and ends in order when it is told to.

use std::{env, path::PathBuf, process::Command, thread};

use rustix::process::Signal;
use serde_json::json;
use tungstenite::Message;

use crate::support::{Client, Server};

/// Starts an example.
fn start(name: &str) -> Server {
    let program = |flags: &[&str]| {
        let mut program = Command::new(built(name));
        program.args(flags);
        program
    };
    Server::start_by(program, &["--shards", "2", "--driver", "auto"])
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
    let program = start("echo");
    let mut client = Client::open(program.address(), "/ws");
    client.send("hello");
    assert_eq!(client.receive(), Message::text("hello"));
    client.send(vec![0_u8, 0xFF]);
    assert_eq!(client.receive(), Message::binary(vec![0_u8, 0xFF]));
    kill_and_hear(program, Signal::TERM, client);
}

#[test]
fn broadcast_reaches_everyone_in_their_own_form() {
    let program = start("broadcast");
    let mut envelope = Client::connect(program.address());
    let mut raw: Vec<_> = (0..8).map(|_| Client::open(program.address(), "/ws")).collect();
    raw[0].send("hello");
    for client in &mut raw {
        assert_eq!(client.text(), "hello");
    }
    assert_eq!(envelope.hear_type("message")["data"], "hello");
    raw[1].send(vec![7_u8]);
    for client in &mut raw {
        assert_eq!(client.receive(), Message::binary(vec![7_u8]));
    }
    assert_eq!(envelope.hear_type("message")["data"], "Bw==");
    envelope.say(&json!({"type": "broadcast", "data": {"n": 1}}));
    for client in &mut raw {
        assert_eq!(client.text(), r#"{"n":1}"#);
    }
    drop(raw);
    envelope.hear_type("message");
    kill_and_hear(program, Signal::INT, envelope);
}

#[test]
fn chat_has_rooms_users_and_direct_messages() {
    let program = start("chat");
    let mut alice = Client::connect(program.address());
    alice.say(&json!({"type": "join", "data": {"room": "general"}}));
    assert_eq!(alice.hear_error(), "log in first");
    log_in(&mut alice, "alice", Some("red"));
    alice.say(&json!({"type": "login", "data": {"user": "mallory"}}));
    assert_eq!(alice.hear_error(), "you are logged in already");
    alice.say(&json!({"type": "message", "data": {"room": "general", "content": "?"}}));
    assert_eq!(alice.hear_error(), "you are not in this room");
    alice.say(&json!({"type": "join", "data": {"room": "general"}}));
    assert_eq!(alice.hear_type("joined")["data"], json!({"room": "general", "users": 1}));

    let mut bob = Client::connect(program.address());
    log_in(&mut bob, "bob", None);
    bob.say(&json!({"type": "join", "data": {"room": "general"}}));
    assert_eq!(bob.hear_type("joined")["data"], json!({"room": "general", "users": 2}));
    assert_eq!(alice.hear_type("user_joined")["data"], json!({"user": "bob"}));

    alice.say(&json!({"type": "message", "data": {"room": "general", "content": "Hello!"}}));
    for client in [&mut alice, &mut bob] {
        let heard = client.hear_type("message");
        assert_eq!(heard["room"], "general");
        assert_eq!(heard["data"], json!({"user": "alice", "color": "red", "content": "Hello!"}));
    }
    bob.say(&json!({"type": "dm", "data": {"to": "alice", "content": "psst"}}));
    assert_eq!(alice.hear_type("dm")["data"], json!({"from": "bob", "content": "psst"}));
    bob.expect_nothing_more();

    alice.say(&json!({"type": "leave", "data": {"room": "general"}}));
    assert_eq!(alice.hear_type("left")["data"], json!({"room": "general"}));
    assert_eq!(bob.hear_type("user_left")["data"], json!({"user": "alice"}));
    alice.subscribe("general");
    assert_eq!(bob.hear_type("user_joined")["data"], json!({"user": "alice"}));
    drop(bob);
    assert_eq!(alice.hear_type("user_left")["data"], json!({"user": "bob"}));
    kill_and_hear(program, Signal::TERM, alice);
}

fn log_in(client: &mut Client, user: &str, color: Option<&str>) {
    client.say(&json!({"type": "login", "data": {"user": user, "color": color}}));
    assert_eq!(client.hear_type("welcome")["data"]["user"], user);
}

/// Ends the program while a client is connected, which must be told.
fn kill_and_hear(mut program: Server, signal: Signal, mut client: Client) {
    let listener = thread::spawn(move || client.expect_close(1001));
    program.signal(signal);
    assert_eq!(program.exit_status().code(), Some(0));
    assert_eq!(listener.join().expect("a Close frame"), "server is shutting down");
}
