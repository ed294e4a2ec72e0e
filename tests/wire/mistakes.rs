//! Mistakes in the arguments, word for word: one line that names the argument.

use std::net::TcpListener;

use crate::support::{program, run_to_end};

/// Runs the program to an end that must be an error: its code and its one line.
fn error_of(flags: &[&str]) -> (Option<i32>, String) {
    let output = run_to_end(&mut program(flags));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    let line = text.strip_suffix('\n').unwrap_or(&text);
    assert!(!line.contains('\n'), "more than one line: {text}");
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
    let error = line.strip_prefix("shardcast: error: ");
    (output.status.code(), error.unwrap_or_else(|| panic!("no error: {text:?}")).to_owned())
}

#[test]
fn a_mistake_is_one_line_that_names_it() {
    for (flags, expected) in [
        (&["--foo"][..], "there is no flag '--foo'; --help lists all"),
        (&["--listn=x"], "there is no flag '--listn'; a similar one is --listen"),
        (&["extra"], "'extra' is neither a flag nor a command; --help lists all"),
        (&["probe", "extra"], "'extra' is no flag; --help lists all"),
        (&["--driver"], "--driver needs a value"),
        (&["--driver", "fast"], "--driver: 'fast' is none of auto, epoll, uring"),
        (&["--shards", "65"], "--shards: '65': 65 is not in 1..=64"),
        (&["--listen", "a\nb"], "--listen: 'a b' is not address:port, such as 127.0.0.1:8080"),
        (&["--path=/health"], "--path: /health is where the health is told"),
        (&["--max-message-size=0"], "--max-message-size must be at least 1"),
        (&["--max-head-size=0"], "--max-head-size (0) must be at least 256"),
        (&["--ipv6-prefix-bits=0"], "--ipv6-prefix-bits: '0': 0 is not in 1..=128"),
        (&["--ipv6-prefix-bits=129"], "--ipv6-prefix-bits: '129': 129 is not in 1..=128"),
        (&["--write-timeout=0s"], "--write-timeout: '0s': must be above zero"),
        (
            &["--ping-interval=10"],
            "--ping-interval: '10': a time needs a unit, such as 500ms, 10s or 2m",
        ),
        (&["--ping-interval=2m"], "--pong-timeout (60s) must be above --ping-interval (120s)"),
    ] {
        let (code, error) = error_of(flags);
        assert_eq!((code, error.as_str()), (Some(2), expected), "{flags:?}");
    }
}

#[test]
fn a_port_in_use_is_one_line_and_no_mistake_in_the_arguments() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("its address").to_string();
    let expected = format!("cannot listen on {address}: the port is in use");
    assert_eq!(error_of(&["--listen", &address]), (Some(1), expected));
}
