//! Every hostile case, with small counts, against the real server, which must
//! have been built into the same target directory. What is held here does not
//! depend on how busy the machine is; bars in milliseconds are for runs on a
//! quiet one.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Cases disturb each other: one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `case` to its end, whatever it finds; gives its output.
#[track_caller]
fn hostile(case: &str) -> String {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest"));
    let server = program.with_file_name("shardcast");
    assert!(
        server.is_file(),
        "{} is missing: build the server into the same target directory first",
        server.display()
    );
    let arguments = case.split(' ');
    let output = Command::new(program).arg("hostile").args(arguments).output();
    let output = output.expect("the program runs");
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{case} could not be run:\n{text}");
    // A promise is broken if and only if the end says so.
    assert_eq!(code == Some(1), text.contains("VIOLATION: "), "{text}");
    text
}

/// Expects the promises called `what` to be kept.
#[track_caller]
fn assert_kept(text: &str, what: &[&str]) {
    for what in what {
        let line = text.lines().find(|line| line.trim_start().starts_with(what));
        let line = line.unwrap_or_else(|| panic!("no `{what}` in:\n{text}"));
        assert!(line.ends_with(" met"), "{line}\nin:\n{text}");
    }
}

#[test]
fn every_case_is_listed() {
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = Command::new(program).args(["hostile", "--help"]).output();
    let text = String::from_utf8(output.expect("the program runs").stdout).expect("text");
    for case in ["flood-room", "frozen", "plain-gets", "all"] {
        assert!(text.contains(&format!("- {case}:")), "no `{case}` in:\n{text}");
    }
}

#[test]
fn what_a_flooded_room_accepted_is_delivered_or_told() {
    let text = hostile("flood-room --connections 20 --flooders 2 --seconds 1");
    assert_kept(
        &text,
        &[
            "deliveries lost in silence",
            "deliveries out of order or twice",
            "members cut without 1013",
            "members closed with 1013",
            "resident above idle, peak",
            "unrelated room: deliveries lost",
            "unrelated room: out of order or twice",
        ],
    );
}

#[test]
fn a_flood_of_broadcasts_closes_nobody_who_reads_and_answers() {
    let text = hostile("flood-everyone --connections 50 --seconds 6");
    let kept = ["healthy clients closed", "strangers and unrelated members closed"];
    assert_kept(&text, &kept);
    assert_kept(&text, &["newcomers not let in", "/health: not answered"]);
}

#[test]
fn a_server_that_stood_still_closes_nobody_who_answers() {
    let text = hostile("frozen --connections 100 --seconds 3");
    assert_kept(&text, &["of them closed", "clients closed that spoke meanwhile"]);
    assert_kept(&text, &["deliveries lost", "deliveries out of order or twice"]);
}

#[test]
fn many_rooms_lose_nothing_and_keep_their_readers() {
    let text = hostile("many-rooms --connections 20 --seconds 1");
    assert_kept(&text, &["127 rooms: deliveries lost in silence", "127 rooms: readers closed"]);
}

#[test]
fn a_lossy_queue_keeps_no_more_than_its_bytes() {
    let text = hostile("lossy --connections 200 --seconds 2");
    for policy in ["drop-oldest", "drop-newest", "conflate"] {
        assert_kept(&text, &[&format!("{policy}: resident per stalled client")]);
    }
}

#[test]
fn stalled_readers_of_large_messages_close_nobody_who_reads() {
    let text = hostile("stalled-large --connections 20 --seconds 1");
    assert_kept(&text, &["members that read closed", "deliveries lost in silence"]);
    assert_kept(&text, &["publishers that read closed", "unrelated room: deliveries lost"]);
}

#[test]
fn a_slow_but_steady_reader_stays_and_an_overrun_one_is_told() {
    let text = hostile("steady --seconds 6");
    assert_kept(&text, &["20000 B/s: not there to the end", "100000 B/s: not there to the end"]);
    assert_kept(&text, &["overrun: not closed with 1013"]);
}

#[test]
fn what_is_sent_before_anything_is_read_is_all_echoed() {
    let text = hostile("echo-unread --connections 2");
    for shape in ["10000 x 1024 B", "100 x 65536 B", "20 x 400000 B"] {
        assert_kept(&text, &[&format!("{shape}: echoes missing")]);
        assert_kept(&text, &[&format!("{shape}: echoes wrong")]);
    }
}

#[test]
fn errors_that_nobody_reads_take_bounded_memory() {
    let text = hostile("errors-unread --connections 20 --seconds 3");
    assert_kept(&text, &["resident per client, peak", "unrelated room: deliveries lost"]);
}

#[test]
fn one_address_cannot_occupy_the_http_side() {
    let text = hostile("http --seconds 2");
    assert_kept(&text, &["kept open: /health: not answered", "never read: /health: not answered"]);
}

#[test]
fn a_full_server_tells_the_surplus_and_logs_little() {
    let text = hostile("full --seconds 3");
    assert_kept(&text, &["further clients not told 1013", "log lines", "/health: not answered"]);
}

#[test]
fn plain_requests_in_a_burst_close_no_stranger() {
    let text = hostile("plain-gets --connections 200 --seconds 1");
    assert_kept(&text, &["strangers and unrelated members closed", "newcomers not let in"]);
    assert_kept(&text, &["unrelated room: deliveries lost"]);
}

#[test]
fn a_publisher_that_is_held_closes_no_member_that_reads() {
    let text = hostile("hold --seconds 2");
    assert_kept(&text, &["members that read closed", "unrelated room: deliveries lost"]);
    assert_kept(&text, &["held for each message: publishers closed"]);
    for told in ["publishers stopped and released", "held for each message: holds a second"] {
        assert!(text.contains(told), "no `{told}` in:\n{text}");
    }
}

#[test]
fn a_server_can_be_frozen_for_longer_than_it_is_by_default() {
    let text = hostile("frozen --connections 20 --seconds 2 --frozen-for 4s");
    assert!(text.contains("stopped for 4 s"), "{text}");
    assert_kept(&text, &["of them closed"]);
}
