//! Every scenario, with small counts, against the real server, which must have
//! been built into the same target directory: `cargo build` for `cargo test`,
//! `cargo build --release` for `cargo test --release`.

use std::path::Path;
use std::process::Command;

/// Runs the built program and expects a clean end; gives its output.
#[track_caller]
fn clean(arguments: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest"));
    let server = program.with_file_name("shardcast");
    assert!(
        server.is_file(),
        "{} is missing: build the server into the same target directory first",
        server.display()
    );
    let output =
        Command::new(program).args(arguments.split(' ')).output().expect("the program runs");
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments}:\n{text}");
    text
}

#[track_caller]
fn assert_line(text: &str, label: &str, value: &str) {
    let line = text.lines().find(|line| line.trim().starts_with(label));
    let line = line.unwrap_or_else(|| panic!("no `{label}` in:\n{text}"));
    assert!(line.ends_with(&format!(" {value}")), "{line}");
}

#[test]
fn connect_opens_every_connection() {
    let text = clean("connect --connections 300 --rooms 7 --pin off");
    assert_line(&text, "connections open", "300");
    let text = clean("connect --connections 301 --client-threads 2 --pin off");
    assert_line(&text, "connections open", "301");
}

#[test]
fn echo_brings_every_message_back() {
    clean("echo --connections 10 --pipeline 4 --size 200 --duration 1 --pin off");
    clean("echo --connections 9 --client-threads 2 --duration 1 --pin off");
    clean("echo --connections 2 --size 100000 --duration 1 --pin off");
}

#[test]
fn broadcast_reaches_everyone_from_everyone() {
    clean("broadcast --connections 30 --duration 1 --pin off");
}

#[test]
fn fanout_reaches_every_member_once_and_in_order() {
    let text = clean("fanout --connections 50 --rate 100 --duration 1 --pin off");
    assert_line(&text, "deliveries", "5,000");
}

#[test]
fn idle_connections_are_weighed() {
    let text = clean("idle --connections 300 --pin off");
    assert!(text.contains("private per connection"), "{text}");
}

#[test]
fn soak_loses_nothing_within_and_across_shards() {
    for shards in [1, 2] {
        clean(&format!(
            "soak --connections 60 --rooms 5 --rate 40 --duration 1 --shards {shards} --pin off"
        ));
    }
}

#[test]
fn cross_finds_members_on_both_shards() {
    let text = clean("cross --connections 40 --rate 200 --duration 1 --pin off");
    assert!(text.contains("median, other shard"), "{text}");
}

#[test]
fn drain_tells_everyone_and_loses_nothing_acknowledged() {
    for shards in [1, 2] {
        let text = clean(&format!(
            "drain --connections 60 --rooms 5 --rate 40 --duration 1 --shards {shards} --pin off"
        ));
        assert_line(&text, "clients that saw 1001", "60");
    }
}
