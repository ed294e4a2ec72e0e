//! Hosts that refuse `io_uring`: the server says so once, with the reason, and
//! serves on epoll.

use std::{
    collections::BTreeMap, env::consts::ARCH, panic::catch_unwind, process::Command, thread,
};

use rustix::{
    io::Errno,
    process::{Signal, geteuid},
    thread::{CapabilitySet, remove_capability_from_bounding_set},
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::json;
use tungstenite::Message;

use crate::support::{Client, Server, not_tested, program, run_to_end};

/// What a seccomp filter may make of the attempt, and a word of the reason that
/// is to be given.
const REFUSALS: [(Errno, &str); 2] =
    [(Errno::PERM, "a seccomp filter or the container's policy"), (Errno::NOSYS, "seccomp filter")];

/// Runs `body` on a thread that may not set up a ring, nor may what it starts.
fn without_uring(answer: Errno, body: impl FnOnce() + Send) {
    on_a_thread(|| {
        let filter = SeccompFilter::new(
            BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(answer.raw_os_error().cast_unsigned()),
            ARCH.try_into().expect("an architecture that filters are made for"),
        );
        let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
        apply_filter(&program).expect("a thread that can be confined");
        body();
    });
}

/// What is done to the thread ends with it.
fn on_a_thread(body: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let ended = scope.spawn(body).join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// The server's program as one that may lock no memory.
fn without_locked_memory(flags: &[&str]) -> Command {
    let plain = program(flags);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -l 0 && exec \"$0\" \"$@\""]);
    command.arg(plain.get_program()).args(plain.get_args());
    command
}

/// Requires that the server serves everything that it is for, and returns its
/// log.
fn serve_and_end(mut server: Server) -> String {
    assert_eq!(server.health()["status"], "healthy");
    let mut members: Vec<_> = (0..4).map(|_| Client::connect(server.address())).collect();
    for member in &mut members {
        member.subscribe("chat");
    }
    members[0].publish("chat", &json!("hello"));
    for member in &mut members {
        assert_eq!(member.hear()["data"], "hello");
    }
    let mut raw = Client::open(server.address(), "/ws/raw");
    raw.send(Message::text("echo"));
    assert_eq!(raw.receive(), Message::text("echo"));
    server.signal(Signal::TERM);
    for mut member in members {
        member.expect_close(1001);
    }
    raw.expect_close(1001);
    assert!(server.exit_status().success());
    server.log()
}

/// Requires that the log names the driver and the reason in one line at this
/// level, and says no more about it.
fn assert_told_once(log: &str, level: &str, reason: &str) {
    let lines: Vec<_> = log.lines().filter(|line| line.contains("io_uring")).collect();
    let [line] = lines[..] else { panic!("not one line but {lines:#?} of\n{log}") };
    for word in [level, r#"driver="epoll""#, "io_uring cannot be used: ", reason] {
        assert!(line.contains(word), "no {word:?} in {line}");
    }
}

/// Requires that the program says of the host that it refuses, for this reason.
fn assert_probe_refused(command: &mut Command, reason: &str) {
    let output = run_to_end(command);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |start| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    assert!(line("ring: no: ").contains(reason), "{text}");
    assert!(line("io_uring: not usable: ").contains(reason), "{text}");
    let choice = "auto would choose: epoll, because io_uring cannot be used: ";
    assert!(line(choice).contains(reason), "{text}");
}

#[test]
fn where_a_filter_refuses_io_uring_the_server_says_so_once_and_serves_on_epoll() {
    for (answer, reason) in REFUSALS {
        for (driver, level) in [("uring", "WARN"), ("auto", "INFO")] {
            without_uring(answer, || {
                let server =
                    Server::start_with_fallback(program, &["--driver", driver, "--shards", "2"]);
                assert_told_once(&serve_and_end(server), level, reason);
            });
        }
    }
}

#[test]
fn where_a_filter_refuses_io_uring_no_test_for_it_passes() {
    without_uring(Errno::PERM, || {
        let started = catch_unwind(|| Server::start(&["--driver", "uring", "--shards", "2"]));
        assert!(started.is_err(), "the server runs on epoll and nobody noticed");
    });
}

#[test]
fn where_a_filter_refuses_io_uring_epoll_is_no_matter_for_the_log() {
    without_uring(Errno::PERM, || {
        let log = serve_and_end(Server::start(&["--driver", "epoll"]));
        assert!(!log.contains("io_uring") && !log.contains("WARN"), "{log}");
    });
}

#[test]
fn where_a_filter_refuses_io_uring_the_probe_says_so() {
    for (answer, reason) in REFUSALS {
        without_uring(answer, || assert_probe_refused(&mut program(&["probe"]), reason));
    }
}

#[test]
fn where_no_memory_may_be_locked_the_reason_is_told() {
    on_a_thread(|| {
        // Whoever has it locks what they like.
        let removed = remove_capability_from_bounding_set(CapabilitySet::IPC_LOCK);
        if geteuid().is_root() && removed.is_err() {
            not_tested(&format!("the privilege to lock memory cannot be given up: {removed:?}"));
            return;
        }
        let output = run_to_end(&mut without_locked_memory(&["probe"]));
        if String::from_utf8_lossy(&output.stdout).contains("\nring: works\n") {
            not_tested("this kernel counts no ring as locked memory");
            return;
        }
        let reason = "RLIMIT_MEMLOCK, 0 bytes";
        assert_probe_refused(&mut without_locked_memory(&["probe"]), reason);
        for (driver, level) in [("uring", "WARN"), ("auto", "INFO")] {
            let flags = ["--driver", driver, "--shards", "2"];
            let server = Server::start_with_fallback(without_locked_memory, &flags);
            assert_told_once(&serve_and_end(server), level, reason);
        }
    });
}

#[test]
fn auto_logs_the_driver_that_the_probe_foretells() {
    let output = run_to_end(&mut program(&["probe"]));
    let text = String::from_utf8(output.stdout).expect("text");
    let choice = text.lines().find_map(|line| line.strip_prefix("auto would choose: "));
    let (driver, why) = choice.and_then(|line| line.split_once(", because ")).expect("a choice");
    let log = serve_and_end(Server::start(&["--driver", "auto", "--shards", "2"]));
    let told: Vec<_> = log.lines().filter(|line| line.contains("the driver was chosen")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(&format!("driver={driver:?} why={why:?}")), "{told:?}");
}
