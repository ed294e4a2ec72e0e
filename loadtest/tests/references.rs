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
