//! The command line: a mistake is told in one clear line, before anything runs.

use std::{net::TcpListener, process::Output};

use crate::support::{on_every_driver, program, run_to_end};

/// Requires a failure that is told in one line, which has these words.
fn assert_refused(flags: &[&str], words: &[&str]) {
    let Output { status, stdout, stderr } = run_to_end(&mut program(flags));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(!status.success() && status.code().is_some(), "{flags:?}: {status}");
    assert!(!stdout.contains("listening on"), "{flags:?}: {stdout}");
    // A usage hint may follow the line that says what is wrong.
    let first = stderr.lines().next().unwrap_or_default();
    for word in words {
        assert!(first.contains(word), "{flags:?} without {word:?}: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{flags:?}: {stderr}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    assert_refused(&["--listen", &address], &[&address, "in use"]);
}

#[test]
fn the_port_of_another_server_is_not_shared() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let address = server.address().to_string();
        assert_refused(&["--listen", &address, "--shards", "2"], &[&address, "in use"]);
    });
}

#[test]
fn an_unknown_flag_is_named() {
    assert_refused(&["--nonsense"], &["--nonsense"]);
}

#[test]
fn a_value_that_is_no_duration_is_named_with_its_flag() {
    for value in ["fast", "10", "-1s", "1.5parsecs", ""] {
        let flag = format!("--ping-interval={value}");
        assert_refused(&["--listen", "127.0.0.1:0", &flag], &["--ping-interval", value]);
    }
}

#[test]
fn a_value_out_of_range_is_named_with_its_flag() {
    for (flag, value) in [
        ("--listen", "nowhere"),
        ("--shards", "65"),
        ("--shards", "many"),
        ("--driver", "steam"),
        ("--dialect", "klingon"),
        ("--slow-policy", "wait"),
        ("--log", "debgu"),
        ("--path", "/a/../b"),
        ("--max-head-size", "1"),
        ("--max-message-size", "0"),
        ("--max-message-size", "big"),
        ("--queue-bytes", "0"),
    ] {
        let listen = if flag == "--listen" { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let flags = [listen, &[flag, value]].concat();
        assert_refused(&flags, &[flag.trim_start_matches('-')]);
    }
}

#[test]
fn a_pong_timeout_that_cannot_work_is_refused() {
    let flags = ["--listen", "127.0.0.1:0", "--ping-interval", "5s", "--pong-timeout", "5s"];
    assert_refused(&flags, &["pong", "ping"]);
}

#[test]
fn help_and_version_are_told_on_standard_output() {
    for (flag, words) in [("--help", "--listen"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = run_to_end(&mut program(&[flag]));
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(words), "{text}");
        assert!(output.stderr.is_empty());
    }
}
