//! Frames that break a rule: each is answered with its close code, the server
//! ends the connection, and others are not harmed.

use std::{io::Write, thread};

use shardcast::proto::frame::Opcode;

use crate::support::{
    RawClient, close_reason, masked, on_every_driver_alone, raw_client::close, text,
};

/// Sends `bytes` on a fresh connection and requires to be closed with `code`,
/// while another connection goes on.
fn assert_answer(bytes: &[u8], code: u16) {
    assert_answer_with(&[], bytes, code);
}

fn assert_answer_with(flags: &[&str], bytes: &[u8], code: u16) {
    on_every_driver_alone(|bed| {
        let server = bed.server(flags);
        let mut other = RawClient::open_pubsub(server.address());
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.try_send(bytes);
        client.expect_close(code);
        other.expect_alive();
        // The rule holds in whatever pieces the bytes come.
        let mut client = RawClient::open(server.address(), "/ws/raw");
        for byte in bytes.chunks(1).take(64) {
            client.try_send(byte);
        }
        client.try_send(bytes.get(64..).unwrap_or_default());
        client.expect_close(code);
        other.expect_alive();
    });
}

#[test]
fn a_frame_without_a_mask_is_answered_with_1002() {
    assert_answer(b"\x81\x02hi", 1002);
}

#[test]
fn each_reserved_bit_is_answered_with_1002() {
    for bit in [0x40, 0x20, 0x10] {
        let mut frame = text("hi");
        frame[0] |= bit;
        assert_answer(&frame, 1002);
    }
}

#[test]
fn each_reserved_opcode_is_answered_with_1002() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        for opcode in (0x3..=0x7).chain(0xB..=0xF) {
            let mut client = RawClient::open(server.address(), "/ws/raw");
            client.send(&[0x80 | opcode, 0x80, 0, 0, 0, 0]);
            let reason = client.expect_close(1002);
            assert_eq!(reason, format!("reserved opcode {opcode:#x}"));
        }
    });
}

#[test]
fn a_fragmented_control_frame_is_answered_with_1002() {
    for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        assert_answer(&masked(false, opcode, b""), 1002);
    }
}

#[test]
fn a_control_frame_longer_than_125_bytes_is_answered_with_1002() {
    for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        assert_answer(&masked(true, opcode, &[b'a'; 126]), 1002);
    }
}

#[test]
fn a_continuation_without_a_message_is_answered_with_1002() {
    assert_answer(&masked(true, Opcode::Continuation, b"hi"), 1002);
    assert_answer(&masked(false, Opcode::Continuation, b"hi"), 1002);
}

#[test]
fn a_message_within_a_fragmented_one_is_answered_with_1002() {
    assert_answer(&[masked(false, Opcode::Text, b"a"), text("b")].concat(), 1002);
}

#[test]
fn a_length_that_is_not_in_its_shortest_form_is_answered_with_1002() {
    assert_answer(b"\x82\xfe\x00\x7d", 1002);
    assert_answer(b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", 1002);
}

#[test]
fn a_length_with_its_top_bit_set_is_answered_with_1002() {
    assert_answer(b"\x82\xff\x80\x00\x00\x00\x00\x01\x00\x00", 1002);
}

#[test]
fn text_that_is_not_utf8_is_answered_with_1007() {
    assert_answer(&masked(true, Opcode::Text, b"a\xff"), 1007);
    // A surrogate, an overlong form, beyond the last code point, cut off.
    assert_answer(&masked(true, Opcode::Text, b"\xed\xa0\x80"), 1007);
    assert_answer(&masked(true, Opcode::Text, b"\xc0\xaf"), 1007);
    assert_answer(&masked(true, Opcode::Text, b"\xf4\x90\x80\x80"), 1007);
    assert_answer(&masked(true, Opcode::Text, b"\xe2\x82"), 1007);
}

#[test]
fn text_is_refused_at_its_first_bad_byte_before_the_message_ends() {
    // In a fragment that is not the last.
    assert_answer(&masked(false, Opcode::Text, b"\xff"), 1007);
    // In a frame of which the rest never comes.
    let frame = masked(true, Opcode::Text, &[&b"\xff"[..], &[b'a'; 999]].concat());
    assert_answer(&frame[..20], 1007);
}

#[test]
fn a_character_may_be_split_over_fragments() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        let word = "κόσμε€𝄞";
        for (index, byte) in word.as_bytes().chunks(1).enumerate() {
            let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
            client.send_byte_by_byte(&masked(false, opcode, byte));
        }
        client.send(&masked(true, Opcode::Continuation, b""));
        assert_eq!(client.read_frame().payload, word.as_bytes());
    });
}

#[test]
fn a_close_frame_with_a_code_that_must_not_be_sent_is_answered_with_1002() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            let mut client = RawClient::open(server.address(), "/ws/raw");
            client.send(&close(code, ""));
            let reason = client.expect_close(1002);
            assert_eq!(reason, format!("close code {code} is not allowed"));
        }
    });
}

#[test]
fn a_close_frame_with_half_a_code_is_answered_with_1002() {
    assert_answer(&masked(true, Opcode::Close, b"\x03"), 1002);
}

#[test]
fn a_close_reason_that_is_not_utf8_is_answered_with_1007() {
    assert_answer(&masked(true, Opcode::Close, b"\x03\xe8\xff"), 1007);
}

#[test]
fn a_message_that_is_too_big_is_answered_with_1009_from_its_header_alone() {
    let flags = ["--max-message-size", "1000"];
    let frame = masked(true, Opcode::Binary, &[0; 1001]);
    assert_answer_with(&flags, &frame[..8], 1009);
}

#[test]
fn fragments_that_are_too_big_together_are_answered_with_1009() {
    let flags = ["--max-message-size", "1000"];
    let first = masked(false, Opcode::Binary, &[0; 600]);
    let rest = masked(true, Opcode::Continuation, &[0; 401]);
    assert_answer_with(&flags, &[&first[..], &rest[..8]].concat(), 1009);
}

#[test]
fn a_message_of_exactly_the_limit_is_taken() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--max-message-size", "1000"]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&masked(true, Opcode::Binary, &[7; 1000]));
        assert_eq!(client.read_frame().payload, [7; 1000]);
    });
}

#[test]
fn a_flood_of_fragments_is_answered_with_1008() {
    let flags = ["--max-frames-per-message", "16"];
    let flood = masked(false, Opcode::Continuation, b"").repeat(16);
    let bytes = [masked(false, Opcode::Text, b""), flood].concat();
    assert_answer_with(&flags, &bytes, 1008);
}

#[test]
fn what_follows_a_broken_frame_is_not_heard() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&[&text("before")[..], b"\xff\xff", &text("after")].concat());
        assert_eq!(client.read_frame().payload, b"before");
        client.expect_close(1002);
    });
}

#[test]
fn the_answer_to_a_broken_frame_is_not_endangered_by_a_reset() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        let mut sender = client.stream().try_clone().expect("a second handle");
        // More than the server reads before it answers.
        let sending = thread::spawn(move || sender.write_all(&vec![0xFF; 8 << 20]));
        close_reason(&client.read_frame(), 1002);
        client.expect_orderly_end();
        sending.join().expect("a sender").expect("a server that takes all");
    });
}
