//! The program as a process: what it prints, the descriptors that it may open, the
//! code with which it ends.

use std::{
    io::{BufRead, BufReader, pipe},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    RawClient, Server, close_reason, on_every_driver_alone, program, run_to_end, text,
};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The server's program as one that may open so many files.
fn with_descriptors(count: u32, flags: &[&str]) -> Command {
    let plain = program(flags);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]);
    command.arg(plain.get_program()).args(plain.get_args());
    command
}

/// Starts a server that may open a hundred files.
fn with_few_descriptors() -> Server {
    Server::start_by(|flags| with_descriptors(100, flags), &["--shards", "2", "--driver", "epoll"])
}

#[test]
fn it_prints_where_it_listens_and_what_to_try() {
    let server = Server::start(&[]);
    let address = server.address();
    assert_eq!(server.next_line(), format!("try: npx wscat -c ws://{address}/ws"));
    assert_eq!(server.next_line(), r#"then type: {"type":"subscribe","room":"chat"}"#);
}

#[test]
fn a_closed_standard_output_does_no_harm() {
    let (reader, stdout) = pipe().expect("a pipe");
    drop(reader);
    let mut command = program(&["--listen", "127.0.0.1:0"]);
    let mut child =
        command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("the server's program");
    // The log has the address, too.
    let log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut lines = log.lines().map(|line| line.expect("UTF-8"));
    let address = lines.find_map(|line| Some(line.split_once("address=")?.1.to_owned()));
    let address = address.expect("a line with the address");
    let address = address.split(' ').next().unwrap_or_default().parse().expect("an address");
    let mut client = RawClient::connect(address);
    client.send(HEALTH);
    assert_eq!(client.read_response().status, 200);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a server to signal");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn too_few_descriptors_are_an_error_of_one_line() {
    let output = run_to_end(&mut with_descriptors(40, &["--listen", "127.0.0.1:0"]));
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("may open 40 files"), "{text}");
}

#[test]
fn where_descriptors_run_short_most_are_for_clients_and_the_surplus_is_closed_with_1013() {
    let server = with_few_descriptors();
    let mut served = Vec::new();
    loop {
        assert!(served.len() < 100, "more clients than descriptors");
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&text("?"));
        let frame = client.read_frame();
        if frame.payload != b"?" {
            close_reason(&frame, 1013);
            break;
        }
        served.push(client);
    }
    assert!(served.len() > 40, "only {} were served", served.len());
}

#[test]
fn connections_that_are_kept_for_health_checks_do_not_lock_clients_out() {
    let server = with_few_descriptors();
    let _kept: Vec<_> = (0..20)
        .map(|_| {
            let mut probe = RawClient::connect(server.address());
            probe.send(HEALTH);
            probe
        })
        .collect();
    let mut client = RawClient::open(server.address(), "/ws/raw");
    client.send(&text("?"));
    assert_eq!(client.read_frame().payload, b"?");
}

#[test]
fn the_signal_that_ends_a_drain_gives_the_exit_code() {
    on_every_driver_alone(|bed| {
        for (first, second, code) in
            [(Signal::INT, Signal::TERM, 143), (Signal::TERM, Signal::INT, 130)]
        {
            let mut server = bed.server(&["--close-timeout", "1h", "--drain-timeout", "1h"]);
            let mut client = RawClient::open(server.address(), "/ws/raw");
            server.signal(first);
            close_reason(&client.read_frame(), 1001);
            server.signal(second);
            assert_eq!(server.exit_status().code(), Some(code));
        }
    });
}
