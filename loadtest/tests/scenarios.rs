//! Every scenario, with small counts, against the real server, which must have
//! been built into the same target directory: `cargo build` for `cargo test`,
//! `cargo build --release` for `cargo test --release`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The built program, with the server beside it.
#[track_caller]
fn program() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest"));
    let server = program.with_file_name("shardcast");
    assert!(
        server.is_file(),
        "{} is missing: build the server into the same target directory first",
        server.display()
    );
    Command::new(program)
}

/// Runs the program and expects a clean end; gives its output.
#[track_caller]
fn clean(arguments: &str) -> String {
    let output = program().args(arguments.split(' ')).output().expect("the program runs");
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
    let text = clean("connect --connections 301 --processes 2 --pin off");
    assert_line(&text, "connections open", "301");
}

#[test]
fn echo_brings_every_message_back() {
    clean("echo --connections 10 --pipeline 4 --size 200 --duration 1 --pin off");
    clean("echo --connections 9 --processes 2 --duration 1 --pin off");
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
fn fanout_leaves_out_bystanders_and_those_that_never_read() {
    let text = clean("fanout --connections 50 --members 7 --rate 100 --duration 1 --pin off");
    assert_line(&text, "deliveries", "700");
    let text = clean("fanout --connections 50 --stalled 10 --rate 100 --duration 1 --pin off");
    assert_line(&text, "members that never read", "4");
    assert_line(&text, "deliveries", "4,600");
}

#[test]
fn churn_lets_everyone_in_and_out() {
    let text = clean("churn --connections 20 --rooms 3 --duration 1 --pin off");
    assert!(text.contains("unsubscribe to answer"), "{text}");
    let lines = |what: &str| text.lines().filter(|line| line.trim().starts_with(what)).count();
    assert_eq!(lines("connect, upgrade, close: server CPU"), 1, "{text}");
    assert_eq!(lines("connect, upgrade, subscribe, close: server CPU"), 1, "{text}");
    assert_eq!(lines("the same bytes by a bare loop"), 2, "{text}");
    assert_eq!(lines("ratio, median of 5 rounds"), 2, "{text}");
}

#[test]
fn several_processes_find_what_one_finds() {
    let text = clean(
        "fanout --connections 60 --members 50 --process-connections 25 --rate 100 --duration 1 --pin off",
    );
    assert!(text.contains("processes 3"), "{text}");
    assert_line(&text, "deliveries", "5,000");
    assert!(text.lines().any(|line| line.contains("last delivery") && line.ends_with(" 100")));
    let text = clean(
        "rooms --connections 60 --rooms 7 --rate 20 --process-connections 25 --duration 1 --pin off",
    );
    assert_line(&text, "messages published", "140");
    clean("churn --connections 20 --process-connections 7 --duration 1 --pin off");
    clean("idle --connections 400 --process-connections 150 --pin off");
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
fn a_server_that_dies_midway_is_told_at_once() {
    for scenario in ["fanout", "echo", "broadcast", "churn", "rooms"] {
        let mut run = program();
        run.args([scenario, "--connections", "40", "--rooms", "2", "--duration", "60"]);
        run.args(["--pin", "off", "--process-connections"]);
        run.arg(if scenario == "broadcast" { "40" } else { "25" });
        run.stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = run.spawn().expect("the program runs");
        let begun = Instant::now();
        kill_server_of(&run);
        let output = run.wait_with_output().expect("an end");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // 1 if there was something to report, 2 if it died before that.
        assert!(matches!(output.status.code(), Some(1 | 2)), "{scenario}: {text}");
        assert!(text.contains("the server ended during the run (signal: 9"), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{scenario} took too long");
    }
}

/// Waits until the server that `run` started has its connections, and kills it.
fn kill_server_of(run: &Child) {
    let server = || {
        let path = format!("/proc/{0}/task/{0}/children", run.id());
        let children = fs::read_to_string(path).expect("the program runs");
        children.split_whitespace().map(str::to_owned).find(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            name.trim() == "shardcast" && files > 40
        })
    };
    let pid = loop {
        if let Some(pid) = server() {
            break pid;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let killed = Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
    assert!(killed.success());
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
