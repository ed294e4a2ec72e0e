//! The harness must notice what a server does wrong: runs of the built program
//! against a fake that misbehaves in one way each.

mod fake;

use fake::{Manner, serve};
use std::process::{Command, Output};

fn loadtest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(arguments);
    command.output().expect("the program runs")
}

/// A short soak against a fake: 8 connections, 2 rooms, 40 publications.
fn soak(manner: Manner) -> Output {
    let url = serve(manner);
    loadtest(&[
        "soak",
        "--url",
        &url,
        "--connections",
        "8",
        "--rooms",
        "2",
        "--rate",
        "20",
        "--duration",
        "1",
    ])
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[track_caller]
fn assert_found(output: &Output, code: i32, what: &str) {
    let text = text(output);
    assert!(text.contains(what), "`{what}` is not in:\n{text}");
    assert_eq!(output.status.code(), Some(code), "{text}");
}

#[test]
fn a_good_server_passes() {
    let output = soak(Manner::Good);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("VIOLATION"), "{text}");
}

#[test]
fn a_lost_message_is_found() {
    assert_found(&soak(Manner::Loses), 1, "out of order or lost");
}

#[test]
fn a_repeated_message_is_found() {
    assert_found(&soak(Manner::Repeats), 1, "1 messages twice or late");
}

#[test]
fn a_closed_connection_is_found() {
    assert_found(&soak(Manner::Closes), 1, "connections lost: 1 × closed");
}

#[test]
fn a_refused_subscription_is_told_in_the_servers_words() {
    assert_found(&soak(Manner::Refuses), 2, "room is at maximum capacity");
}

#[test]
fn a_dead_server_is_told_at_once() {
    // Nothing listens on the discard port of loopback.
    let output = loadtest(&["connect", "--url", "ws://127.0.0.1:9/ws"]);
    assert_found(&output, 2, "no connection could be opened");
}

#[test]
fn a_refused_port_is_not_taken_for_a_server_that_hung_up() {
    let output = loadtest(&["connect", "--url", "ws://127.0.0.1:9/ws", "--connections", "3"]);
    assert_found(&output, 2, "3 × Connection refused");
    assert!(!text(&output).contains("without a close frame"), "{}", text(&output));
}

#[test]
fn a_missing_server_program_is_told() {
    let output = loadtest(&["connect", "--server", "/nonexistent/shardcast"]);
    assert_found(&output, 2, "is missing");
}

#[test]
fn a_requirement_decides_on_the_end() {
    let url = serve(Manner::Good);
    let echo = |requirement: &str| {
        let load = ["--connections", "2", "--duration", "1", "--require", requirement];
        loadtest(&[&["echo", "--url", &url][..], &load].concat())
    };
    assert_eq!(echo("max_s<60;rate>1").status.code(), Some(0));
    assert_found(&echo("p99_us<0"), 1, "required p99_us<0, but it is");
    assert_found(&echo("p98765_us<1"), 1, "which was not measured");
    assert_found(&echo("fast"), 2, "a requirement is NAME, a sign and a number");
}

#[test]
fn an_echo_is_measured_and_written_as_json() {
    let url = serve(Manner::Good);
    let path = std::env::temp_dir().join(format!("loadtest-{}.json", std::process::id()));
    let file = path.to_str().expect("a path in UTF-8");
    let output = loadtest(&[
        "echo",
        "--url",
        &url,
        "--connections",
        "4",
        "--pipeline",
        "3",
        "--duration",
        "1",
        "--json",
        file,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let json = std::fs::read_to_string(&path).expect("the file");
    std::fs::remove_file(&path).expect("the file is ours");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["date"].as_str().is_some_and(|date| date.ends_with('Z')), "{json:#}");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["command"].as_str().is_some_and(|it| it.starts_with("loadtest echo --url ")));
    assert!(json["machine"]["cpu"].as_str().is_some_and(|cpu| !cpu.is_empty()));
    let run = &json["runs"][0];
    assert!(run["figures"]["messages"].as_f64() > Some(0.0), "{json:#}");
    assert!(run["latency_ns"]["round_trip"]["p99"].as_u64() > Some(0));
}
