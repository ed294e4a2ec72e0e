//! The reference servers, against the harness's own checks: whatever is lost,
//! changed, repeated or out of order ends a run with a violation.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

const NAMES: [&str; 4] = ["limit", "tokio-tungstenite", "fastwebsockets", "tokio-uring"];

fn loadtest() -> Command {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
}

/// A running reference server, which ends with the test.
struct Reference {
    child: Child,
    url: String,
}

impl Reference {
    /// Starts one; `None`, with a line that says why, if this kernel cannot.
    fn start(name: &str, size: &str, more: &[&str]) -> Option<Self> {
        let mut command = loadtest();
        command.args(["__reference", name, "--listen", "127.0.0.1:0", "--size", size]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let Some((_, address)) = line.trim().split_once("listening on ") else {
            let mut why = String::new();
            child.stderr.take().expect("a pipe").read_to_string(&mut why).expect("text");
            child.wait().expect("a status");
            assert!(why.contains("gives tokio-uring no ring"), "{name}: {why}");
            eprintln!("not tested: {why}");
            return None;
        };
        let url = format!("ws://{address}/ws");
        Some(Self { child, url })
    }

    /// Runs a scenario against it and expects a clean end.
    #[track_caller]
    fn passes(&self, arguments: &str) {
        let mut command = loadtest();
        command.args(arguments.split(' ')).args(["--url", &self.url, "--duration", "1"]);
        assert_clean(&command.output().expect("the program runs"));
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_clean(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

/// Runs `test` with every reference that starts here, all at the same time.
fn each(size: &str, more: &[&str], test: impl Fn(&Reference) + Sync) {
    thread::scope(|scope| {
        for name in NAMES {
            let test = &test;
            scope.spawn(move || Reference::start(name, size, more).iter().for_each(test));
        }
    });
}

#[test]
fn every_reference_echoes_messages_of_every_size_alone_and_in_a_row() {
    for size in ["0", "126", "70000"] {
        each(size, &[], |reference| {
            reference.passes(&format!("echo --connections 5 --size {size} --pipeline 7"));
        });
    }
    each("20", &[], |reference| reference.passes("echo --connections 5"));
}

#[test]
fn every_reference_fans_out_to_the_members_of_a_room_only() {
    each("20", &[], |reference| {
        reference.passes("fanout --connections 30 --rate 200");
        reference.passes("fanout --connections 30 --members 4 --rate 200");
        reference.passes("rooms --connections 30 --rooms 4 --publishers 3 --rate 50");
        reference.passes("churn --connections 10");
    });
}

#[test]
fn every_reference_broadcasts_to_everyone() {
    each("20", &["--broadcast-only"], |it| it.passes("broadcast --connections 30"));
}

#[test]
fn a_comparison_prints_ratios_and_writes_both_files() {
    let folder = std::env::temp_dir();
    let path = |kind: &str| folder.join(format!("compare-{}.{kind}", std::process::id()));
    let (json, html) = (path("json"), path("html"));
    let mut command = loadtest();
    command.args(["compare", "echo", "--servers", "limit,tokio-tungstenite", "--pairs", "2"]);
    command.args(["--connections", "5", "--duration", "1", "--require", "rate>1"]);
    command.arg("--json").arg(&json).arg("--html").arg(&html);
    let text = assert_clean(&command.output().expect("the program runs"));
    assert!(text.contains("medians of 2 rounds, ratios to limit"), "{text}");
    assert!(text.contains("a ratio is the median of per-round ratios"), "{text}");

    let read = std::fs::read_to_string(&json).expect("the file");
    let read: serde_json::Value = serde_json::from_str(&read).expect("JSON");
    let rate = &read["comparison"]["metrics"]["rate"];
    assert_eq!(rate["limit"]["ratio"]["median"], 1.0);
    assert!(rate["tokio-tungstenite"]["ratio"]["max"].as_f64() > Some(0.0), "{rate}");
    assert_eq!(read["runs"].as_array().map(Vec::len), Some(4));

    let page = std::fs::read_to_string(&html).expect("the file");
    assert!(page.contains("tokio-tungstenite") && page.contains("class=\"bar"));
    assert!(!page.contains("http:") && !page.contains("https:"), "a link");
    for path in [json, html] {
        std::fs::remove_file(path).expect("the file is ours");
    }
}

#[test]
fn a_server_that_runs_already_is_compared_and_left_alone() {
    let running = Reference::start("tokio-tungstenite", "20", &[]).expect("it starts everywhere");
    let png = std::env::temp_dir().join(format!("running-{}.png", std::process::id()));
    let mut command = loadtest();
    let other = format!("other={}@{}", running.url, running.child.id());
    command.args(["compare", "echo", "--servers", &format!("limit,{other}"), "--pairs", "2"]);
    command.args(["--connections", "5", "--duration", "1"]).arg("--png").arg(&png);
    let output = command.output().expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if stderr.contains("this machine has none") {
        eprintln!("no picture: {stderr}");
    } else {
        let text = assert_clean(&output);
        let bars = text.lines().filter(|line| line.trim_start().starts_with("other "));
        assert!(text.contains("server CPU per message"), "{text}");
        assert!(bars.count() >= 2, "{text}");
        let picture = std::fs::read(&png).expect("the file");
        assert!(picture.starts_with(b"\x89PNG"), "not a picture");
        std::fs::remove_file(png).expect("the file is ours");
    }
    // It still answers.
    running.passes("echo --connections 2");
}

#[test]
fn what_cannot_be_compared_is_told() {
    for (arguments, why) in [
        ("compare", "name the scenario"),
        ("compare echo --servers nonesuch", "no server of that name"),
        ("compare drain", "about shardcast alone"),
        ("compare echo --servers limit --base tokio-uring", "not among the servers"),
        ("compare echo --servers x=ws://127.0.0.1:9/ws", "NAME=URL@PID"),
        ("compare echo --servers x=ws://127.0.0.1:9/ws@4194305", "no process 4194305"),
        ("compare echo --servers x --external x=/nonexistent/x", "no such program"),
    ] {
        let output = loadtest().args(arguments.split(' ')).output().expect("the program runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(why), "{arguments}: {text}");
    }
}
