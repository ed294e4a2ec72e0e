//! Several nodes on a Redis of the test's own, with small counts. The server must have
//! been built into the same target directory, and `redis-server` be in the path.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A run that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `cluster` with `arguments`; gives what it said and found.
#[track_caller]
fn cluster(arguments: &str, name: &str) -> serde_json::Value {
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest"));
    let server = program.with_file_name("shardcast");
    assert!(server.is_file(), "{} is missing: build the server first", server.display());
    let json = Json::new(name);
    let mut command = Command::new(program);
    command.arg("cluster").args(arguments.split(' ')).arg("--json").arg(&json.0);
    let output = finished(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments}:\n{text}");
    let found = std::fs::read_to_string(&json.0).expect("the file");
    serde_json::from_str(&found).expect("JSON")
}

/// A file that goes with the test.
struct Json(PathBuf);

impl Json {
    fn new(name: &str) -> Self {
        let file = format!("loadtest-{name}-{}.json", std::process::id());
        Self(std::env::temp_dir().join(file))
    }
}

impl Drop for Json {
    fn drop(&mut self) {
        // It was never written if the test failed.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Waits for the end of `command`, and kills it at the deadline.
#[track_caller]
fn finished(command: &mut Command) -> Output {
    let mut child = command.spawn().expect("the program runs");
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            give_up(child);
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

fn give_up(mut child: Child) -> ! {
    child.kill().expect("a child");
    let output = child.wait_with_output().expect("its output");
    let text = [output.stdout, output.stderr].concat();
    panic!("no end within {DEADLINE:?}:\n{}", String::from_utf8_lossy(&text));
}

#[track_caller]
fn figure(found: &serde_json::Value, run: usize, key: &str) -> f64 {
    let figure = &found["runs"][run]["figures"][key];
    figure.as_f64().unwrap_or_else(|| panic!("no {key} in {found:#}"))
}

#[test]
fn nodes_are_measured_beside_a_bare_client() {
    let found = cluster("--seconds 1 --rounds 1 --nodes 3 --members 2 --publishers 2", "nodes");
    for key in ["latency_ratio", "throughput_ratio", "node_cpu_ratio", "throughput"] {
        assert!(figure(&found, 0, key) > 0.0, "{key}");
    }
    let count = &found["runs"][0]["latency_ns"]["loaded"]["count"];
    // 1,000 publications to two members on each of two other nodes.
    assert_eq!(count.as_u64(), Some(4_000));
}

#[test]
fn rooms_with_history_are_acknowledged_and_complete() {
    let found = cluster("--seconds 1 --rounds 1 --history --acks --size 100", "history");
    assert!(figure(&found, 0, "throughput") > 0.0);
}

#[test]
fn what_is_lost_while_redis_is_away_is_what_nodes_count() {
    let found = cluster("--seconds 1 --rounds 1 --restart-redis 2", "restart");
    assert!(figure(&found, 1, "published") > 0.0);
    assert!(figure(&found, 1, "reconnects") >= 2.0, "each node has lost its connection");
    assert_eq!(found["runs"][1]["charts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn clients_of_a_killed_node_recover_on_the_other() {
    let options = "--recover 200 --bystanders 40 --rooms 20 --rate 5 --seconds 1";
    let found = cluster(options, "recover");
    assert!((figure(&found, 0, "exact") - 200.0).abs() < 0.5);
    assert!(figure(&found, 0, "all_ns") > 0.0);
}

#[test]
fn one_node_is_compared_with_and_without_a_relay() {
    let found = cluster("--local --seconds 1 --rounds 1 --members 3", "local");
    for key in ["p50_ratio", "p99_ratio", "cpu_ratio"] {
        assert!(figure(&found, 0, key) > 0.0, "{key}");
    }
}

#[test]
fn a_redis_that_is_not_installed_is_a_clear_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(["cluster", "--seconds", "1"]).env("PATH", "/nowhere");
    let output = finished(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("redis-server is not in PATH"), "{text}");
}
